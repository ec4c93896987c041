"""A study trains what is missing, never again what is finished, and judges every run alike."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import evaluate
import train
from alexnet_skip import checkpoint
from alexnet_skip.errors import UserError
from alexnet_skip.files import read_json
from alexnet_skip.predictions import read_predictions
from alexnet_skip.train_config import parse_train

ROOT = Path(__file__).resolve().parent.parent
SMALL = (
    *("--dataset", "shapes", "--weights", "random", "--no-hflip", "--limit-train", "120", "--limit-test", "57"),
    *("--epochs", "2", "--val-fraction", "0.2", "--batch-size", "64", "--pca-basis", "16", "--name", "skip-study"),
)
TINY = ("--study", *SMALL, "--study-variants", "none", "identity", "--seeds", "1", "--quiet")


def study(folder: Path, cache: Path, *arguments: str) -> int:
    return train.main([*TINY, *arguments, "--cache-dir", str(cache), "--runs-dir", str(folder)])


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def curve(run: Path) -> list[float]:
    return [json.loads(line)["train_loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study of two variants: its folder, its cache, and its last line."""
    folder = tmp_path_factory.mktemp("study")
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert study(folder / "runs", folder / "cache") == 0
    return folder / "runs" / "skip-study", folder / "cache", json.loads(output.getvalue())


def test_every_run_is_an_ordinary_one_evaluated_at_both_epochs(finished):
    folder, _, result = finished
    assert result["snapshot_epochs"] == [1, 2]
    assert result["trained"] == ["none-seed1", "identity-seed1"]
    assert sorted(path.name for path in folder.iterdir()) == ["identity-seed1", "none-seed1"]
    for variant in ("none", "identity"):
        run = folder / f"{variant}-seed1"
        assert read_json(run / "summary.json")["skip_mode"] == variant
        assert read_json(run / "config.json")["settings"]["training"]["seed"] == 1
        for epoch in (1, 2):
            metrics = read_json(run / "evaluation" / f"test-epoch-{epoch}" / "metrics.json")
            assert metrics["num_samples"] == 57
            assert result["variants"][variant][f"epoch-{epoch}"]["top1"] == [metrics["top1"]]


def test_each_runs_tensorboard_holds_its_own_curves_only(finished):
    folder, _, _ = finished
    for run in folder.iterdir():
        events = EventAccumulator(str(run))
        events.Reload()
        assert [event.value for event in events.Scalars("loss/train")] == pytest.approx(curve(run))


def test_the_last_run_of_a_study_equals_the_same_run_alone(finished, tmp_path):
    """Nothing leaks from one run into the next, and keeping snapshots changes nothing."""
    folder, cache, _ = finished
    places = ["--cache-dir", str(cache), "--runs-dir", str(tmp_path)]
    assert train.main([*SMALL, "--skip", "--skip-mode", "identity", "--seed", "1", "--quiet", *places]) == 0
    assert curve(tmp_path / "skip-study") == pytest.approx(curve(folder / "identity-seed1"), rel=1e-4)


def test_a_finished_study_trains_nothing_again(finished, capsys):
    folder, cache, result = finished
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}
    assert study(folder.parent, cache) == 0
    again = last_line(capsys)
    assert (again["trained"], again["variants"]) == ([], result["variants"])
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [(["--lr", "0.002"], "--lr is 0.002"), (["--limit-train", "119"], "--dataset is shapes")],
)
def test_other_settings_under_the_same_name_are_refused_by_name(finished, capsys, arguments, setting):
    folder, cache, _ = finished
    assert study(folder.parent, cache, *arguments) == 2
    message = capsys.readouterr().err
    assert setting in message
    assert "or --name for another one" in message


def test_killed_half_way_and_started_again_it_ends_in_the_same_table(finished, tmp_path, capsys):
    folder, cache, result = finished
    runs = tmp_path / "skip-study"
    shutil.copytree(folder / "none-seed1", runs / "none-seed1", ignore=shutil.ignore_patterns("model", "last"))
    kept = (runs / "none-seed1" / "summary.json").stat().st_mtime_ns
    command = [sys.executable, str(ROOT / "train.py"), *TINY, "--cache-dir", str(cache), "--runs-dir", str(tmp_path)]
    process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": str(ROOT)})
    deadline = time.monotonic() + 120
    while not (runs / "identity-seed1" / "metrics.jsonl").is_file():
        assert process.poll() is None, "the study must be killed before its end"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert not (runs / "identity-seed1" / "summary.json").exists()

    # An evaluation that the interruption damaged is made again; a finished run is left alone.
    predictions = runs / "none-seed1" / "evaluation" / "test-epoch-2" / "predictions.npz"
    predictions.write_bytes(predictions.read_bytes()[:-20])
    assert study(tmp_path, cache) == 0
    again = last_line(capsys)
    assert (again["trained"], again["variants"]) == (["identity-seed1"], result["variants"])
    assert (runs / "none-seed1" / "summary.json").stat().st_mtime_ns == kept
    assert read_predictions(predictions.parent).logits.shape == (57, 10)


def test_runs_of_a_study_are_found_by_path_and_as_the_newest(finished, capsys):
    folder, _, _ = finished
    assert checkpoint.find_run(folder.parent, "skip-study/none-seed1") == folder / "none-seed1"
    assert checkpoint.find_run(folder.parent, None) == folder / "identity-seed1"
    with pytest.raises(UserError, match="study of several runs; add one of them to the path: identity-seed1, none"):
        checkpoint.find_run(folder.parent, "skip-study")
    arguments = ["--run", "skip-study/none-seed1", "--checkpoint", "epoch-0002", "--runs-dir", str(folder.parent)]
    assert evaluate.main([*arguments, "--quiet"]) == 0
    assert Path(last_line(capsys)["evaluation"]).name == "test-epoch-2"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--skip"], "--skip is given"),
        (["--seed", "3"], "--seed is 3"),
        (["--seeds", "1", "1"], "--seeds is 1 1"),
        (["--epochs", "1"], "--epochs is 1"),
        (["--snapshot-epochs", "3"], "--snapshot-epochs is"),
        (["--snapshot-epochs", "5", "3"], "--snapshot-epochs is"),
    ],
)
def test_settings_that_a_study_can_not_take_are_refused(capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        parse_train(["--study", *arguments])
    assert message in capsys.readouterr().err


def test_a_study_without_anything_to_judge_on_is_refused(tmp_path, capsys):
    from PIL import Image

    for name in ("cat", "dog"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (32, 32), (80 * number, 9, 9)).save(tmp_path / "data" / "train" / name / f"{number}.png")
    arguments = ["--dataset", str(tmp_path / "data"), "--val-fraction", "0"]
    assert study(tmp_path / "runs", tmp_path / "cache", *arguments) == 2
    assert "--val-fraction is 0 and data has no test split" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()
