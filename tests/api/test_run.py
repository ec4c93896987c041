"""A run trained from Python: the same as by the command line, and what a notebook gets of it."""

import base64
import inspect
import json
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_run import BATCH_SIZE, LR, VAL_FRACTION, copy_features, shrink

import alexnet_skip
from alexnet_skip import AlexNetWithSkip, load_predictions, train
from alexnet_skip.api.run import Run
from alexnet_skip.devices import launch
from alexnet_skip.evaluation import evaluate as evaluation
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.statistics.metrics import softmax
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json

draw_evaluation = evaluation.draw_evaluation
# tests/tiny_run.py's ARGUMENTS.
OPTIONS = {
    "dataset": "shapes", "weights": "random", "skip": True, "val_fraction": VAL_FRACTION, "epochs": 3,
    "batch_size": BATCH_SIZE, "pca_basis": 8, "snapshot_epochs": [2], "lr": LR, "dropout": (0.2, 0.4, 0.3),
    "quiet": True,
}  # fmt: skip


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)


@pytest.fixture(scope="module")
def run(whole_run, tmp_path_factory) -> Run:
    """``mine``, trained and evaluated from Python."""
    folder = copy_features(whole_run, tmp_path_factory.mktemp("api"))
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        patch.setattr(evaluation, "draw_evaluation", draw_evaluation)
        run = train(**OPTIONS, name="mine", runs_dir=folder / "runs", cache_dir=str(folder / "cache"))
        run.evaluate(quiet=True)
    return run


def test_keywords_train_the_run_that_flags_train(run, whole_run):
    by_command = whole_run / "runs" / "run"
    ours, theirs = (read_json(folder / "model" / "config.json") for folder in (run.folder, by_command))
    assert ours["model_sha256"] == theirs["model_sha256"]
    assert ours["settings"]["training"] == theirs["settings"]["training"]


def test_history_summary_and_model_are_the_runs(run):
    assert [record["epoch"] for record in run.history] == [1, 2, 3]
    best = run.history[run.summary["best_epoch"] - 1]
    assert best["val_top1"] == run.summary["best"]["val_top1"] == max(r["val_top1"] for r in run.history)
    assert isinstance(run.model, AlexNetWithSkip)
    assert run.model is run.model
    assert Path(run) == run.folder


def test_predictions_come_as_arrays_of_what_was_evaluated(run):
    summary = run.evaluate(topk=(1, 2), quiet=True)
    probabilities, labels, classes, files = load_predictions(run)
    assert (probabilities.argmax(axis=1) == labels).mean() == summary["top1"]
    assert set(summary["topk"]) == {"1", "2", "3"}
    assert (classes, files) == (run.model.class_names, ())
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert load_predictions("mine", runs_dir=run.folder.parent).labels.tolist() == labels.tolist()
    with pytest.raises(
        UserError, match=r"no predictions of best on val; make them first:\n  python evaluate\.py --run"
    ):
        load_predictions(run, split="val")


def test_probabilities_are_at_the_models_temperature_like_those_of_predict(run):
    config, path = run.folder / "model" / "config.json", run.folder / "model" / "config.json"
    before = config.read_bytes()
    plain = load_predictions(run).probabilities
    values = {name: value for name, value in json.loads(before).items() if name != "checksum"}
    path.write_text(json.dumps(values | {"temperature": 2.0}))
    softer = load_predictions(run).probabilities
    path.write_bytes(before)
    logits = read_predictions(run.folder / "evaluation" / "test-best").logits
    np.testing.assert_allclose(plain, softmax(logits / values.get("temperature", 1.0)), rtol=1e-9)
    np.testing.assert_allclose(softer, softmax(logits / 2.0), rtol=1e-9)


def test_figures_are_shown_inline(run):
    figures = run.figures
    name = "evaluation/test-best/confusion_matrix"
    picture = (run.folder / f"{name}.png").read_bytes()
    assert figures[name]._repr_png_() == picture
    assert picture.startswith(b"\x89PNG")
    assert base64.b64encode(picture).decode() in figures._repr_html_()
    assert len(figures) == figures._repr_html_().count("<img ")
    with pytest.raises(KeyError, match=r"nothing; there are .*confusion_matrix"):
        figures["nothing"]


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"epoch": 3}, TypeError, "did you mean 'epochs'"),
        ({"study": True}, TypeError, r"takes no study; give it to train\.py"),
        ({"epochs": 0}, UserError, "--epochs is 0"),
        ({"dataset": "nowhere"}, UserError, "--dataset is nowhere"),
    ],
)
def test_a_mistake_is_an_exception_and_leaves_nothing(tmp_path, options, kind, message):
    with pytest.raises(kind, match=message):
        train(**{"quiet": True, "weights": "random", "runs_dir": tmp_path / "runs"} | options)
    assert not (tmp_path / "runs").exists()


def test_a_mistake_in_evaluating_is_one_too(run):
    for options, message in (
        ({"split": "all"}, "split is 'all', but must be Literal"),
        ({"topk": (11,)}, "--topk is 11, but mine has 10 classes"),
        ({"checkpoint": "epoch-7"}, "--checkpoint is epoch-7, but"),
    ):
        with pytest.raises(UserError, match=message):
            run.evaluate(quiet=True, **options)


def test_one_process_can_work_in_one_precision_after_another():
    for precision in ("bf16", "no"):
        launch.start_anew()
        accelerator, _ = launch.start(precision)
        assert accelerator.mixed_precision == precision


def test_help_shows_the_flags_as_keywords():
    shown = inspect.signature(alexnet_skip.train).parameters
    assert {"dataset", "skip", "epochs", "class_weights", "resume"} <= set(shown)
    assert "study" not in shown
    assert shown["dataset"].default == "auto"
    assert os.fspath(Run(Path("somewhere"))) == "somewhere"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "all"}, "split is all, but must be test, val or train"),
        ({"split": "../evaluation/test"}, "split is ../evaluation/test, but must be test, val or train"),
        ({"checkpoint": "../model"}, "--checkpoint is ../model, but must be best, last or epoch-N"),
    ],
)
def test_predictions_of_what_can_be_no_split_or_checkpoint_are_refused(run, options, message):
    with pytest.raises(UserError, match=message):
        load_predictions(run, **options)
