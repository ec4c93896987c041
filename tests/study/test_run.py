"""A study trains what is missing, never again what is finished, and judges every run alike."""

import contextlib
import io
import itertools
import json
import os
import shutil
import signal
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from made_runs import change, make_images
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_run import ARGUMENTS, STEPS_PER_EPOCH, TEST_IMAGES, TRAIN_IMAGES, outcome, shrink

import evaluate
import train
from alexnet_skip.devices import agreement
from alexnet_skip.images import dataset
from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.network.model import load_published
from alexnet_skip.runs import folders
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.study import run as study_run
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json, write_sealed_json
from alexnet_skip.system.locks import folder_lock
from alexnet_skip.training.trainer import Trainer

FEWER = TEST_IMAGES - 3
SMALL = (
    *(argument for argument in ARGUMENTS[: ARGUMENTS.index("--snapshot-epochs")] if argument != "--skip"),
    "--limit-train", str(TRAIN_IMAGES - 1), "--limit-test", str(FEWER),
    "--weight-decay", "0.3", "--label-smoothing", "0.2", "--no-hflip",
    "--dropout", "0.1", "0.2", "0.3", "--name", "skip-study",
)  # fmt: skip
TINY = ("--study", *SMALL, "--study-variants", "none", "identity", "--seeds", "1", "--quiet")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)


def study(folder: Path, cache: Path, *arguments: str) -> int:
    return train.main([*TINY, *arguments, "--cache-dir", str(cache), "--runs-dir", str(folder)])


