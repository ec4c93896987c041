"use strict";

/* What is beside the pages' text: numbers of a matrix's cell, and the clouds of points. */

document.addEventListener("pointerover", tellCell);
document.addEventListener("click", tellCell);

function tellCell(event) {
  const cell = event.target.closest && event.target.closest(".matrix td[title]");
  if (cell) document.getElementById("readout").textContent = cell.title;
}

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  closed.forEach((one) => { one.open = true; });
});
addEventListener("afterprint", () => closed.forEach((one) => { one.open = false; }));

const given = document.getElementById("clouds");
if (given) showClouds(JSON.parse(given.textContent));

function bytes(text) {
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
}

function showClouds(data) {
  const hidden = new Set();
  const clouds = data.clouds.map((cloud) => ({
    ...cloud,
    xyz: new Int16Array(bytes(cloud.xyz)),
    label: new Uint16Array(bytes(cloud.label)),
    predicted: new Uint16Array(bytes(cloud.predicted)),
    confidence: new Uint8Array(bytes(cloud.confidence)),
  }));
  /* Both turn together, so that the same directions are seen in both. */
  const turn = { about: 0.6, tilt: 0.35, zoom: 1, flat: false };
  const colour = document.getElementById("colour");
  const views = [...document.querySelectorAll("figure.space")].map((figure) => cloudView(figure, clouds, data, turn, colour, hidden, drawAll));
  function drawAll() { views.forEach((view) => view.draw()); }

  document.getElementById("view").addEventListener("change", (event) => { turn.flat = event.target.value === "2"; drawAll(); });
  colour.addEventListener("change", drawAll);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  dark.addEventListener("change", drawAll);
  addEventListener("resize", drawAll);

  const list = document.querySelector(".classes");
  data.classes.forEach((name, number) => {
    const button = document.createElement("button");
    const dot = document.createElement("i");
    dot.style.background = data.colours[number];
    button.type = "button";
    button.setAttribute("aria-pressed", "true");
    button.append(dot, name);
    button.addEventListener("click", () => {
      const shown = hidden.delete(number);
      if (!shown) hidden.add(number);
      button.setAttribute("aria-pressed", String(shown));
      drawAll();
    });
    list.append(button);
  });
  drawAll();
}

