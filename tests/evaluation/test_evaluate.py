"""An evaluation draws all it knows from its predictions, and can do so again without the model."""

import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import make_predictions
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_run import HELD_OUT, TEST_IMAGES, VAL_FRACTION, copy_whole, shrink

import evaluate
from alexnet_skip import AlexNetWithSkip
from alexnet_skip.evaluation import evaluate as evaluation
from alexnet_skip.evaluation import figures
from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network.model import load_published
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.settings.records import ModelConfig
from alexnet_skip.statistics import metrics
from alexnet_skip.system.console import Console
from alexnet_skip.system.files import read_json, write_json, write_sealed_json

# Features are stored as halves.
TOLERANCE = 5e-3
draw_evaluation = evaluation.draw_evaluation
PICTURES = ("confusion_matrix.png", "reliability.png", "reliability_calibrated.png", "mistakes.png")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)


@pytest.fixture
def runs(whole_run, tmp_path) -> Path:
    """Folder of all runs with the run ``run``, not evaluated yet; a test may change it."""
    return copy_whole(whole_run, tmp_path, checkpoints=False) / "runs"


def test_everything_promised_is_drawn_and_counted(runs, capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "draw_evaluation", draw_evaluation)
    assert evaluate.main(["--runs-dir", str(runs), "--quiet"]) == 0
    assert capsys.readouterr().err == ""
    where = runs / "run" / "evaluation" / "test-best"
    for name in PICTURES:
        with Image.open(where / name) as image:
            assert min(image.size) > 250
    summary = read_json(where / "metrics.json")
    names, confusion = list(summary["per_class"]), np.array(summary["confusion_matrix"])
    for pair in summary["most_confused"]:
        assert confusion[names.index(pair["true"]), names.index(pair["predicted"])] == pair["images"]
    counts = [pair["images"] for pair in summary["most_confused"]]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == (confusion - np.diag(np.diag(confusion))).max()
    events = EventAccumulator(str(runs / "run"), {"images": 0}).Reload()
    (shown,) = events.Images("9 test/confusion matrix")
    with Image.open(io.BytesIO(shown.encoded_image_string)) as image:
        np.testing.assert_array_equal(image, Image.open(where / "confusion_matrix.png").convert("RGB"))
    assert shown.step == summary["epoch"]


@pytest.mark.parametrize(
    ("flags", "folder", "place"),
    [
        ([], "test-best", "model"),
        (["--checkpoint", "last"], "test-last", "last"),
        (["--checkpoint", "epoch-2"], "test-epoch-2", "snapshots/epoch-0002"),
        (["--split", "val"], "val-best", "model"),
        (["--split", "train"], "train-best", "model"),
        (["--tta"], "test-best-tta", "model"),
    ],
)
def test_run_split_checkpoint_tta_and_topk_say_which_model_predicts_which_views_of_what(runs, flags, folder, place):
    """The published network itself, on the images themselves, is the oracle; features are stored as halves."""
    for file, content in (("config.json", {"created": "9999"}), ("model/config.json", {})):
        (runs / "newer" / file).parent.mkdir(parents=True, exist_ok=True)
        write_json(runs / "newer" / file, content)
    assert evaluate.main([*flags, "--run", "run", "--topk", "2", "5", "--runs-dir", str(runs), "--quiet"]) == 0
    found = read_predictions(runs / "run" / "evaluation" / folder)
    split = load_dataset("shapes").splits["test" if folder.startswith("test") else "train"]
    positions = np.arange(TEST_IMAGES)
    if not folder.startswith("test"):
        positions = train_val_positions(split.labels, VAL_FRACTION)[folder.startswith("val")]
    np.testing.assert_array_equal(found.index, positions)
    np.testing.assert_array_equal(found.labels, split.labels[positions])
    images = torch.from_numpy(split.images[positions])
    with torch.no_grad():
        backbone = load_published(runs / "run" / place)[0].backbone
        features, flipped = ([x.flatten(1) for x in backbone(view)] for view in (images, images.flip(2)))
        errors = {}
        for published in ("model", "last", "snapshots/epoch-0002"):
            trained = load_published(runs / "run" / published)[0].trained  # of the same frozen convolutions
            expected, averaged = trained(*features), (trained(*features) + trained(*flipped)) / 2
            assert (averaged - expected).abs().max() > 2 * TOLERANCE, "or averaging would not show"
            errors[published] = np.abs(found.logits - (averaged if "--tta" in flags else expected).numpy()).max()
    own = errors.pop(place)
    assert own < TOLERANCE
    assert min(errors.values()) > 2 * own, "the other models of the run are others"
    written = read_json(runs / "run" / "evaluation" / folder / "metrics.json")
    assert written["tta"] == ("--tta" in flags)
    assert written["top1"] == np.mean(found.logits.argmax(1) == split.labels[positions])
    assert list(written["topk"]) == ["1", "2", "3", "5"]


