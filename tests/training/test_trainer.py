"""An interrupted run, taken up again, ends as one that was not."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

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
from alexnet_skip.settings.records import ModelConfig
from alexnet_skip.system.locks import folder_lock
from alexnet_skip.training import run
from alexnet_skip.training import trainer as training
from alexnet_skip.training.finite_guard import READ_STEPS
from alexnet_skip.training.inputs import Inputs, choose_train_sample
from alexnet_skip.training.saving import random_state
from alexnet_skip.training.state import EpochProgress, RunState
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


@pytest.mark.parametrize("place", ["publish", "report"])
def test_what_ends_a_short_run_behind_its_last_epoch_loses_nothing(reference, monkeypatch, place):
    """A second Ctrl-C, say, or a kill; no minutes have passed that would have saved it before."""
    owner, name = (Trainer, "publish") if place == "publish" else (run, "report_run")
    whole = getattr(owner, name)

    def leave(*arguments):
        whole(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, leave)
        assert train_in(reference, *ARGUMENTS, "--name", place) == 130
    assert train_in(reference, "--resume", place) == 0
    assert outcome(reference / "runs" / place) == outcome(reference / "runs" / "run")
    assert not (reference / "runs" / place / "checkpoints").exists()


def test_a_signal_that_comes_while_pictures_are_drawn_waits_for_the_runs_end(reference, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(run, "report_run", lambda *_: os.kill(os.getpid(), signal.SIGTERM))
        assert train_in(reference, *ARGUMENTS, "--name", "drawn") == 143
    assert (reference / "runs/drawn/summary.json").is_file()
    assert not (reference / "runs/drawn/checkpoints").exists()


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


def standing(state: RunState, *, processes: int = 1, rank: int = 0, stage: int = 2, seconds=()) -> SimpleNamespace:
    """As much of a Trainer as saving and going on look at: a stage of four steps an epoch behind three epochs."""
    told, saved = [], []
    return SimpleNamespace(
        state=state, folder=Path("runs/one"), steps_per_epoch=4, _parts={}, told=told, saved=saved,
        watch=SimpleNamespace(seconds=dict(seconds)), console=SimpleNamespace(line=told.append),
        inputs=SimpleNamespace(fixed_checksum=7),
        stage=SimpleNamespace(number=stage, epochs_before=3, steps_before=30, last_epoch=9),
        accelerator=SimpleNamespace(
            device=torch.device("cpu"), num_processes=processes, process_index=rank, is_main_process=rank == 0
        ),
        checkpointer=SimpleNamespace(save=lambda *what: saved.append(what)),
        session=SimpleNamespace(positions=range(50)), config="config", model="model",
    )  # fmt: skip


FIGURES = {"val_top1": 0.5, "val_loss": 1.5}


@pytest.mark.parametrize(
    ("progress", "figures", "step", "score"),
    [
        (EpochProgress(steps=0), FIGURES, 30 + 2 * 4, (0.5, -1.5)),
        (EpochProgress(steps=0), {"train_loss": 1.0}, 30 + 2 * 4, None),  # nothing is held out
        (EpochProgress(steps=1), FIGURES, 30 + 2 * 4 + 1, None),  # the figures are of the epoch before
    ],
)
def test_a_checkpoint_is_numbered_over_all_stages_and_judged_where_an_epoch_is_whole(progress, figures, step, score):
    one = standing(RunState(epoch=6, progress=progress, figures=figures))
    Trainer._save(one)
    ((number, whole, judged),) = one.saved
    assert (number, judged, whole["stage"], len(whole["processes"])) == (step, score, 2, 1)


def test_what_processes_tell_each_other_when_they_save_lies_on_no_card():
    totals = SimpleNamespace(cpu=lambda: "on the CPU")
    one = standing(RunState(epoch=6, progress=EpochProgress(steps=1, totals=totals)))
    Trainer._save(one)
    ((_, whole, _),) = one.saved
    assert whole["processes"][0]["totals"] == "on the CPU"


@pytest.mark.parametrize(("steps", "where"), [(3, "epoch 6, after 3 of 4 steps"), (0, "epoch 6")])
def test_seconds_of_before_and_after_an_interruption_add_up_and_it_is_told_where_it_goes_on(steps, where):
    before = RunState(epoch=6, progress=EpochProgress(steps=steps, images=40, seconds=1.5), best_epoch=2)
    stopped = standing(before, seconds={"extract": 4.0, "train": 10.0})
    Trainer._save(stopped)
    ((_, whole, _),) = stopped.saved
    assert stopped.watch.seconds["train"] == 10.0

    one = standing(RunState(), seconds={"extract": 1.0, "basis": 2.0})
    one._take_own = lambda processes: None
    Trainer.restore(one, "step-9", whole)
    assert one.watch.seconds == {"extract": 5.0, "basis": 2.0, "train": 11.5}
    assert one.told == [f"Going on with one from step-9: {where}"]
    assert (one.state.progress.images, one.state.best_epoch) == (40, 2)


def test_as_many_processes_as_before_go_on_with_their_own_numbers_and_others_with_the_sums_of_all():
    drawn, processes = [], []
    for rank in range(2):
        torch.manual_seed(rank)
        processes.append({"random": random_state(torch.device("cpu")), "totals": torch.tensor([rank + 1.0, 5.0])})
        drawn.append(torch.rand(1))
    for rank in (1, 0):
        one = standing(RunState(), processes=2, rank=rank)
        Trainer._take_own(one, processes)
        assert torch.equal(torch.rand(1), drawn[rank])
        assert one.state.progress.totals.tolist() == [rank + 1.0, 5.0]
        assert not one.told

    for rank, sums in ((0, [3.0, 10.0]), (1, [0.0, 0.0])):
        one = standing(RunState(), processes=3, rank=rank)
        Trainer._take_own(one, processes)
        assert one.state.progress.totals.tolist() == sums, "added over the processes in the end"
        assert one.told[0].startswith("It was saved by 2 process(es) and goes on with 3: ")


@pytest.mark.parametrize(
    ("epoch", "history", "rank", "written"),
    [
        (4, 0, 0, ["texts config", "trained 3"]),  # it begins with another run's model
        (4, 3, 0, ["trained 3"]),  # the second stage of a run
        (5, 4, 0, []),  # taken up again
        (4, 0, 1, []),
    ],
)
def test_what_a_run_is_is_written_once_and_an_interrupted_epoch_is_counted_on(
    monkeypatch, epoch, history, rank, written
):
    made = []

    class Log:
        writer = "writer"

        def __init__(self, accelerator, folder, console, last_epoch, images, state, title, *, epochs_before):
            made.append((last_epoch, images, title, epochs_before))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            made.append("closed")

        def go_on(self, images, seconds):
            made.append(("go on", images, seconds))

    told = []
    monkeypatch.setattr(training, "RunLog", Log)
    monkeypatch.setattr(training, "run_title", lambda config, name: f"{config} {name}")
    monkeypatch.setattr(training, "log_texts", lambda writer, config: told.append(f"texts {config}"))
    monkeypatch.setattr(training, "log_trained", lambda writer, model, epoch: told.append(f"trained {epoch}"))
    state = RunState(epoch=epoch, history=[{}] * history, progress=EpochProgress(steps=2, images=17, seconds=2.5))
    with Trainer.recording(standing(state, rank=rank)):
        assert made == [(9, 50, "config one", 3), ("go on", 17, 2.5)]
    assert made[-1] == "closed"
    assert told == written


@pytest.mark.parametrize(("processes", "device"), [(2, "cpu"), (1, "cuda")])
def test_where_looking_costs_time_signals_are_looked_for_every_few_steps_and_never_before_an_epoch_is_validated(
    processes, device
):
    looked = []
    one = standing(RunState(), processes=processes, stage=1)
    one.accelerator.device, one.steps_per_epoch = torch.device(device), 3 * READ_STEPS
    for steps in range(1, one.steps_per_epoch + 1):
        one.state.progress.steps = steps
        one._save_if = lambda due, steps=steps: looked.append((steps, due))
        Trainer._after_step(one)
    assert looked == [(READ_STEPS, False), (2 * READ_STEPS, False)]


@pytest.mark.parametrize(("save", "number"), [(False, 0), (True, 0), (True, 15)])
def test_it_saves_where_it_is_time_to_and_stops_where_it_was_asked_to(save, number):
    one, stopped = standing(RunState(epoch=2, progress=EpochProgress(steps=3))), []
    one._save = lambda: "its place"
    one.checkpointer = SimpleNamespace(look=lambda due: (save, number), stop=lambda *what: stopped.append(what))
    Trainer._save_if(one, due=False)
    assert stopped == ([(15, "epoch 2, step 3 of 4", "its place")] if number else [])


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("where", ["model", "last"])
def test_the_main_process_publishes_each_model_as_what_it_is_and_tells_of_the_best_ones_probabilities(
    monkeypatch, rank, where
):
    """Every process takes its share in predicting what the temperature is fitted on."""
    one, done = standing(RunState(), rank=rank), []
    one.held_out = SimpleNamespace(calibration=lambda epoch, weights: done.append((epoch, weights)) or {"metrics": 2.5})
    trained = SimpleNamespace(skip=SimpleNamespace(mode="concat"))
    one.inputs = SimpleNamespace(
        published_form=lambda weights: trained, published_backbone=lambda weights, frozen: f"{weights} {frozen}"
    )
    one.session.backbone = "frozen"
    about = ModelConfig("concat", ("cat", "dog"))
    monkeypatch.setattr(training, "layers_that_differ", lambda *backbones: backbones)
    described = lambda *of, finetuned_layers: done.append((*of, finetuned_layers)) or about  # noqa: E731
    monkeypatch.setattr(training.ModelConfig, "of_run", described)
    monkeypatch.setattr(training, "publish", lambda *what: done.append(what))
    monkeypatch.setattr(training, "share_files", lambda *what: done.append(what))
    Trainer._publish(one, one.folder / where, 4, "weights", {"val_top1": 1.0})
    written = [
        ("config", "concat", 4, {"val_top1": 1.0}, ("weights frozen", "frozen")),
        (one.folder / where, trained, "weights frozen", replace(about, metrics=2.5)),
        (one.folder / where, one.folder),
    ]
    assert done == [(4, "weights"), *(written if rank == 0 else [])]
    told = rank == 0 and where == "model"
    assert one.told == [f"Probabilities of the best epoch's model: {about.calibration}"] * told