function cloudView(figure, clouds, data, turn, colour, hidden, drawAll) {
  const canvas = figure.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const select = figure.querySelector("select");
  const thumb = figure.querySelector(".thumb");
  const told = figure.querySelector(".told");
  const cloud = () => clouds[Number(select.value)];
  let places = new Float32Array(0), order = new Uint32Array(0), image = null, waiting = false, marked = -1;

  function draw() {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => { waiting = false; paint(); });
  }

  function paint() {
    const one = cloud(), n = one.n;
    const scale = Math.min(devicePixelRatio || 1, 2);
    const side = Math.max(1, Math.round(canvas.clientWidth * scale));
    if (canvas.width !== side || canvas.height !== side) { canvas.width = canvas.height = side; image = null; }
    image = image || pen.createImageData(side, side);
    const pixels = new Uint32Array(image.data.buffer);
    pixels.fill(0);
    if (places.length !== 3 * n) { places = new Float32Array(3 * n); order = new Uint32Array(n); }
    const flat = turn.flat || one.flat;
    const sin = flat ? 0 : Math.sin(turn.about), cos = flat ? 1 : Math.cos(turn.about);
    const sinT = flat ? 0 : Math.sin(turn.tilt), cosT = flat ? 1 : Math.cos(turn.tilt);
    const unit = (side * 0.43 * turn.zoom) / 16383.5, middle = side / 2;
    /* The third axis stands upright; sorted by depth in 256 bins, the farthest first. */
    const bins = new Uint32Array(257), depth = new Uint8Array(n);
    for (let i = 0; i < n; i++) {
      const x = one.xyz[3 * i], y = one.xyz[3 * i + 1], z = one.xyz[3 * i + 2];
      let right = x, up = y, near = 0;
      if (!flat) {
        right = x * cos - y * sin;
        const away = x * sin + y * cos;
        up = z * cosT + away * sinT;
        near = z * sinT - away * cosT;
      }
      places[3 * i] = middle + right * unit;
      places[3 * i + 1] = middle - up * unit;
      places[3 * i + 2] = near;
      const bin = Math.max(0, Math.min(255, 128 + near / 220));
      depth[i] = bin;
      bins[depth[i] + 1]++;
    }
    for (let b = 0; b < 256; b++) bins[b + 1] += bins[b];
    for (let i = 0; i < n; i++) order[bins[depth[i]]++] = i;

    const paper = rgb(getComputedStyle(canvas).backgroundColor);
    const inks = palette(one, paper);
    const radius = (n > 4000 ? 1.6 : n > 1000 ? 2.4 : 3.2) * scale;
    const stamp = disc(radius, side), halo = disc(radius + scale, side);
    for (let k = 0; k < n; k++) {
      const i = order[k], ink = inks.of(i);
      if (ink < 0) continue;
      const px = Math.round(places[3 * i]), py = Math.round(places[3 * i + 1]);
      if (i === marked) put(pixels, side, px, py, halo, inks.mark);
      put(pixels, side, px, py, stamp, inks.shade[ink * 8 + (flat ? 7 : depth[i] >> 5)]);
    }
    pen.putImageData(image, 0, 0);
    drawAxes(one, flat, side, scale, sin, cos, sinT, cosT);
    canvas.setAttribute("aria-label", one.title);
  }

  /* Colours as pixels, in eight depths: what is far is paler. */
  function palette(one, paper) {
    const kind = colour.value;
    const colours = kind === "right" ? ["#0072b2", "#d55e00"] : data.colours;
    const shade = new Uint32Array(colours.length * 8);
    colours.map(rgb).forEach((c, number) => {
      for (let d = 0; d < 8; d++) {
        const share = 0.5 + d / 14;
        const mixed = c.map((value, j) => Math.round(value * share + paper[j] * (1 - share)));
        shade[number * 8 + d] = (255 << 24) | (mixed[2] << 16) | (mixed[1] << 8) | mixed[0];
      }
    });
    const lit = paper[0] + paper[1] + paper[2] < 380;
    return {
      shade,
      mark: lit ? 0xffffffff : 0xff000000,
      of: (i) => {
        if (hidden.has(one.label[i])) return -1;
        if (kind === "right") return one.label[i] === one.predicted[i] ? 0 : 1;
        return kind === "predicted" ? one.predicted[i] : one.label[i];
      },
    };
  }

  function drawAxes(one, flat, side, scale, sin, cos, sinT, cosT) {
    pen.font = `${11.5 * scale}px system-ui, sans-serif`;
    pen.fillStyle = pen.strokeStyle = getComputedStyle(figure).getPropertyValue("--soft");
    pen.lineWidth = scale;
    const names = [0, 1, 2].map((a) => `${data.words.axis.replace("{number}", a + 1)}${one.ratio[a] === undefined ? "" : ` ${(100 * one.ratio[a]).toFixed(1)} %`}`);
    const ends = flat ? [[1, 0], [0, 1]] : [[cos, sin * sinT], [-sin, cos * sinT], [0, cosT]];
    const reach = side * 0.43, middle = side / 2;
    ends.forEach(([x, y], axis) => {
      const px = middle + x * reach, py = middle - y * reach;
      pen.beginPath();
      pen.moveTo(middle, middle);
      pen.lineTo(px, py);
      pen.globalAlpha = 0.45;
      pen.stroke();
      pen.globalAlpha = 1;
      pen.textAlign = px > side * 0.7 ? "right" : px < side * 0.3 ? "left" : "center";
      pen.fillText(names[axis], Math.max(4, Math.min(side - 4, px)), Math.max(12 * scale, Math.min(side - 6 * scale, py - 5 * scale)));
    });
  }

  function point(event) {
    const box = canvas.getBoundingClientRect(), ratio = canvas.width / box.width;
    const x = (event.clientX - box.left) * ratio, y = (event.clientY - box.top) * ratio;
    let best = -1, least = (14 * ratio) ** 2;
    const one = cloud();
    for (let i = 0; i < one.n; i++) {
      if (hidden.has(one.label[i])) continue;
      const dx = places[3 * i] - x, dy = places[3 * i + 1] - y, far = dx * dx + dy * dy;
      if (far < least || (far === least && best >= 0 && places[3 * i + 2] > places[3 * best + 2])) { least = far; best = i; }
    }
    tell(best);
  }

  function tell(i) {
    if (i === marked) return;
    marked = i;
    draw();
    if (i < 0) return;
    const one = cloud(), sheet = data.sheets[one.sheet];
    const right = one.label[i] === one.predicted[i];
    told.textContent = `${data.words.true}: ${data.classes[one.label[i]]} · ${data.words.predicted}: ${data.classes[one.predicted[i]]} (${one.confidence[i]} %) ${right ? "✓" : "✗"}`;
    thumb.hidden = !sheet;
    if (sheet) {
      const zoom = 64 / sheet.side;
      thumb.style.backgroundImage = `url(${sheet.uri})`;
      thumb.style.backgroundSize = `${sheet.columns * 64}px`;
      thumb.style.backgroundPosition = `${-(i % sheet.columns) * sheet.side * zoom}px ${-Math.floor(i / sheet.columns) * sheet.side * zoom}px`;
    }
  }

  let held = null;
  canvas.addEventListener("pointerdown", (event) => { held = [event.clientX, event.clientY]; canvas.setPointerCapture(event.pointerId); point(event); });
  canvas.addEventListener("pointerup", () => { held = null; });
  canvas.addEventListener("pointercancel", () => { held = null; });
  canvas.addEventListener("pointermove", (event) => {
    if (!held) { point(event); return; }
    turnBy((event.clientX - held[0]) / 120, (event.clientY - held[1]) / 120);
    held = [event.clientX, event.clientY];
  });
  canvas.addEventListener("keydown", (event) => {
    const step = { ArrowLeft: [-0.1, 0], ArrowRight: [0.1, 0], ArrowUp: [0, -0.1], ArrowDown: [0, 0.1] }[event.key];
    const zoom = { "+": 1.15, "=": 1.15, "-": 1 / 1.15 }[event.key];
    if (!step && !zoom) return;
    event.preventDefault();
    if (zoom) { turn.zoom = Math.max(0.4, Math.min(8, turn.zoom * zoom)); drawAll(); } else turnBy(...step);
  });
  select.addEventListener("change", () => { marked = -1; thumb.hidden = true; told.textContent = ""; draw(); });

  function turnBy(about, tilt) {
    if (turn.flat) return;
    turn.about += about;
    turn.tilt = Math.max(-1.5, Math.min(1.5, turn.tilt + tilt));
    drawAll();
  }

  return { draw, paint };
}

function rgb(text) {
  if (text[0] === "#") return [1, 3, 5].map((at) => parseInt(text.slice(at, at + 2), 16));
  return text.match(/[\d.]+/g).slice(0, 3).map(Number);
}

/* Where a disc's pixels lie from its middle, in pixels of a square image read row by row. */
function disc(radius, side) {
  const offsets = [], reach = Math.ceil(radius);
  for (let y = -reach; y <= reach; y++) for (let x = -reach; x <= reach; x++) if (x * x + y * y <= radius * radius) offsets.push(y * side + x);
  return { reach, offsets: Int32Array.from(offsets) };
}

/* A disc that the image's edge would cut is left out. */
function put(pixels, side, px, py, { reach, offsets }, ink) {
  if (px < reach || py < reach || px >= side - reach || py >= side - reach) return;
  const middle = py * side + px;
  for (let k = 0; k < offsets.length; k++) pixels[middle + offsets[k]] = ink;
}