def uncalibrated(published: Path) -> None:
    """A published model as it was before it had a temperature."""
    config = read_json(published / "config.json")
    write_sealed_json(published / "config.json", {n: v for n, v in config.items() if not n.startswith("temperature")})


def test_a_model_is_judged_at_the_temperature_that_it_was_published_with_and_its_plain_figures_are_kept(runs, capsys):
    assert evaluate.main(["--split", "val", "--runs-dir", str(runs)]) == 0
    shown = " ".join(capsys.readouterr().err.split())
    assert "fitted on these very images" in shown
    where, config = runs / "run" / "evaluation" / "val-best", read_json(runs / "run" / "model" / "config.json")
    found, summary = read_predictions(where), read_json(where / "metrics.json")
    assert summary["temperature"] == config["temperature"] != 1
    assert summary["temperature_images"] == config["temperature_images"] == len(found.labels) == HELD_OUT
    plain, fitted = metrics.softmax(found.logits), metrics.softmax(found.logits / config["temperature"])
    for suffix, probabilities in (("", plain), ("_calibrated", fitted)):
        assert summary[f"nll{suffix}"] == metrics.negative_log_likelihood(probabilities, found.labels)
        assert summary[f"ece{suffix}"] == metrics.expected_calibration_error(probabilities, found.labels)
    assert summary["nll_calibrated"] < summary["nll"]
    assert summary["top1"] == (fitted.argmax(1) == found.labels).mean()
    assert f"NLL without its temperature of {config['temperature']:.2f}" in shown

    uncalibrated(runs / "run" / "model")
    assert evaluate.main(["--split", "val", "--runs-dir", str(runs)]) == 0
    assert "1: none was fitted" in " ".join(capsys.readouterr().err.split())
    assert "temperature" not in read_json(where / "metrics.json")
    assert read_json(where / "metrics.json")["ece"] == summary["ece"]


def test_a_model_from_before_is_given_its_temperature_by_the_flag(runs, capsys):
    published = read_json(runs / "run" / "model" / "config.json")["temperature"]
    uncalibrated(runs / "run" / "model")
    assert AlexNetWithSkip.from_pretrained(runs / "run").temperature == 1
    assert evaluate.main(["--fit-temperature", "--runs-dir", str(runs)]) == 0
    assert f"fitted on {HELD_OUT} images of val" in capsys.readouterr().err
    config = read_json(runs / "run" / "model" / "config.json")
    temperature = config["temperature"]
    # Of features in halves, where publishing has coordinates in halves.
    assert temperature == pytest.approx(published, rel=0.01)
    assert config["temperature_images"] == HELD_OUT
    assert read_json(runs / "run" / "evaluation" / "test-best" / "metrics.json")["temperature"] == temperature

    assert evaluate.main(["--split", "val", "--runs-dir", str(runs)]) == 0
    val = read_predictions(runs / "run" / "evaluation" / "val-best")
    assert metrics.fit_temperature(val.logits, val.labels) == pytest.approx(temperature, rel=1e-4)

    model = AlexNetWithSkip.from_pretrained(runs / "run")
    image = load_dataset("shapes").splits["test"].images[:1]
    with torch.no_grad():
        logits = model(torch.from_numpy(image)).numpy()
    np.testing.assert_allclose(
        model.predict(image)[0].probabilities, metrics.softmax(logits / temperature)[0], rtol=1e-5
    )