def trained(run: Path) -> list:
    """Models and curves of a run; its TensorBoard also holds how often it was evaluated."""
    return [outcome(run)[part] for part in ("models", "metrics")]


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def curve(run: Path) -> list[float]:
    return [json.loads(line)["train_loss"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A finished study of two variants: its folder, its cache, and its last line."""
    folder = tmp_path_factory.mktemp("study")
    with contextlib.redirect_stdout(io.StringIO()) as output, pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        assert study(folder / "runs", folder / "cache") == 0
    return folder / "runs" / "skip-study", folder / "cache", json.loads(output.getvalue())


def test_every_run_is_an_ordinary_one_evaluated_at_both_epochs(finished):
    folder, _, result = finished
    assert result["snapshot_epochs"] == [1, 3]
    assert result["trained"] == ["none-seed1", "identity-seed1"]
    assert (result["dataset"], result["split"], result["num_samples"]) == ("shapes", "test", FEWER)
    assert any(folder.parent.with_name("cache").iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["identity-seed1", "none-seed1", "report.html"]
    for variant in ("none", "identity"):
        run = folder / f"{variant}-seed1"
        assert read_json(run / "summary.json")["skip_mode"] == variant
        assert read_json(run / "config.json")["settings"]["training"]["seed"] == 1
        for epoch in (1, 3):
            metrics = read_json(run / "evaluation" / f"test-epoch-{epoch}" / "metrics.json")
            assert metrics["num_samples"] == FEWER
            assert result["variants"][variant][f"epoch-{epoch}"]["top1"] == [metrics["top1"]]


def test_each_runs_tensorboard_holds_its_own_curves_only(finished):
    folder, _, _ = finished
    for run in filter(Path.is_dir, folder.iterdir()):
        events = EventAccumulator(str(run))
        events.Reload()
        assert [event.value for event in events.Scalars("2 loss/train, as minimised")] == pytest.approx(curve(run))


def test_evaluations_of_two_epochs_are_points_of_one_curve(finished):
    run = finished[0] / "identity-seed1"
    events = EventAccumulator(str(run)).Reload()
    told = [read_json(run / "evaluation" / f"test-epoch-{epoch}" / "metrics.json") for epoch in (1, 3)]
    points = [(event.step, event.value) for event in events.Scalars("9 test/top-1")]
    assert points == [(epoch, pytest.approx(metrics["top1"])) for epoch, metrics in zip((1, 3), told, strict=True)]


def test_the_last_run_of_a_study_equals_the_same_run_alone(finished, tmp_path):
    """Nothing leaks from one run into the next, and keeping snapshots changes nothing."""
    folder, cache, _ = finished
    places = ["--cache-dir", str(cache), "--runs-dir", str(tmp_path)]
    assert train.main([*SMALL, "--skip", "--skip-mode", "identity", "--seed", "1", "--quiet", *places]) == 0
    assert curve(tmp_path / "skip-study") == pytest.approx(curve(folder / "identity-seed1"), rel=1e-4)


def test_a_finished_study_trains_nothing_again(finished, capsys):
    folder, cache, result = finished
    # The page that a study ends with is made again of the same runs.
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "report.html"]
    before = {path: path.stat().st_mtime_ns for path in files}
    assert study(folder.parent, cache) == 0
    printed = capsys.readouterr()
    again = json.loads(printed.out)
    assert printed.err == ""
    assert (again["trained"], again["variants"]) == ([], result["variants"])
    assert {path: path.stat().st_mtime_ns for path in files} == before
    assert {path for path in folder.rglob("*") if path.is_file()} == {*files, folder / "report.html"}


def test_two_studies_in_one_folder_are_refused_while_the_first_one_runs(finished, capsys):
    folder, cache, _ = finished
    with folder_lock(folder, print):
        assert study(folder.parent, cache) == 2
    assert f"is in use by process {os.getpid()}" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize("main", [True, False])
@pytest.mark.parametrize(
    ("refused", "seen", "told"),
    [
        (None, [True, True], None), (None, [True, False, False], "process 1, 2 does not see skip-study"),
        ("it is in use", [True, True], "it is in use"),
    ],
)  # fmt: skip
def test_all_processes_of_a_study_see_its_folder_or_are_refused_before_they_train(
    tmp_path, monkeypatch, main, refused, seen, told
):
    """Without a shared disk the others would fail alone, after all trainings."""
    session = SimpleNamespace(
        accelerator=SimpleNamespace(is_main_process=main), console=SimpleNamespace(line=pytest.fail)
    )
    monkeypatch.setattr(agreement, "broadcast_object_list", lambda found: [None, refused])
    monkeypatch.setattr(study_run, "gather_object", lambda mine: seen if refused is None else pytest.fail("not asked"))
    entered = []
    outcome = pytest.raises(UserError, match=told) if told else contextlib.nullcontext()
    with outcome, study_run._locked(tmp_path / "skip-study", session):
        entered.append((tmp_path / "skip-study").is_dir())
    assert entered == ([main] if told is None else [])


@pytest.mark.parametrize(
    ("arguments", "setting"),
    [
        (["--lr", "0.0123"], "--lr is 0.0123"),
        (["--limit-train", str(TRAIN_IMAGES - 9)], "--dataset is shapes"),
        (["--snapshot-epochs", "2", "3"], "--snapshot-epochs is [2, 3]"),
    ],
)
def test_other_settings_under_the_same_name_are_refused_by_name(finished, capsys, arguments, setting):
    folder, cache, _ = finished
    assert study(folder.parent, cache, *arguments) == 2
    message = capsys.readouterr().err
    assert setting in message
    assert "or --name for another one" in message


def test_a_finished_study_is_compared_and_made_a_table_of(finished, tmp_path, capsys):
    folder, _, result = finished
    shutil.copytree(folder, tmp_path / "skip-study")
    assert evaluate.main(["--compare", "--runs-dir", str(tmp_path), "--quiet"]) == 0
    (pair,) = json.loads(capsys.readouterr().out)["pairs"]
    none, identity = (result["variants"][variant]["epoch-3"]["top1"][0] for variant in ("none", "identity"))
    assert pair["top1_difference"]["mean"] == pytest.approx(identity - none)
    assert pair["verdict"].startswith(f"On shapes (test, n = {FEWER}), skip (identity): these two models differ in ")
    assert evaluate.main(["--table", "--runs-dir", str(tmp_path), "--quiet"]) == 0
    columns = json.loads(capsys.readouterr().out)["columns"]
    assert columns["skip (identity)"]["top1"][1] == [identity]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="a process of its own is forked, which Windows can't")
def test_killed_half_way_and_started_again_it_ends_in_the_same_table(finished, tmp_path, capsys, zygote):
    folder, cache, result = finished
    runs = tmp_path / "skip-study"
    shutil.copytree(folder / "none-seed1", runs / "none-seed1")
    kept = (runs / "none-seed1" / "summary.json").stat().st_mtime_ns
    # Slow enough to be killed in the middle: every step is followed by a checkpoint.
    command = [*TINY, "--cache-dir", cache, "--runs-dir", tmp_path, "--checkpoint-minutes", "1e-9"]
    process, deadline = zygote.start(command, tmp_path / "log"), time.monotonic() + 120
    while not (runs / "identity-seed1" / "metrics.jsonl").is_file():
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.002)
    os.kill(process, signal.SIGKILL)
    assert zygote.wait(process) == -signal.SIGKILL, "the study must be killed before its end"
    assert not (runs / "identity-seed1" / "summary.json").exists()

    # An evaluation that the interruption damaged is made again; a finished run is left alone.
    predictions = runs / "none-seed1" / "evaluation" / "test-epoch-3" / "predictions.npz"
    predictions.write_bytes(predictions.read_bytes()[:-20])
    assert study(tmp_path, cache) == 0
    again = last_line(capsys)
    assert (again["trained"], again["variants"]) == (["identity-seed1"], result["variants"])
    assert trained(runs / "identity-seed1") == trained(folder / "identity-seed1")
    assert (runs / "none-seed1" / "summary.json").stat().st_mtime_ns == kept
    assert read_predictions(predictions.parent).logits.shape == (FEWER, 10)


def test_stopped_by_a_signal_it_goes_on_from_the_very_step(finished, tmp_path, capsys, monkeypatch):
    folder, cache, _ = finished
    with monkeypatch.context() as patch:
        steps, look = itertools.count(1), Trainer._after_step

        def after_step(keeper):
            if next(steps) == 3 * STEPS_PER_EPOCH + 4:  # in the first epoch of the second run
                os.kill(os.getpid(), signal.SIGTERM)
            look(keeper)

        patch.setattr(Trainer, "_after_step", after_step)
        assert study(tmp_path, cache, "--no-quiet") == 128 + signal.SIGTERM
    assert "The whole study goes on with the command" in capsys.readouterr().err
    assert study(tmp_path, cache, "--no-quiet") == 0
    captured = capsys.readouterr()
    assert "Going on with identity-seed1 from step-00000004: epoch 1, after 4 of" in captured.err
    assert json.loads(captured.out.splitlines()[-1])["trained"] == ["identity-seed1"]
    assert trained(tmp_path / "skip-study" / "identity-seed1") == trained(folder / "identity-seed1")


def test_what_is_left_of_a_run_without_a_checkpoint_is_replaced(finished, tmp_path, capsys):
    folder, cache, result = finished
    left = tmp_path / "skip-study" / "none-seed1"
    left.mkdir(parents=True)
    (left / "metrics.jsonl").write_text("half a li")
    assert study(tmp_path, cache, "--study-variants", "none") == 0
    assert last_line(capsys)["variants"]["none"] == result["variants"]["none"]
    assert trained(left) == trained(folder / "none-seed1")


def test_figures_of_other_images_are_made_again(finished, tmp_path, capsys):
    """What an interruption leaves between the two files; older versions have written predictions first."""
    folder, cache, result = finished
    shutil.copytree(folder, tmp_path / "skip-study")
    where = tmp_path / "skip-study" / "identity-seed1" / "evaluation" / "test-epoch-3"
    told = read_json(where / "metrics.json")
    of_a_version_before = {name: value for name, value in told.items() if not name.endswith("_sha256")}
    write_sealed_json(where / "metrics.json", of_a_version_before)
    assert study_run.has_figures(where)
    write_sealed_json(where / "metrics.json", told | {"top1": 0.125, "images_sha256": "0" * 64})
    assert not study_run.has_figures(where)
    assert study(tmp_path, cache) == 0
    assert last_line(capsys)["variants"] == result["variants"]
    assert read_json(where / "metrics.json")["images_sha256"] == read_predictions(where).digest


def test_a_model_whose_convolutions_were_changed_is_not_judged_by_the_studys_features(finished, tmp_path, capsys):
    folder, cache, _ = finished
    shutil.copytree(folder, tmp_path / "skip-study")
    run = tmp_path / "skip-study" / "identity-seed1"
    before = read_predictions(run / "evaluation" / "test-epoch-3").logits
    change(run / "snapshots" / "epoch-0003", "backbone.10.weight")
    assert study(tmp_path, cache) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"{run}: the convolutions of its model epoch-3 are not the study's" in message
    assert "remove that run, and the same command trains it again" in message
    assert (read_predictions(run / "evaluation" / "test-epoch-3").logits == before).all()


def test_without_a_cache_a_study_leaves_none_and_it_is_judged_after_the_epochs_that_are_asked_for(
    tmp_path, capsys, monkeypatch
):
    for name in ("SHAPES_TRAIN", "SHAPES_TEST"):
        monkeypatch.setattr(dataset, name, 30)
    asked = ("--no-cache", "--study-variants", "none", "--snapshot-epochs", "2", "3")
    assert study(tmp_path / "runs", tmp_path / "cache", *asked) == 0
    result = last_line(capsys)
    assert (result["trained"], result["snapshot_epochs"]) == (["none-seed1"], [2, 3])
    assert list(result["variants"]["none"]) == ["epoch-2", "epoch-3"]
    assert not (tmp_path / "cache").exists()


def test_a_study_of_images_that_were_moved_goes_on_and_one_of_others_does_not(tmp_path, capsys):
    before, cache, runs = make_images(tmp_path / "before", 0), tmp_path / "cache", tmp_path / "runs"
    some = ("--study-variants", "none", "--epochs", "2")
    assert study(runs, cache, "--dataset", str(before), *some) == 0
    assert last_line(capsys)["trained"] == ["none-seed1"]
    after = before.rename(tmp_path / "after")
    assert study(runs, cache, "--dataset", str(after), *some) == 0
    assert last_line(capsys)["trained"] == []
    other = make_images(tmp_path / "other", 1)
    assert study(runs, cache, "--dataset", str(other), *some) == 2
    message = " ".join(capsys.readouterr().err.split())
    assert f"--dataset is {other} (training images' SHA-256 " in message
    assert f"was trained with {before} (training images' SHA-256 " in message


def test_runs_of_a_study_are_found_by_path_and_as_the_newest(finished, capsys):
    folder, _, _ = finished
    assert folders.find_run(folder.parent, "skip-study/none-seed1") == folder / "none-seed1"
    assert folders.find_run(folder.parent, None) == folder / "identity-seed1"
    with pytest.raises(UserError, match="study of several runs; add one of them to the path: identity-seed1, none"):
        folders.find_run(folder.parent, "skip-study")
    arguments = ["--run", "skip-study/none-seed1", "--checkpoint", "epoch-0003", "--runs-dir", str(folder.parent)]
    assert evaluate.main([*arguments, "--quiet"]) == 0
    assert Path(last_line(capsys)["evaluation"]).name == "test-epoch-3"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--skip"], "--skip is given"),
        (["--seed", "3"], "--seed is 3"),
        (["--seeds", "1", "1"], "--seeds is 1 1"),
        (["--epochs", "1"], "--epochs is 1"),
        (["--snapshot-epochs", "1"], "--snapshot-epochs is"),
        (["--snapshot-epochs", "3", "2"], "--snapshot-epochs is"),
    ],
)
def test_settings_that_a_study_can_not_take_are_refused(arguments, message):
    with pytest.raises(UserError, match=message):
        parse_train(["--study", *arguments])


def test_a_study_without_anything_to_judge_on_is_refused(tmp_path, capsys):
    for name in ("cat", "dog"):
        (tmp_path / "data" / "train" / name).mkdir(parents=True)
        for number in range(3):
            Image.new("RGB", (32, 32), (80 * number, 9, 9)).save(tmp_path / "data" / "train" / name / f"{number}.png")
    arguments = ["--dataset", str(tmp_path / "data"), "--val-fraction", "0"]
    assert study(tmp_path / "runs", tmp_path / "cache", *arguments) == 2
    assert "--val-fraction is 0 and data has no test split" in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "runs").exists()


def test_a_study_with_a_second_stage_judges_at_the_end_of_each(tmp_path, capsys):
    """By each model's own convolutions: predictions of images, held against the shipped network's."""
    few = ("--limit-train", "20", "--limit-test", "10", "--val-fraction", "0.5", "--study-variants", "identity")
    second = ("--finetune", "1", "--finetune-epochs", "1", "--finetune-lr", "1e-3")
    assert study(tmp_path / "runs", tmp_path / "cache", *few, *second) == 0
    assert last_line(capsys)["snapshot_epochs"] == [3, 4]
    run = tmp_path / "runs" / "skip-study" / "identity-seed1"
    images = load_dataset("shapes").splits["test"].images
    for epoch, layers in ((3, ()), (4, (10,))):
        network, config = load_published(run / "snapshots" / f"epoch-{epoch:04d}")
        assert config.finetuned_layers == layers
        found = read_predictions(run / "evaluation" / f"test-epoch-{epoch}")
        with torch.no_grad():
            logits = network(torch.from_numpy(images[found.index])).numpy()
        np.testing.assert_allclose(found.logits, logits, rtol=1e-2, atol=1e-2)
    assert study(tmp_path / "runs", tmp_path / "cache", *few, *second, "--finetune-epochs", "2") == 2
    assert "--finetune-epochs is 2, but" in capsys.readouterr().err
