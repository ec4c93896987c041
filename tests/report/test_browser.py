"""The page in a real browser, where there is one: quiet, whole, at every width, for everyone, on paper too."""

import base64
import json
import os
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from alexnet_skip.report.write import write_report

WIDTHS = (360, 800, 1400)
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no chromium to open the page with")
NODE_MODULES = Path(__file__).resolve().parents[2] / "node_modules"
AXE = Path(os.environ.get("AXE_CORE", NODE_MODULES / "axe-core" / "axe.min.js"))

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
# The same with axe-core before it: what it finds, with everything unfolded.
AUDIT = """<script>
addEventListener("load", async () => {
  document.querySelectorAll("details").forEach((one) => { one.open = true; });
  const { violations, passes } = await axe.run(document, { resultTypes: ["violations"] });
  const found = violations.flatMap((rule) => rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 120)}`));
  parent.postMessage({ width: innerWidth, found, passed: passes.length }, "*");
});
</script>"""
FRAMES = """<!doctype html><meta charset="utf-8"><body><script>
const found = [];
addEventListener("message", (event) => {
  found.push(event.data);
  if (found.length < FRAMES.length) return;
  const letters = unescape(encodeURIComponent(JSON.stringify(found)));
  document.body.innerHTML = "<pre>" + btoa(letters) + "</pre>";
});
const FRAMES = %s;
for (const [page, width] of FRAMES) {
  const frame = document.createElement("iframe");
  frame.style.cssText = `width:${width}px;height:900px;border:0`;
  frame.src = page;
  document.body.append(frame);
}
</script>"""


def browse(*words: str) -> str:
    options = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
               "--window-size=1500,3000")  # fmt: skip
    done = subprocess.run([str(BROWSER), *options, *words], capture_output=True, text=True, timeout=300, check=True)
    return done.stdout


def told_by(
    folder: Path, pages: dict[str, str], frames: list[tuple[str, int]], first: str, last: str, *options: str
) -> list[dict]:
    """What pages tell at some widths, all opened at once.

    Args:
        frames: names of pages, and widths.
        first, last: scripts at the pages' beginning and end; the last one posts what is told.
    """
    for name, page in pages.items():
        watched = page.replace("</body>", f"{last}</body>", 1).replace("<head>", f"<head>{first}", 1)
        (folder / name).write_text(watched, encoding="utf-8")
    (folder / "frames.html").write_text(FRAMES % json.dumps(frames), encoding="utf-8")
    for budget in (8_000, 60_000, 600_000):  # a busy machine is asked again, with more time
        shown = browse(*options, f"--virtual-time-budget={budget}", "--dump-dom", (folder / "frames.html").as_uri())
        if found := re.findall(r"<pre>([\w+/=]+)</pre>", shown):
            break
    (coded,) = found
    return json.loads(base64.b64decode(coded))


@pytest.fixture(scope="module")
def measured(page, tmp_path_factory) -> dict[int, dict]:
    """What each width shows."""
    frames = [("page.html", width) for width in WIDTHS]
    told = told_by(tmp_path_factory.mktemp("browser"), {"page.html": page}, frames, WATCH, MEASURE)
    return {found["width"]: found for found in told}


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


@pytest.mark.skipif(not AXE.is_file(), reason="no axe-core: see CONTRIBUTING.md")
@pytest.mark.parametrize(
    ("scheme", "frames"),
    [
        (1, [*(("study.html", width) for width in WIDTHS), ("study.ko.html", 360), ("run.html", 800)]),
        (0, [("study.html", 800), ("run.html", 360)]),  # other colours, the same structure
    ],
    ids=["light", "dark"],
)
def test_axe_core_finds_nothing_against_it(page, study, tmp_path, scheme, frames):
    pages = {"study.html": page}
    for name, of, lang in (("study.ko.html", study.name, "ko"), ("run.html", f"{study.name}/conv-seed0", "en")):
        path = write_report(study.parent, [of], lang, tmp_path / "report.html")
        pages[name] = path.read_text(encoding="utf-8")
    axe = f"<script>{AXE.read_text(encoding='utf-8')}</script>"
    told = told_by(tmp_path, pages, frames, axe, AUDIT, f"--blink-settings=preferredColorScheme={scheme}")
    assert sorted(one["width"] for one in told) == sorted(width for _, width in frames)
    assert [found for one in told for found in one["found"]] == []
    assert min(one["passed"] for one in told) > 20, "it has looked"