def test_held_out_images_that_are_all_right_fit_no_temperature(runs, monkeypatch, capsys):
    before = (runs / "run" / "model" / "config.json").read_bytes()
    labels = load_dataset("shapes").splits["train"].labels
    monkeypatch.setattr(evaluation, "predict", lambda model, features, positions, *_: np.eye(10)[labels[positions]])
    assert evaluate.main(["--fit-temperature", "--runs-dir", str(runs)]) == 2
    assert f"{HELD_OUT} held-out images of run determine no temperature" in " ".join(capsys.readouterr().err.split())
    assert (runs / "run" / "model" / "config.json").read_bytes() == before


@pytest.mark.parametrize(
    ("factor", "smoothing", "told"),
    [
        (1.0, 0.1, "as sure as it is right"),
        (0.3, 0.1, "less sure than right: label smoothing 0.1 teaches it doubt"),
        (0.3, None, "less sure than right$"),
        (0.3, 0.0, "less sure than right$"),
        (4.0, 0.0, "surer than right: training goes on"),
        (4.0, None, "surer than right$"),
    ],
)
def test_the_diagram_says_what_is_wrong_with_the_confidence_and_why(rng, factor, smoothing, told):
    logits = rng.normal(0, 2, (40_000, 5))
    labels = (logits + rng.gumbel(size=logits.shape)).argmax(1)  # drawn with the very chances that softmax gives
    bins = metrics.reliability_bins(metrics.softmax(factor * logits), labels)
    assert re.search(told, figures.calibration_note(bins, smoothing))


def test_a_temperature_that_is_none_is_refused(runs, capsys):
    config = read_json(runs / "run" / "model" / "config.json")
    (runs / "run" / "model" / "config.json").write_text(json.dumps(config | {"temperature": 0}))
    assert evaluate.main(["--runs-dir", str(runs)]) == 2
    assert "its temperature is 0.0" in " ".join(capsys.readouterr().err.split())


def test_figures_are_drawn_again_without_the_model(runs, capsys, monkeypatch):
    monkeypatch.setattr(evaluation, "draw_evaluation", draw_evaluation)
    assert evaluate.main(["--topk", "1", "3", "--runs-dir", str(runs)]) == 0
    where = runs / "run" / "evaluation" / "test-best"
    before = {path.name: path.read_bytes() for path in where.iterdir()}
    for path in (*where.glob("*.png"), *where.glob("*.csv"), *where.glob("*.json")):
        path.unlink()
    (runs / "run" / "model" / "model.safetensors").unlink()
    assert evaluate.main(["--redraw", "--topk", "1", "3", "--runs-dir", str(runs)]) == 0
    assert {path.name for path in where.iterdir()} == set(before)
    for name in ("metrics.json", "confusion_matrix.csv"):
        assert (where / name).read_bytes() == before[name], name
    assert "Drawn again" in capsys.readouterr().err


def test_without_predictions_redraw_says_how_to_make_them(runs, capsys):
    assert evaluate.main(["--redraw", "--split", "val", "--runs-dir", str(runs)]) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"python evaluate.py --run {runs / 'run'} --split val --checkpoint best" in message


@pytest.mark.parametrize("classes", [50, 51])
def test_the_matrix_of_many_classes_is_in_the_csv_alone(tmp_path, rng, classes):
    names = tuple(f"c{number}" for number in range(classes))
    some = make_predictions(0.5, rng, n=200, classes=classes)
    summary = figures.summarize_predictions(some, names, (), ModelConfig("none", names))
    matrix = metrics.confusion_matrix(some.labels, some.predicted, classes)
    assert ("confusion_matrix" in summary) == (classes == 50)
    np.fill_diagonal(wrong := matrix.copy(), 0)
    assert summary["most_confused"][0]["images"] == wrong.max()
    figures.draw_evaluation(tmp_path, "a title", summary, some, None)
    lines = (tmp_path / "confusion_matrix.csv").read_text(encoding="utf-8-sig").splitlines()[1:]
    np.testing.assert_array_equal([[int(cell) for cell in line.split(",")[1:]] for line in lines], matrix)


