"""An interrupted run, taken up again, ends as one that was not."""

import json
import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import log_loss
from tiny_run import (
    ARGUMENTS,
    BATCH_SIZE,
    LR,
    STEPS_PER_EPOCH,
    TRAIN_IMAGES,
    VAL_FRACTION,
    copy_whole,
    outcome,
    shrink,
    train_in,
)

from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network import model
from alexnet_skip.system.locks import folder_lock
from alexnet_skip.training.inputs import Inputs, choose_train_sample
from alexnet_skip.training.trainer import Trainer


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)


# A closed terminal; Windows has another signal for it.
HANGUP = getattr(signal, "SIGHUP", getattr(signal, "SIGBREAK", None))


@pytest.fixture(scope="module")
def reference(whole_run, tmp_path_factory) -> Path:
    """A folder with a warm cache and the run ``run`` that nothing interrupted."""
    return copy_whole(whole_run, tmp_path_factory.mktemp("reference"), checkpoints=False)


def interrupt(monkeypatch, number: int, after: int, times: int = 1) -> None:
    """Send this process a real signal after so many steps."""
    steps, look = [0], Trainer._after_step

    def after_step(trainer):
        steps[0] += 1
        if after <= steps[0] < after + times:
            os.kill(os.getpid(), number)
        look(trainer)

    monkeypatch.setattr(Trainer, "_after_step", after_step)


@pytest.mark.parametrize(
    ("number", "after"),
    [(signal.SIGTERM, 2), (signal.SIGINT, STEPS_PER_EPOCH), (HANGUP, 10), (signal.SIGINT, 3 * STEPS_PER_EPOCH)],
    ids=["in-the-first-epoch", "at-an-epochs-last-step", "in-the-middle", "at-the-very-end"],
)
def test_a_signal_saves_the_step_and_the_run_goes_on_to_the_same_end(reference, monkeypatch, capsys, number, after):
    name = f"stopped-{after}"
    with monkeypatch.context() as patch:
        interrupt(patch, number, after)
        assert train_in(reference, *ARGUMENTS, "--name", name) == 128 + number
    folder = reference / "runs" / name
    told = capsys.readouterr().err
    assert f"  accelerate launch --quiet train.py --resume {folder}" in told.splitlines()
    assert [p.name for p in (folder / "checkpoints").iterdir()] == [f"step-{after:08d}"]
    assert not (folder / "model").exists()

    assert train_in(reference, "--resume", name) == 0
    assert outcome(folder) == outcome(reference / "runs" / "run")
    assert not (folder / "checkpoints").exists()
    config = json.loads((folder / "config.json").read_text())
    assert len(config["resumed"]) == 1


