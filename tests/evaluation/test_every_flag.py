"""Every flag of evaluate.py has its effect, in every mode that takes it."""

import dataclasses
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import make_predictions, make_run
from PIL import Image
from tiny_run import BLOCK_ROWS, HELD_OUT, TEST_IMAGES, copy_whole, shrink
from tried import untried

import evaluate
from alexnet_skip.evaluation import classify, export
from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.runs.predictions import write_predictions
from alexnet_skip.settings.evaluate import MODES, EvaluateSettings
from alexnet_skip.study import compare, table
from alexnet_skip.system.files import read_json, write_sealed_json
from alexnet_skip.upkeep import speed_probe

FOUR_RUNS = "elsewhere/none-9/table/test-last-with-conv-9+none-2+conv-2.md"
# By mode and flag: what is asked beside the mode's own flag, where in the outcome it shows, and what stands there then.
SHOWS: dict[str, tuple[str, str, Any]] = {
    "images:checkpoint": ("--checkpoint last", "model", "runs/run/last"),
    "export:run": ("--run old", "export", "runs/old/model/model.pt2"),
    "export:checkpoint": ("--checkpoint epoch-2", "export", "runs/run/snapshots/epoch-0002/model.pt2"),
    "export:runs_dir": ("--runs-dir elsewhere", "export", "elsewhere/run/model/model.pt2"),
    "compare:topk": ("--topk 2 5", "ks compared", ["1", "2", "5"]),
    "compare:split": ("--split val", "comparison", "runs/none-2/comparison/val-best"),
    "compare:checkpoint": ("--checkpoint last", "comparison", "runs/none-2/comparison/test-last"),
    "compare:runs_dir": ("--runs-dir elsewhere", "comparison", "elsewhere/none-2/comparison/test-best"),
    "table:split": ("--split val", "num_samples", 300),
    "table:checkpoint": ("--checkpoint epoch-1", "columns", ...),
    "table:runs_dir": ("--runs-dir elsewhere", "table", FOUR_RUNS),
    "report:lang": ("--lang ko", "language of the page", "ko"),
    "report:out": ("--out page.html", "report", "page.html"),
    "report:runs_dir": ("--runs-dir elsewhere", "report", "elsewhere/run/report.html"),
    "redraw:topk": ("--topk 2 5", "ks told", ["1", "2", "3", "5"]),
    "redraw:run": ("--run old", "evaluation", "runs/old/evaluation/test-best"),
    "redraw:split": ("--split val", "evaluation", "runs/run/evaluation/val-best"),
    "redraw:checkpoint": ("--checkpoint last", "evaluation", "runs/run/evaluation/test-last"),
    "redraw:tta": ("--tta", "evaluation", "runs/run/evaluation/test-best-tta"),
    "redraw:runs_dir": ("--runs-dir elsewhere", "evaluation", "elsewhere/run/evaluation/test-best"),
    "dry_run:topk": ("--topk 12", "refused", "--topk is 12, but run has 10 classes"),
    "dry_run:run": ("--run old", "run", "runs/old"),
    "dry_run:split": ("--split val", "num_samples", HELD_OUT),
    "dry_run:checkpoint": ("--checkpoint epoch-4", "refused", "epoch-4"),
    "dry_run:tta": ("--tta", "cache_blocks", 4 * math.ceil(TEST_IMAGES / BLOCK_ROWS)),
    "dry_run:dataset": ("--dataset few", "num_samples", 30),
    "dry_run:runs_dir": ("--runs-dir elsewhere", "run", "elsewhere/run"),
}  # fmt: skip

# Which test tries the others: what an evaluation itself does takes longer, and is tried once.
OWN = "evaluation/test_evaluate.py::test_run_split_checkpoint_tta_and_topk_say_which_model_predicts_which_views_of_what"
COPIED = "evaluation/test_classify.py::test_a_copied_model_folder_serves_as_the_run_and_topk_says_how_many"
OTHER_IMAGES = "runs/test_other_images.py::test_"
EXPLAINED = "study/test_explain.py::test_"
TRIED = {
    **{f":{flag}": OWN for flag in ("run", "split", "checkpoint", "tta", "topk", "runs_dir")},
    ":fit_temperature": "evaluation/test_evaluate.py::test_a_model_from_before_is_given_its_temperature_by_the_flag",
    ":dataset": f"{OTHER_IMAGES}an_evaluation_on_other_images_leaves_the_runs_own_as_it_was",
    ":verify_images": f"{OTHER_IMAGES}images_are_read_again_where_that_is_asked_for",
    "dry_run:verify_images": f"{OTHER_IMAGES}training_images_that_have_changed_are_no_longer_the_runs_own",
    "compare:dataset": f"{OTHER_IMAGES}a_run_goes_on_and_is_compared_where_its_images_are_now_and_on_others_it_is_not",
    "redraw:dataset": f"{OTHER_IMAGES}what_was_evaluated_on_other_images_is_drawn_again_where_they_are_named",
    "images:topk": COPIED,
    "images:run": COPIED,
    "images:runs_dir": "evaluation/test_classify.py::test_a_folder_is_classified_and_what_cannot_be_read_is_listed",
    "explain:run": f"{EXPLAINED}of_one_run_its_surest_mistakes_and_hits_are_drawn",
    "explain:compare": f"{EXPLAINED}of_two_runs_images_are_drawn_that_one_alone_gets_right_the_clearest_of_each",
    "explain:runs_dir": f"{EXPLAINED}of_one_run_its_surest_mistakes_and_hits_are_drawn",
    **{
        f"explain:{flag}": f"{EXPLAINED}what_it_can_not_be_is_refused_and_where_runs_agree_nothing_is_drawn"
        for flag in ("split", "checkpoint", "dataset")
    },
    ":quiet": "evaluation/test_evaluate.py::test_everything_promised_is_drawn_and_counted",
    ":json": "program/test_scripts.py::test_on_a_terminal_every_script_prints_its_json_line_where_that_is_asked_for",
}
WORK = {
    "images": "--images photo.png", "explain": "--explain 2", "export": "--export torch",
    "compare": "--compare none-2 conv-2",
    "table": "--table none-2 none-9 conv-2 conv-9", "report": "--report run", "redraw": "--redraw",
    "dry_run": "--dry-run",
}  # fmt: skip


