"""What training says of the images it holds out."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_run import shrink, train_in

import evaluate
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.settings.keywords import with_keywords
from alexnet_skip.settings.train import RECIPES, TrainSettings
from alexnet_skip.statistics import metrics
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.session import open_session

IDLE = "is not used: the folder has val/"


@pytest.fixture
def pets(tmp_path):
    rng = np.random.default_rng(0)
    for split, count in (("train", 20), ("val", 3)):
        for name in ("cat", "dog"):
            for i in range(count):
                path = tmp_path / "pets" / split / name / f"{i}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    return tmp_path / "pets"


def told(pets, capsys, recipe="fast", **training):
    settings = with_keywords(
        TrainSettings.of_recipe(recipe),
        {"weights": "random", "dataset": str(pets), "runs_dir": pets.parent / "runs", **training},
    )
    session = open_session(settings)
    return session, " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_images_of_a_val_folder_are_told_as_held_out(pets, capsys, recipe):
    session, line = told(pets, capsys, recipe)
    assert "pets: 40 images to train on, 6 held out;" in line
    assert (session.num_val, len(session.positions), len(session.val_positions)) == (6, 40, 0)
    assert IDLE not in line


def test_a_fraction_that_was_given_beside_a_val_folder_is_said_to_be_idle(pets, capsys):
    assert f"6 held out (--val-fraction 0.4 {IDLE});" in told(pets, capsys, val_fraction=0.4)[1]
    # Given or not, it is compared with the recipe's own.
    assert IDLE in told(pets, capsys, "report", val_fraction=0.1)[1]
    assert IDLE in told(pets, capsys, val_fraction=0.0)[1]


def test_a_fraction_is_used_where_there_is_no_val_folder(pets, capsys):
    (pets / "val").rename(pets / "test")
    session, line = told(pets, capsys, val_fraction=0.4)
    assert "pets: 24 images to train on, 16 held out;" in line
    assert (session.num_val, IDLE in line) == (16, False)
    session, line = told(pets, capsys, val_fraction=0.4, train_on=10)
    assert "pets: 10 images to train on, 16 held out;" in line
    assert (session.num_val, IDLE in line) == (16, False)


@pytest.mark.parametrize("basis", ["8", "0"])
def test_the_validation_of_a_run_is_that_of_its_last_model_on_the_val_folder(pets, tmp_path, monkeypatch, basis):
    shrink(monkeypatch.setattr)
    asked = ("--dataset", str(pets), "--weights", "random", "--skip", "--epochs", "2", "--lr", "1e-3", "--quiet")
    assert train_in(tmp_path, *asked, "--pca-basis", basis, "--name", "run") == 0
    last = json.loads((tmp_path / "runs" / "run" / "metrics.jsonl").read_text().splitlines()[-1])
    assert evaluate.main(["--runs-dir", str(tmp_path / "runs"), "--split", "val", "--checkpoint", "last"]) == 0
    found = read_predictions(tmp_path / "runs" / "run" / "evaluation" / "val-last")
    assert found.files == tuple(f"val/{name}/{number}.png" for name in ("cat", "dog") for number in range(3))
    assert last["val_top1"] == found.correct.mean()
    loss = metrics.negative_log_likelihood(metrics.softmax(found.logits), found.labels)
    assert last["val_loss"] == pytest.approx(loss, rel=1e-3)


def test_a_run_on_few_images_is_judged_on_what_a_run_on_all_holds_out(pets, tmp_path, monkeypatch):
    shrink(monkeypatch.setattr)
    (pets / "val").rename(pets / "test")
    asked = ("--dataset", str(pets), "--weights", "random", "--epochs", "1", "--val-fraction", "0.4", "--quiet")
    judged = {}
    for name, few in (("all", ()), ("few", ("--train-on", "6"))):
        assert train_in(tmp_path, *asked, *few, "--pca-basis", "8", "--name", name) == 0
        for split in ("train", "val", "test"):
            assert evaluate.main(["--runs-dir", str(tmp_path / "runs"), "--run", name, "--split", split]) == 0
            judged[name, split] = read_predictions(tmp_path / "runs" / name / "evaluation" / f"{split}-best").files
    assert judged["few", "val"] == judged["all", "val"]
    assert judged["few", "test"] == judged["all", "test"]
    assert (len(judged["all", "train"]), len(judged["few", "train"])) == (24, 6)
    assert {*judged["few", "train"]} < {*judged["all", "train"]}
    last = json.loads((tmp_path / "runs" / "few" / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["val_top1"] == read_predictions(tmp_path / "runs" / "few" / "evaluation" / "val-best").correct.mean()
    moved = pets.rename(tmp_path / "moved")
    asked = ("--runs-dir", str(tmp_path / "runs"), "--run", "few", "--split", "val", "--dataset", str(moved))
    assert evaluate.main([*asked, "--quiet"]) == 0
    folders = {path.name for path in (tmp_path / "runs" / "few" / "evaluation").iterdir()}
    assert folders == {"train-best", "val-best", "test-best"}, "moved images are its own"


def test_a_class_too_small_to_hold_out_of_is_named_and_no_flag_blamed_that_nobody_gave(pets):
    (pets / "val").rename(pets / "test")
    for path in sorted((pets / "train" / "dog").iterdir())[1:]:
        path.unlink()
    options = {"weights": "random", "dataset": str(pets), "runs_dir": pets.parent}
    settings = with_keywords(TrainSettings(), options)
    with pytest.raises(UserError) as caught:
        open_session(settings)
    assert str(caught.value).startswith("holding 0.1 of each class out leaves class dog with 0 of 1 images in val; ")