def test_a_run_may_be_interrupted_again_and_again(reference, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt(patch, signal.SIGTERM, 4)
        assert train_in(reference, *ARGUMENTS, "--name", "often") == 143
        for _ in range(3):
            interrupt(patch, signal.SIGTERM, 4)
            assert train_in(reference, "--resume") == 143  # the newest unfinished one
    assert train_in(reference, "--resume") == 0
    assert outcome(reference / "runs" / "often") == outcome(reference / "runs" / "run")
    assert train_in(reference, "--resume") == 2
    assert "holds no unfinished run" in capsys.readouterr().err


def test_a_second_ctrl_c_leaves_at_once_and_the_run_can_still_be_taken_up(reference, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr("alexnet_skip.system.interruption.SAME_KEYPRESS_SECONDS", 0.0)

        reached = []

        def save(store, step, state, score=None):
            reached.append("begin")
            os.kill(os.getpid(), signal.SIGINT)
            reached.append("end")

        interrupt(patch, signal.SIGINT, 9)
        patch.setattr("alexnet_skip.runs.checkpoints.CheckpointStore.save", save)
        assert train_in(reference, *ARGUMENTS, "--name", "at-once") == 130
        assert reached == ["begin"]
    assert train_in(reference, "--resume", "at-once") == 0
    assert outcome(reference / "runs" / "at-once") == outcome(reference / "runs" / "run")


def test_ctrl_c_passed_on_by_a_launcher_is_one_ctrl_c(reference, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, signal.SIGINT, 3)
        kill = os.kill
        patch.setattr(os, "kill", lambda *a: [kill(*a), kill(*a)])
        assert train_in(reference, *ARGUMENTS, "--name", "twice") == 130
    assert (reference / "runs/twice/checkpoints/step-00000003/complete.json").is_file()


def test_a_run_that_was_stopped_before_its_first_checkpoint_begins_again_in_its_folder(reference, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", lambda *a, **k: os.kill(os.getpid(), signal.SIGKILL))
        patch.setattr(os, "kill", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        assert train_in(reference, *ARGUMENTS, "--name", "early") == 130
    assert train_in(reference, "--resume", "early") == 0
    assert "has no complete checkpoint" in capsys.readouterr().err
    assert outcome(reference / "runs" / "early") == outcome(reference / "runs" / "run")


def test_more_epochs_train_a_finished_run_further(reference, capsys):
    assert train_in(reference, *ARGUMENTS, "--name", "further", "--checkpoint-epochs", "1") == 0
    folder = reference / "runs" / "further"
    kept = {p.name for p in (folder / "checkpoints").iterdir()}
    best = json.loads(capsys.readouterr().out.splitlines()[-1])["best_epoch"]
    assert kept == {f"step-{STEPS_PER_EPOCH * epoch:08d}" for epoch in (best, 2, 3)}
    assert train_in(reference, "--resume", "further", "--epochs", "5") == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["epochs"] == 5
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    assert model.load_published(folder / "last")[1].epoch == 5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--lr", "0.5"], f"--lr is 0.5, but was {LR}"),
        (["--epochs", "2"], "--epochs is 2, but was 3"),
        (["--no-skip"], "--skip is False, but was True"),
        (["--batch-size", "8", "--seed", "3"], f"--batch-size is 8, but was {BATCH_SIZE}; --seed is 3, but was 0"),
        (["--dropout", "0", "0", "0"], "--dropout is [0.0, 0.0, 0.0], but was [0.2, 0.4, 0.3]"),
        (["--weights", "imagenet"], "--weights is imagenet, but was random"),
    ],
)
def test_changed_settings_are_refused_by_name(reference, capsys, arguments, message):
    assert train_in(reference, "--resume", "run", *arguments) == 2
    assert message in capsys.readouterr().err


def test_a_run_that_another_process_goes_on_with_is_refused_and_left_as_it_is(reference, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt(patch, signal.SIGTERM, 4)
        assert train_in(reference, *ARGUMENTS, "--name", "wanted-by-two") == 143
    folder = reference / "runs" / "wanted-by-two"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with folder_lock(folder, print):
        assert train_in(reference, "--resume", "wanted-by-two") == 2
        assert f"{folder} is in use by process {os.getpid()}" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_run_that_is_not_there_is_refused(reference, capsys):
    assert train_in(reference, "--resume", "nowhere") == 2
    assert "--resume is nowhere, but neither" in capsys.readouterr().err


def test_changed_images_are_refused(reference, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt(patch, signal.SIGTERM, 2)
        assert train_in(reference, *ARGUMENTS, "--name", "other-images") == 143
    monkeypatch.setattr("alexnet_skip.images.dataset.SHAPES_TRAIN", TRAIN_IMAGES - 3)
    assert train_in(reference, "--resume", "other-images") == 2
    assert "the training images have changed since it was started" in capsys.readouterr().err


def test_another_basis_is_refused(reference, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        interrupt(patch, signal.SIGTERM, 2)
        assert train_in(reference, *ARGUMENTS, "--name", "other-basis") == 143
    monkeypatch.setattr(Inputs, "fixed_checksum", 1)
    assert train_in(reference, "--resume", "other-basis") == 2
    assert "the PCA basis is not the one that step-00000002 was trained in" in capsys.readouterr().err


def test_what_is_recorded_of_training_images_is_what_the_published_model_says_of_them(reference):
    split = load_dataset("shapes").splits["train"]
    positions, held_out = train_val_positions(split.labels, VAL_FRACTION)
    sample = choose_train_sample(split.labels, positions, len(held_out))
    run = reference / "runs" / "run"
    published, _ = model.load_published(run / "last")
    with torch.no_grad():
        logits = published(torch.from_numpy(split.images[sample])).double()
    last = json.loads((run / "metrics.jsonl").read_text().splitlines()[-1])
    assert last["train_eval_top1"] == np.mean(logits.argmax(1).numpy() == split.labels[sample])
    expected = log_loss(split.labels[sample], logits.softmax(1).numpy(), labels=range(10))
    assert last["train_eval_loss"] == pytest.approx(expected, rel=1e-3)