@pytest.mark.parametrize(
    ("digest", "shown"), [("m" * 64, "own older other2-1234"), (None, "own older other2-1234 changed")]
)
def test_a_card_shows_what_its_own_model_was_judged_on_and_names_images_that_are_not_the_runs(
    tmp_path, monkeypatch, digest, shown
):
    about = {"skip_mode": "none", "class_names": ["cat", "dog"], "epoch": 2}
    (tmp_path / "model").mkdir()
    write_json(tmp_path / "model" / "config.json", about | ({"model_sha256": digest} if digest else {}))
    for folder, name, epoch, model in (
        ("test-best", "own", 2, "m" * 64), ("test-best-on-other2-1234", "own", 2, "m" * 64),
        ("train-best", "older", 2, None), ("val-best", "changed", 2, "0" * 64), ("test-last", "last", 3, "m" * 64),
    ):  # fmt: skip
        where, known = tmp_path / "evaluation" / folder, {"model_sha256": model} if model else {}
        where.mkdir(parents=True)
        write_json(where / "metrics.json", {"dataset": name, "split": "test", "num_samples": 9, "epoch": epoch} | known)
    monkeypatch.setattr(evaluation, "model_card", lambda _, shown: " ".join(one["dataset"] for one in shown))
    evaluation.add_to_card(tmp_path, tmp_path / "model", Console())
    assert {*(tmp_path / "model" / "README.md").read_text().split()} == {*shown.split()}


def test_a_title_names_images_run_and_checkpoint_and_the_epoch_once():
    about = {"dataset": "shapes", "split": "val", "epoch": 7}
    for checkpoint, told in (("best", "best (epoch 7)"), ("last", "last (epoch 7)"), ("epoch-0007", "epoch-7")):
        assert evaluation.evaluation_title(about, Path("runs/one"), checkpoint) == f"shapes val, one, {told}"


def test_without_a_picture_an_evaluations_curves_are_of_its_topk_and_loss(tmp_path):
    for epoch, top1 in ((1, 0.25), (4, 0.5)):
        evaluation.log_evaluation(tmp_path, "val", {"topk": {"1": top1}, "nll": 3.0, "epoch": epoch}, None)
    events = EventAccumulator(str(tmp_path)).Reload()
    told = {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}
    assert told == {"9 val/top-1": [(1, 0.25), (4, 0.5)], "9 val/loss": [(1, 3.0), (4, 3.0)]}
    assert not events.Tags()["images"]


def test_a_figure_of_more_classes_than_there_are_is_refused_before_anything_is_drawn_again(runs, monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "draw_evaluation", lambda *_: None)
    assert evaluate.main(["--runs-dir", str(runs)]) == 0
    where = runs / "run" / "evaluation" / "test-best"
    before = {path.name: path.read_bytes() for path in where.iterdir()}
    assert evaluate.main(["--redraw", "--topk", "3", "11", "--runs-dir", str(runs)]) == 2
    assert "--topk is 11, but run has 10 classes; give 1 to 10" in " ".join(capsys.readouterr().err.split())
    assert {path.name: path.read_bytes() for path in where.iterdir()} == before


def without(key: str):
    def left(path: Path) -> None:
        write_json(path, {name: value for name, value in read_json(path).items() if name != key})

    return left


@pytest.mark.parametrize("damage", [without("epoch"), without("num_samples"), lambda path: path.write_text("{")])
def test_a_damaged_evaluation_stops_no_later_one_and_is_made_again_by_the_command_that_is_told(
    runs, monkeypatch, capsys, damage
):
    monkeypatch.setattr(evaluation, "draw_evaluation", lambda *_: None)
    monkeypatch.setattr(evaluation, "log_evaluation", lambda *_: None)
    assert evaluate.main(["--split", "val", "--tta", "--runs-dir", str(runs)]) == 0
    path = runs / "run" / "evaluation" / "val-best-tta" / "metrics.json"
    before = read_json(path)
    damage(path)
    capsys.readouterr()
    assert evaluate.main(["--runs-dir", str(runs)]) == 0
    told = capsys.readouterr().err
    assert f"{path} is damaged and left out of the model's card; make it again:" in " ".join(told.split())
    rows = (runs / "run" / "model" / "README.md").read_text(encoding="utf-8")
    assert "| shapes test |" in rows
    assert "| shapes val" not in rows
    (command,) = [line.split() for line in told.splitlines() if "--redraw" in line]
    assert evaluate.main([*command[2:], "--quiet"]) == 0
    assert read_json(path) == before
    assert "| shapes val, mirrored too |" in (runs / "run" / "model" / "README.md").read_text(encoding="utf-8")