def test_every_flag_is_tried_here_or_elsewhere():
    modes = {mode.setting: mode.takes for mode in MODES}
    idle = {*modes, *(flag for mode in MODES for flag in mode.alone)}
    own = {f":{field.name}" for field in dataclasses.fields(EvaluateSettings) if field.name not in idle}
    # That a mode prints nothing but its line is seen below with each flag; the line itself is printed for all modes.
    others = {f"{mode}:{flag}" for mode, takes in modes.items() for flag in takes if flag not in ("quiet", "json")}
    assert {*SHOWS, *TRIED} == own | others
    assert set(WORK) == set(modes)
    assert untried(TRIED) == []


@pytest.fixture(scope="module")
def place(whole_run, tmp_path_factory) -> Path:
    """The runs ``run`` and ``old``, runs with made predictions, the same ``elsewhere``, a photo, and other images."""
    folder, rng = copy_whole(whole_run, tmp_path_factory.mktemp("flags"), checkpoints=False), np.random.default_rng(0)
    names, runs = load_dataset("shapes").class_names, folder / "runs"
    for name in ("test-best", "val-best", "test-last", "test-best-tta"):
        (runs / "run" / "evaluation" / name).mkdir(parents=True)
        write_predictions(runs / "run" / "evaluation" / name, make_predictions(0.5, rng, n=TEST_IMAGES))
    shutil.copytree(runs / "run", runs / "old")
    config = read_json(runs / "old" / "config.json")
    write_sealed_json(runs / "old" / "config.json", config | {"created": "2001-01-01T00:00:00"})
    for skip in ("none", "conv"):
        for epochs in (2, 9):
            sizes = {"test-best": 400, "test-last": 400, "test-epoch-1": 400, "val-best": 300, "val-last": 300}
            done = {name: make_predictions(0.5, rng, n=n) for name, n in sizes.items()}
            make_run(runs / f"{skip}-{epochs}", done, names, variant=skip, epochs=epochs)
    shutil.copytree(runs, folder / "elsewhere")
    picture = Image.fromarray(rng.integers(0, 256, (40, 50, 3), dtype=np.uint8))
    picture.save(folder / "photo.png")
    for name in names:
        for split, count in (("train", 1), ("test", 3)):
            (folder / "few" / split / name).mkdir(parents=True)
            for number in range(count):
                picture.rotate(number).save(folder / "few" / split / name / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def plain() -> dict[str, dict[str, Any]]:
    """By mode, what comes of it without any other flag: filled as it is needed."""
    return {}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Nothing is drawn."""
    shrink(monkeypatch.setattr)
    for module, name in (
        (compare, "_draw"), (compare, "find_split"), (table, "confusion_table_figure"), (table, "save_figure"),
        (classify, "save_figure"),
    ):  # fmt: skip
        monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setattr(export, "export_network", lambda network, path, form: path.write_bytes(b"") or 0.0)
    monkeypatch.setattr(speed_probe, "extraction_rate", lambda *_: 100.0)


def outcome(line: str, capsys) -> dict[str, Any]:
    """What evaluate.py prints for programs, and what else shows a flag."""
    code, captured = evaluate.main(line.split()), capsys.readouterr()
    if code:
        return {"refused": " ".join(captured.err.split())}
    assert (captured.err == "") == ("--quiet" in line)
    found = json.loads(captured.out.splitlines()[-1])
    found["ks told"] = list(found.get("topk", ()))
    if "comparison" in found:
        (path,) = Path(found["comparison"]).glob("*.json")
        found["ks compared"] = list(read_json(path)["topk_difference"])
    if "report" in found:
        found["language of the page"] = Path(found["report"]).read_text("utf-8").partition('lang="')[2][:2]
    return found


@pytest.mark.parametrize("flag", SHOWS)
def test_a_flag_shows_in_what_comes_of_a_mode(place, plain, capsys, monkeypatch, flag):
    monkeypatch.chdir(place)
    mode = flag.partition(":")[0]
    if mode not in plain:
        plain[mode] = outcome(WORK[mode], capsys)
    asked, where, expected = SHOWS[flag]
    found, without = outcome(f"{WORK[mode]} {asked} --quiet", capsys), plain[mode]
    assert "refused" not in without
    if where == "refused":
        assert expected in found[where]
        return
    assert found[where] != without[where]
    assert expected in (found[where], ...)
