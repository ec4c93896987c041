"""The page says what the files say, to the digit; it escapes what is anybody's, and names what is missing."""

import json
import re
import shutil
from html.parser import HTMLParser

import numpy as np
import pytest
from made_report import make_embedding, make_history, make_study
from made_runs import make_predictions, make_published, make_run
from PIL import Image

from alexnet_skip.report.page import render
from alexnet_skip.report.subject import find_subject
from alexnet_skip.report.text import load_text
from alexnet_skip.report.write import write_report
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.statistics.metrics import expected_calibration_error, softmax, topk_accuracy
from alexnet_skip.study.source_report import CLASS_NAMES
from alexnet_skip.study.verdict import conclusion, p_text, points
from alexnet_skip.system.errors import UserError

SECTIONS = ("effect", "table", "curves", "confusion", "only", "space", "calibration", "network", "again")


class Reader(HTMLParser):
    """Text and tags of a page, by the section they stand in."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text: dict[str, str] = {}
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.section = self.inside = ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        self.inside = tag
        if tag in ("section", "header"):
            self.section = found["id"]

    def handle_data(self, data):
        if self.inside not in ("script", "style"):
            self.text[self.section] = " ".join([self.text.get(self.section, ""), *data.split()]).strip()


@pytest.fixture(scope="module")
def read(page) -> Reader:
    return Reader(page)


def predictions_of(study, variant, epoch):
    return [read_predictions(study / f"{variant}-seed{s}" / "evaluation" / f"test-epoch-{epoch}") for s in range(3)]


def test_every_section_is_there_in_its_order(read):
    assert [found["id"] for tag, found in read.tags if tag == "section"] == list(SECTIONS)


def test_the_verdict_is_what_may_be_claimed(study, read):
    subject = find_subject(study.parent, [study.name])
    conv, concat = subject.last.comparisons
    assert (conclusion(conv), conclusion(concat)) == ("helps", "open")
    assert f"skip (conv) helps ({points(conv.differences[1])})" in read.text["verdict"]
    assert f"for skip (concat) no difference can be claimed ({points(concat.differences[1])})" in read.text["verdict"]
    assert "pictures (test, 120 images, 3 seeds each)" in read.text["verdict"]
    assert p_text(conv.method.p_holm) in read.text["effect"]


@pytest.mark.parametrize("epoch", [1, 4])
@pytest.mark.parametrize("variant", ["none", "conv", "concat"])
def test_the_table_holds_the_mean_of_the_predictions_on_disk(study, read, variant, epoch):
    found = predictions_of(study, variant, epoch)
    top1 = [float(one.correct.mean()) for one in found]
    top3 = [topk_accuracy(one.logits, one.labels, 3) for one in found]
    cell = f"{100 * np.mean(top1):.2f} / {100 * np.mean(top3):.2f} {100 * min(top1):.2f}–{100 * max(top1):.2f}"
    assert cell in read.text["table"]


def test_the_source_reports_own_figures_stand_beside_ours(read):
    for shown in ("78.65 / 94.83", "83.45 / 96.83", "83.57 / 96.72", "p = 0.82", "at least 362 images"):
        assert shown in read.text["table"]


def test_cells_of_the_matrices_tell_the_counts_of_the_predictions(study, page):
    found = predictions_of(study, "conv", 4)
    cat, dog = CLASS_NAMES.index("cat"), CLASS_NAMES.index("dog")
    right = sum(int(((one.labels == cat) & (one.predicted == cat)).sum()) for one in found)
    wrong = sum(int(((one.labels == cat) & (one.predicted == dog)).sum()) for one in found)
    assert f'title="cat: {right} of 36 right ({100 * right / 36:.1f} %)"' in page
    assert f'title="cat taken for dog: {wrong} of 36 ({100 * wrong / 36:.1f} %)"' in page


def test_calibration_is_that_of_the_predictions(study, read):
    for variant in ("none", "conv", "concat"):
        found = predictions_of(study, variant, 4)
        ece = np.mean([expected_calibration_error(softmax(one.logits), one.labels) for one in found])
        assert f"ECE {100 * ece:.2f} %" in read.text["calibration"]


def test_images_that_only_one_gets_right_are_counted_and_shown(study, read):
    comparison = find_subject(study.parent, [study.name]).last.comparisons[0]
    assert f"Only skip (conv), not no skip: {len(comparison.only_b)} of 120" in read.text["only"]
    shown = [found for tag, found in read.tags if tag == "img"]
    # What an image is taken for is never what it is.
    assert all(len(set(found["alt"].split(", taken for "))) == 2 for found in shown)
    assert shown
    assert all(found["src"].startswith("data:image/jpeg;base64,") and "taken for" in found["alt"] for found in shown)


def test_where_models_look_is_shown_where_it_was_drawn_of_these_very_models(tmp_path):
    study = make_study(tmp_path / "runs" / "study", seeds=1)
    where = study / "comparison" / "test-epoch-4"
    where.mkdir(parents=True)
    Image.new("RGB", (1000, 300), (200, 30, 30)).save(where / "conv-against-none-where-they-look.png")
    models = [{"name": "no skip", "says": "dog 80 %"}, {"name": "skip (conv)", "says": "cat 90 %"}]
    told = {"models_sha256": {"no skip": "", "skip (conv)": ""}, "images": [{"true": "cat", "models": models}]}

    def alts() -> list[str]:
        (where / "conv-against-none-where-they-look.json").write_text(json.dumps(told))
        page = Reader(write_report(study.parent, [study.name]).read_text(encoding="utf-8"))
        assert ("--explain 12 --compare" in page.text["only"]) == (
            not any(f.get("class") == "looks" for _, f in page.tags)
        )
        return [found["alt"] for tag, found in page.tags if tag == "img" and found.get("class") == "looks"]

    assert alts() == ["Heatmaps over images. cat: no skip dog 80 %, skip (conv) cat 90 %"]
    told["models_sha256"]["no skip"] = "0" * 64
    assert alts() == [], "another model's"
    told["models_sha256"] = 3
    assert alts() == []


def test_the_temperature_of_each_model_is_what_its_calibration_is_told_at(tmp_path):
    study = make_study(tmp_path / "runs" / "study", seeds=1)
    make_published(study / "conv-seed0" / "snapshots" / "epoch-0004", CLASS_NAMES, 2.5)
    read = Reader(write_report(study.parent, [study.name]).read_text(encoding="utf-8"))
    text, found = read.text["calibration"], read_predictions(study / "conv-seed0" / "evaluation" / "test-epoch-4")
    fitted, plain = (100 * expected_calibration_error(softmax(found.logits / t), found.labels) for t in (2.5, 1.0))
    assert f"ECE {fitted:.2f} %" in text
    assert f"At temperature 2.50; without it ECE {plain:.2f} %" in text
    assert text.count("At temperature 1: none was fitted") == 2
    # How sure it is of the images that it alone gets right, too.
    other = read_predictions(study / "none-seed0" / "evaluation" / "test-epoch-4")
    (alone,) = np.nonzero(found.correct & ~other.correct)
    sure = {
        f"{CLASS_NAMES[found.labels[row]]} {100 * softmax(found.logits[[row]] / 2.5).max():.0f} %"
        f" ≠ {CLASS_NAMES[other.predicted[row]]} {100 * softmax(other.logits[[row]]).max():.0f} %"
        for row in alone
    }
    told = re.findall(r"\w+ \d+ % ≠ \w+ \d+ %", read.text["only"].split("Only ")[1])
    assert len(told) == min(12, len(alone))
    assert set(told) <= sure


def test_the_page_asks_for_nothing_and_is_small(page):
    addresses = re.findall(r"""(?:src|href)\s*=\s*["']([^"']*)["']""", page) + re.findall(r"url\(([^)]*)\)", page)
    assert all(a.startswith(("data:", "#", "${sheet")) for a in addresses)
    assert "@import" not in page
    assert "default-src 'none'" in page
    assert len(page.encode()) < 1_000_000


def test_every_figure_has_words_for_who_cannot_see_it(read):
    for tag, found in read.tags:
        if tag == "img":
            assert found["alt"]
        if tag in ("svg", "canvas"):
            assert found.get("aria-label") or found.get("aria-hidden") == "true" or "x" in found, found


def test_commands_that_repeat_it_are_those_that_made_it(study, read):
    (line,) = re.findall(r"accelerate launch train\.py (.*?) python evaluate", read.text["again"])
    settings = parse_train(line.split())
    assert settings.study.study
    assert settings.study.seeds == (0, 1, 2)
    assert settings.study.study_variants == ("none", "conv", "concat")
    assert settings.run.snapshot_epochs == (1, 4)
    assert settings.data.dataset == "nowhere"
    assert settings.training.epochs == 4


def test_names_are_shown_as_they_are_and_never_run(tmp_path):
    evil = ("</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "{{ 7*7 }} & \"'", "평범한")
    study = make_study(tmp_path / "runs" / "a & b <i>", evil, seeds=2)  # --name refuses it, a file manager does not
    page = write_report(study.parent, [study.name]).read_text(encoding="utf-8")
    assert "<script>alert" not in page
    assert "<img src=x" not in page
    assert "{{ 7*7 }}" in Reader(page).text["table"]
    assert "a &amp; b &lt;i&gt;" in page
    data = re.search(r'<script type="application/json" id="clouds">(.*?)</script>', page, re.DOTALL)
    assert json.loads(data[1])["classes"] == list(evil)
    assert page.count("</script>") == 2


@pytest.mark.parametrize("lang", ["en", "ko"])
def test_what_is_missing_is_said_with_the_command_that_makes_it(tmp_path, rng, lang):
    run = make_run(tmp_path / "runs" / "alone", {}, CLASS_NAMES)
    read = Reader(write_report(run.parent, [run.name], lang).read_text(encoding="utf-8"))
    text = load_text(lang)
    assert text("verdict.nothing") in read.text["verdict"]
    assert "effect" not in read.text, "one run has nothing to be compared with"
    for section in ("table", "confusion", "calibration"):
        assert f"{text('missing.evaluation')} python evaluate.py --run {run.as_posix()}" in read.text[section]
    assert text("missing.curves") in read.text["curves"]
    assert f"python embed.py --run {run.as_posix()} --layer hidden2" in read.text["space"]


def test_a_study_that_is_not_evaluated_yet_still_asks_its_question_and_is_not_taken_for_one_form(tmp_path):
    study = make_study(tmp_path / "runs" / "s", seeds=1)
    for run in study.iterdir():
        shutil.rmtree(run / "evaluation")
    read = Reader(write_report(study.parent, ["s"]).read_text(encoding="utf-8"))
    text = load_text("en")
    assert text("page.question") in read.text["verdict"]
    assert text("verdict.nothing") in read.text["verdict"]
    assert text("page.one") not in read.text["verdict"]


def test_one_run_is_told_with_its_interval_and_its_classes(tmp_path, rng):
    run = make_run(tmp_path / "runs" / "alone", {"test-best": make_predictions(0.8, rng)}, CLASS_NAMES)
    make_history(run, rng)
    make_embedding(run, 2, CLASS_NAMES, rng)
    read = Reader(write_report(run.parent, [run.name]).read_text(encoding="utf-8"))
    top1 = read_predictions(run / "evaluation" / "test-best").correct.mean()
    assert f"is right for {100 * top1:.2f} % (95 % interval " in read.text["verdict"]
    assert "precision %" in read.text["table"]
    assert "kNN 50.0 %" in read.text["space"]


def test_runs_side_by_side_make_no_claim_of_the_skip(tmp_path, rng):
    for name, level in (("a", 0.5), ("b", 0.9)):
        make_run(tmp_path / "runs" / name, {"val-best": make_predictions(level, rng)}, CLASS_NAMES, variant="conv")
    path = write_report(tmp_path / "runs", ["a", "b"])
    read = Reader(path.read_text(encoding="utf-8"))
    assert path == tmp_path / "runs" / "a" / "report-against-b.html"
    assert "one run each can't say why" in read.text["verdict"]
    assert "helps" not in read.text["verdict"].split("“")[0]


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize(
    ("done", "held_out", "chosen"),
    [("test-best", False, False), ("val-best", True, True), ("val-last", True, False), ("val-epoch-4", True, False)],
)
def test_a_page_of_held_out_images_says_so_and_that_the_best_epoch_was_chosen_on_them(
    tmp_path, rng, lang, done, held_out, chosen
):
    make_run(tmp_path / "a", {done: make_predictions(0.5, rng)}, CLASS_NAMES, snapshot_epochs=(4,))
    text = load_text(lang)
    verdict = Reader(render(find_subject(tmp_path, ["a"]), text)).text["verdict"]
    assert (text("page.val") in verdict, text("page.chosen") in verdict) == (held_out, chosen)


def test_every_section_of_one_stage_says_which_it_is(read):
    for section in ("verdict", "table", "only", "calibration"):
        assert "After epoch 4." in read.text[section], section


def test_many_classes_are_cut_down_and_that_is_said(tmp_path, rng):
    names = tuple(f"class {number}" for number in range(60))
    run = make_run(tmp_path / "runs" / "many", {"test-best": make_predictions(0.5, rng, classes=60)}, names)
    page = write_report(run.parent, [run.name]).read_text(encoding="utf-8")
    assert "the 20 most confused of 60 classes" in page
    assert "Shown are 25 of 60 classes" in page
    assert len(page.encode()) < 1_000_000


def test_a_damaged_file_is_named_and_the_old_report_stays(study, tmp_path):
    copy = tmp_path / "runs" / "s"
    shutil.copytree(study, copy)
    path = write_report(copy.parent, ["s"])
    before = path.read_bytes()
    figures = copy / "conv-seed0" / "metrics.jsonl"
    whole = figures.read_bytes()
    figures.write_text("{")
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged"):
        write_report(copy.parent, ["s"])
    figures.write_bytes(whole)
    (tensor,) = (copy / "conv-seed0" / "embedding" / "test-hidden2-checkpoint-epoch-4").glob("tensor-*.bytes")
    tensor.write_bytes(tensor.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"test-hidden2-checkpoint-epoch-4 is damaged.*make it again: python embed\.py"):
        write_report(copy.parent, ["s"])
    assert path.read_bytes() == before


def test_the_next_run_of_an_unfinished_study_can_be_reported_already(tmp_path):
    study = make_study(tmp_path / "runs" / "s", seeds=2)
    shutil.rmtree(study / "none-seed0")
    shutil.rmtree(study / "concat-seed1")
    for run in ("none-seed1", "concat-seed0"):
        shutil.rmtree(study / run)
    read = Reader(write_report(study.parent, ["s"]).read_text(encoding="utf-8"))
    assert "skip (conv) is right for" in read.text["verdict"]
    assert "over seeds" in read.text["verdict"]


def test_runs_of_a_study_that_are_on_no_side_are_counted_and_named(tmp_path):
    study = make_study(tmp_path / "runs" / "study", seeds=2)
    (study / "conv-seed1" / "summary.json").unlink()
    read = Reader(write_report(study.parent, [study.name]).read_text(encoding="utf-8"))
    gone = "Left out, 2 of the study's runs, which are not finished or whose form or seed the others lack: "
    assert f"{gone}conv-seed0, conv-seed1." in " ".join(read.text["verdict"].split())


def test_without_a_name_the_newest_run_is_told_where_there_is_no_study(tmp_path):
    """Though runs lie in folders of their own."""
    run = make_run(tmp_path / "runs" / "mine" / "one", {}, CLASS_NAMES, snapshot_epochs=())
    make_published(run / "model", CLASS_NAMES, 1.0)
    assert find_subject(tmp_path / "runs", []).study is None
