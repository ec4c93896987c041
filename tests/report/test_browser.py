"""The page in a real browser, where there is one: quiet, whole, at every width, on screen and on paper."""

import base64
import json
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

WIDTHS = (360, 800, 1400)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium to open the page with")

# First in the page: what goes wrong is written down from the beginning.
WATCH = """<script>
const wrong = [];
addEventListener("error", (event) => wrong.push(String(event.message || event.target.outerHTML)), true);
addEventListener("securitypolicyviolation", (event) => wrong.push(event.violatedDirective));
console.error = console.warn = (...words) => wrong.push(words.join(" "));
</script>"""
# Last in the page: measured once it stands.
MEASURE = """<script>
addEventListener("load", () => setTimeout(() => {
  const boxes = [...document.querySelectorAll("section")].map((one) => {
    const box = one.getBoundingClientRect();
    return { id: one.id, top: box.top, bottom: box.bottom, left: box.left, right: box.right };
  });
  const canvas = document.querySelector("canvas"), box = canvas.getBoundingClientRect();
  const pixels = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  const count = () => pixels().filter((value, at) => at % 4 === 3 && value).length;
  const image = () => canvas.toDataURL();
  const dots = count(), before = image();
  for (let x = 10; x < 320; x += 4) for (let y = 10; y < 320; y += 12)
    canvas.dispatchEvent(new PointerEvent("pointermove", { clientX: box.left + x, clientY: box.top + y }));
  const told = document.querySelector(".told").textContent, thumb = !document.querySelector(".thumb").hidden;
  canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
  const cell = document.querySelector(".matrix td[title]");
  cell.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  requestAnimationFrame(() => requestAnimationFrame(() => parent.postMessage({
    width: innerWidth, wrong, boxes, dots, told, thumb, turned: image() !== before,
    wide: document.documentElement.scrollWidth,
    read: document.getElementById("readout").textContent === cell.title,
    requests: performance.getEntriesByType("resource").map((one) => one.name).filter((name) => !/^data:/.test(name)),
  }, "*")));
}, 100));
</script>"""
FRAMES = """<!doctype html><meta charset="utf-8"><body><script>
const found = [];
addEventListener("message", (event) => {
  found.push(event.data);
  if (found.length < WIDTHS.length) return;
  const letters = unescape(encodeURIComponent(JSON.stringify(found)));
  document.body.innerHTML = "<pre>" + btoa(letters) + "</pre>";
});
const WIDTHS = [%s];
for (const width of WIDTHS) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.src = "page.html";
  document.body.append(frame);
}
</script>"""


def browse(*words: str) -> str:
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--window-size=1500,3000")  # fmt: skip
    done = subprocess.run([str(BROWSER), *options, *words], capture_output=True, text=True, timeout=120, check=True)
    return done.stdout


@pytest.fixture(scope="module")
def measured(page, tmp_path_factory) -> dict[int, dict]:
    """What each width shows, all three opened at once."""
    folder = tmp_path_factory.mktemp("browser")
    watched = page.replace("<head>", f"<head>{WATCH}", 1).replace("</body>", f"{MEASURE}</body>", 1)
    (folder / "page.html").write_text(watched, encoding="utf-8")
    (folder / "frames.html").write_text(FRAMES % ", ".join(map(str, WIDTHS)), encoding="utf-8")
    for budget in (8_000, 60_000, 600_000):  # a busy machine is asked again, with more time
        shown = browse(f"--virtual-time-budget={budget}", "--dump-dom", (folder / "frames.html").as_uri())
        if found := re.findall(r"<pre>([\w+/=]+)</pre>", shown):
            break
    (coded,) = found
    return {found["width"]: found for found in json.loads(base64.b64decode(coded))}


@pytest.mark.parametrize("width", WIDTHS)
def test_nothing_goes_wrong_and_nothing_is_asked_for(measured, width):
    assert measured[width]["wrong"] == []
    assert measured[width]["requests"] == []


@pytest.mark.parametrize("width", WIDTHS)
def test_sections_stand_below_each_other_within_the_width(measured, width):
    boxes = measured[width]["boxes"]
    assert [box["id"] for box in boxes][:2] == ["effect", "table"]
    assert len(boxes) == 9
    for box, following in pairwise(boxes):
        assert box["bottom"] <= following["top"] + 1
    for box in boxes:
        assert box["bottom"] - box["top"] > 100
        assert box["left"] >= 0
        assert box["right"] <= width
    assert measured[width]["wide"] <= width


@pytest.mark.parametrize("width", WIDTHS)
def test_points_are_drawn_turn_and_say_what_they_are(measured, width):
    found = measured[width]
    assert found["dots"] > 500
    assert found["turned"]
    assert found["thumb"]
    assert re.fullmatch(r"true class: \w+ · prediction: \w+ \(\d+ %\) ✗", found["told"])
    assert found["read"], "a cell's numbers are told"


def test_it_prints(page, study, tmp_path):
    browse(f"--print-to-pdf={tmp_path / 'page.pdf'}", "--no-pdf-header-footer", (study / "report.html").as_uri())
    pdf = Path(tmp_path / "page.pdf").read_bytes()
    assert pdf.startswith(b"%PDF")
    assert 3 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 30
