"""The second stage of a run: what moves and what does not, where it begins, and that nothing stops it for good."""

import contextlib
import gc
import json
import math
import os
import re
import shutil
import signal
import sys
import weakref
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from fp16_stand_in import with_fp16
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_run import ARGUMENTS, outcome, shrink, train_in

import evaluate
from alexnet_skip.devices import launch
from alexnet_skip.features.basis import make_head
from alexnet_skip.images import augment, dataset
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.head import Dropout
from alexnet_skip.network.model import AlexNetWithSkip, load_published, publish
from alexnet_skip.network.upper import layers_that_differ
from alexnet_skip.network.weights import load_weights
from alexnet_skip.runs.predictions import published_digest
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.records import read_model_config
from alexnet_skip.settings.train import TrainingSettings, TrainSettings
from alexnet_skip.training import finetuning, session, trainer
from alexnet_skip.training.finetuning import TuningInputs
from alexnet_skip.training.finite_guard import FiniteGuard
from alexnet_skip.training.inputs import HeldOut
from alexnet_skip.training.log import TAGS
from alexnet_skip.training.state import RunState

# Ten images to train on in two steps, ten held out; two epochs behind the three of the head.
TUNED = (
    *ARGUMENTS, "--val-fraction", "0.5", "--batch-size", "8", "--lr", "1e-2",
    "--finetune", "2", "--finetune-epochs", "2", "--finetune-batch-size", "8", "--finetune-lr", "1e-3",
)  # fmt: skip
HEAD = TUNED[: TUNED.index("--finetune")]
LOWEST = "backbone.8.weight"


@pytest.fixture(scope="module", autouse=True)
def small():
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        patch.setattr(dataset, "SHAPES_TRAIN", 20)
        yield


@pytest.fixture(scope="module")
def place(small, tmp_path_factory) -> Path:
    """A folder with the run ``run`` of both stages."""
    folder = tmp_path_factory.mktemp("tuned")
    assert train_in(folder, *TUNED, "--name", "run", "--snapshot-epochs", "3", "4", "--quiet") == 0
    return folder


@pytest.fixture(scope="module")
def head(place) -> Path:
    """The run ``head-conv`` of the first stage alone; read only."""
    assert train_in(place, *HEAD, "--skip-mode", "conv", "--name", "head-conv", "--quiet") == 0
    return place / "runs" / "head-conv"


@pytest.fixture(scope="module")
def still(place) -> tuple[list[weakref.ref], list[weakref.ref]]:
    """The run ``still``, whose second stage learns nothing: what its first stage held, and what of it outlived that."""
    firsts, alive, batches, start = [], [], trainer.Trainer.batches, launch.start

    def in_fp16(*arguments, **options):
        accelerator, precision = start(*arguments, **options)
        return with_fp16(accelerator), precision  # whose wrappers hold networks and optimizers in cycles

    def looking(one, epoch):
        if one.stage.number == 1:
            firsts.extend(weakref.ref(part) for part in (one.optimization.optimizer, one.inputs.source, one.model))
        else:
            alive.extend(part for part in firsts if part() is not None)
        return batches(one, epoch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launch, "start", in_fp16)
        patch.setattr(trainer.Trainer, "batches", looking)
        gc.disable()  # what only Python's own collection would free, which comes when it comes
        try:
            assert train_in(place, *TUNED, "--name", "still", "--finetune-lr", "1e-12", "--quiet") == 0
        finally:
            gc.enable()
    AcceleratorState._reset_state(True)  # which would know of fp16 in the runs behind it
    return firsts, alive


@pytest.fixture
def run(place) -> Path:
    return place / "runs" / "run"


@pytest.fixture(scope="module")
def uninterrupted(place) -> dict:
    return outcome(place / "runs" / "run")


def tensors(model: Path) -> dict[str, torch.Tensor]:
    return {name: value for path in model.glob("*.safetensors") for name, value in load_file(path).items()}


def history(run: Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_only_the_chosen_convolutions_move_and_the_model_says_which(run):
    before, after = tensors(run / "snapshots/epoch-0003"), tensors(run / "last")
    moved = {name for name in before if name.startswith("backbone.") and not torch.equal(before[name], after[name])}
    assert moved == {f"backbone.{layer}.{kind}" for layer in (8, 10) for kind in ("weight", "bias")}
    assert not torch.equal(before["trained.head.fc3.weight"], after["trained.head.fc3.weight"])
    assert not torch.equal(before["trained.skip.projection.weight"], after["trained.skip.projection.weight"])
    told = [read_model_config(run / where).finetuned_layers for where in ("snapshots/epoch-0003", "last")]
    assert told == [(), (8, 10)]


def test_the_epochs_count_on_and_say_what_each_convolution_did(run):
    lines = history(run)
    assert [line["epoch"] for line in lines] == [1, 2, 3, 4, 5]
    named = {name for line in lines[3:] for name in line if name.startswith("layer")}
    gradients = {"layer8_gradient_main", "layer8_gradient_skip", "layer10_gradient_main"}
    assert named == {*gradients, "layer8_moved", "layer10_moved"}
    assert not any(name.startswith("layer") for line in lines[:3] for name in line)
    before, after = tensors(run / "snapshots/epoch-0003"), tensors(run / "last")
    distance = (after[LOWEST] - before[LOWEST]).norm() / before[LOWEST].norm()
    assert lines[-1]["layer8_moved"] == pytest.approx(float(distance), rel=1e-4)


def test_the_second_stage_begins_with_the_function_of_the_first_ones_best_epoch(place, still):
    """Learning nothing, it validates as the best epoch of the first stage did."""
    lines = history(place / "runs" / "still")
    best = max(lines[:3], key=lambda line: (line["val_top1"], -line["val_loss"]))
    for line in lines[3:]:
        assert line["val_loss"] == pytest.approx(best["val_loss"], rel=2e-3)


def test_its_images_are_shifted_while_it_trains(run, place, monkeypatch):
    """Without shifts the same run learns otherwise from its first epoch on, and the first stage as before."""
    monkeypatch.setattr(augment, "LARGEST_SHIFT", 0)
    assert train_in(place, *TUNED, "--name", "unshifted", "--quiet") == 0
    pairs = zip(history(place / "runs" / "unshifted"), history(run), strict=True)
    same = [one["train_loss"] == other["train_loss"] for one, other in pairs]
    assert same == [True, True, True, False, False]


def interrupt(monkeypatch, after: int) -> None:
    """Send this process a real signal after so many steps of the run."""
    steps, look = [0], trainer.Trainer._after_step

    def after_step(one):
        steps[0] += 1
        if steps[0] == after:
            os.kill(os.getpid(), signal.SIGTERM)
        look(one)

    monkeypatch.setattr(trainer.Trainer, "_after_step", after_step)


@pytest.mark.parametrize("after", [5, 6, 7, 9], ids=["first-stage", "its-last-step", "second-stage", "second-epoch"])
def test_a_run_stopped_in_either_stage_goes_on_to_the_same_end(place, uninterrupted, monkeypatch, after):
    name = f"stopped-{after}"
    with monkeypatch.context() as patch:
        interrupt(patch, after)
        assert train_in(place, *TUNED, "--name", name, "--snapshot-epochs", "3", "4") == 143
    assert train_in(place, "--resume", name) == 0
    assert outcome(place / "runs" / name) == uninterrupted


def told_tensors(events: EventAccumulator, step: int) -> list[str]:
    """Names in the table of what is trained from an epoch on."""
    (told,) = (event for event in events.Tensors("4 model/text_summary") if event.step == step)
    return re.findall(r"\| (\S+) \|", told.tensor_proto.string_val[0].decode())


@pytest.mark.parametrize(("form", "rounding"), [("identity", 1e-3), ("conv", 5e-3)])
def test_a_new_run_can_begin_with_the_model_of_a_finished_one(run, head, place, form, rounding):
    """Both stages in one run, or the second in a run of its own: the same model but for the rounding of the fold.

    Of conv's kernel it keeps the product of its two factors, which learn on from others: a little more.
    """
    both, name = ("--skip-mode", form), f"from-{form}"
    if form != "conv":
        assert train_in(place, *TUNED, *both, "--name", form, "--quiet") == 0
        run, head = place / "runs" / form, place / "runs" / f"head-{form}"
        assert train_in(place, *HEAD, *both, "--name", head.name, "--quiet") == 0
    more = TUNED[len(HEAD) :]
    assert train_in(place, "--finetune-from", head.name, *more, "--name", name, "--quiet") == 0
    folder = place / "runs" / name
    assert [line["epoch"] for line in history(folder)] == [4, 5]
    events = EventAccumulator(str(folder), {"tensors": 0}).Reload()
    assert {"upper.layers.8.weight", "trained.head.fc1.weight"} <= set(told_tensors(events, 3))
    before, after = history(head), [event.value for event in events.Scalars(TAGS["best_val_top1"])]
    assert after[0] == pytest.approx(max(line["val_top1"] for line in [*before, history(folder)[0]]))
    for mine, theirs in zip(history(folder), history(run)[3:], strict=True):
        assert mine["train_loss"] == pytest.approx(theirs["train_loss"], rel=rounding)
        assert mine["val_loss"] == pytest.approx(theirs["val_loss"], rel=rounding)
    _, config = load_published(folder / "last")
    assert config.parent_sha256 == read_model_config(head / "model").model_sha256


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--finetune-from", "nowhere", "--finetune", "1"), "nowhere"),
        (("--finetune-from", "run"), "--finetune-from is run"),
        (("--finetune-from", "run", "--finetune", "1", "--pca-basis", "4"), "--pca-basis is 4, but was 8"),
        (("--finetune-from", "run", "--finetune", "1", "--snapshot-epochs", "3", "4"), "--snapshot-epochs is [3], but"),
        (("--recipe", "report", "--finetune", "1"), "left out with --recipe report"),
        (("--finetune", "4"), "0 (off), 1, 2 or 3"),
    ],
)
def test_what_can_not_be_fine_tuned_is_refused(place, capsys, arguments, told):
    assert train_in(place, *arguments, "--name", "refused") == 2
    assert told in capsys.readouterr().err
    assert not (place / "runs" / "refused").exists()


def test_a_stage_begun_with_a_whole_kernel_of_conv_goes_on_after_an_interruption(head, place, monkeypatch):
    """As older versions have trained it: of a higher rank than a fresh head's."""
    parent = Path(shutil.copytree(head, place / "runs" / "whole"))
    network, config = load_published(parent / "model")
    kernel = network.trained.skip.projection.weight
    with torch.no_grad():
        kernel += 0.01 * torch.randn(kernel.shape, generator=torch.Generator().manual_seed(0))
    publish(parent / "model", network.trained, network.backbone, config)
    begun = ("--finetune-from", str(parent), *TUNED[len(HEAD) :])
    assert train_in(place, *begun, "--name", "straight", "--quiet") == 0
    with monkeypatch.context() as patch:
        interrupt(patch, 3)
        assert train_in(place, *begun, "--name", "stopped") == 143
    assert train_in(place, "--resume", "stopped") == 0
    assert outcome(place / "runs" / "stopped") == outcome(place / "runs" / "straight")


def test_a_run_without_a_checkpoint_goes_on_with_the_model_it_was_started_with(head, place, monkeypatch, capsys):
    """Not with what its parent has been trained to since."""
    parent, agreed = Path(shutil.copytree(head, place / "runs" / "changed")), []
    with monkeypatch.context() as patch:
        patch.setattr(session, "require_agreement", lambda _, decides: agreed.append(decides()))
        patch.setattr(trainer.Trainer, "step", lambda *_: sys.exit(9))
        with pytest.raises(SystemExit):
            train_in(place, "--finetune-from", str(parent), *TUNED[len(HEAD) :], "--name", "early")
    # Machines whose parents differ would go on with different heads.
    assert agreed[0]["the model of --finetune-from (SHA-256)"] == published_digest(parent, "best")
    network, config = load_published(parent / "model")
    with torch.no_grad():
        network.trained.head.fc3.bias += 1
    publish(parent / "model", network.trained, network.backbone, config)
    assert train_in(place, "--resume", "early") == 2
    assert "its model is another one than this run was started with" in " ".join(capsys.readouterr().err.split())


def test_nothing_of_the_first_stage_takes_room_in_the_second(still):
    """Its optimizer, and its features where they lie on a card."""
    firsts, alive = still
    assert firsts
    assert not alive


def test_a_loss_that_is_not_finite_names_the_rate_of_its_stage(place, monkeypatch, capsys):
    backward, calls = FiniteGuard.backward, []

    def spoil(guard, loss, factor):
        calls.append(1)
        backward(guard, loss * math.nan if len(calls) == 7 else loss, factor)  # the first step of the second stage

    monkeypatch.setattr(FiniteGuard, "backward", spoil)
    assert train_in(place, *TUNED, "--name", "not-finite") == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "epoch 4, step 1: " in told
    assert "Try a lower learning rate (--finetune-lr)" in told


@pytest.mark.parametrize(("num_images", "lowered"), [(54, True), (50_000, False)])
def test_a_rate_that_is_lowered_for_few_images_is_told(num_images, lowered):
    told = []
    here = SimpleNamespace(positions=range(num_images), console=SimpleNamespace(line=told.append))
    asked = TrainSettings(finetuning=FinetuneSettings(finetune=3, finetune_lr=3e-4))
    second = session.fit_to_images(asked, here).finetuning
    assert (second.finetune_lr < 3e-4) == lowered
    line = f"--finetune-batch-size {second.finetune_batch_size} --finetune-lr {second.finetune_lr:.2g}"
    assert [text.endswith(line) for text in told] == ([False, True] if lowered else [])


@pytest.mark.parametrize(("stage", "processes", "looks"), [(1, 1, True), (1, 2, False), (2, 1, True), (2, 2, True)])
def test_on_a_cpu_signals_are_looked_for_after_each_step_where_agreeing_costs_little(stage, processes, looks):
    looked = []
    one = SimpleNamespace(
        state=SimpleNamespace(progress=SimpleNamespace(steps=3)), stage=SimpleNamespace(number=stage),
        accelerator=SimpleNamespace(num_processes=processes, device=torch.device("cpu")), steps_per_epoch=9,
        _save_if=lambda due: looked.append(due),
    )  # fmt: skip
    trainer.Trainer._after_step(one)
    assert looked == ([False] if looks else [])


def no_model(parent: Path) -> None:
    shutil.rmtree(parent / "model")


def tuned_model(parent: Path) -> None:
    shutil.rmtree(parent / "model")
    shutil.copytree(parent / "last", parent / "model")


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize(
    ("spoil", "told"), [(no_model, "no published model yet"), (tuned_model, "but trained (layers 8, 10)")]
)
def test_a_run_without_a_model_or_with_trained_convolutions_is_no_parent(
    run, place, tmp_path, capsys, spoil, told, more
):
    """And nothing is made, whose name would then be taken."""
    parent = tmp_path / "parent"
    shutil.copytree(run, parent)
    spoil(parent)
    assert train_in(place, "--finetune-from", str(parent), "--finetune", "1", "--name", "grandchild", *more) in (1, 2)
    said = " ".join("".join(capsys.readouterr()).split())
    assert f"--finetune-from {parent}: " in said
    assert told in said
    assert not (place / "runs" / "grandchild").exists()


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_a_parent_of_other_images_is_refused_before_anything_is_made(place, monkeypatch, capsys, more):
    """What is held out here its head may have been trained on: that would be no judgement."""
    monkeypatch.setattr(dataset, "SHAPES_TRAIN", 22)
    assert train_in(place, "--finetune-from", "run", *TUNED[len(HEAD) :], "--name", "refused", *more) in (1, 2)
    told = " ".join("".join(capsys.readouterr()).split())
    assert f"--finetune-from {place / 'runs' / 'run'}: the training images have changed" in told
    assert not (place / "runs" / "refused").exists()


def test_the_best_of_all_epochs_is_published_though_the_second_stage_spoils_it(place):
    """Convolutions of fresh values and hardly a step: the first stage's model stays the best."""
    more = ("--finetune-reinit", "--finetune-lr", "1e-9")
    assert train_in(place, *TUNED, *more, "--name", "spoilt", "--quiet") == 0
    folder = place / "runs" / "spoilt"
    lines = history(folder)
    best = max(lines, key=lambda line: (line["val_top1"], -line["val_loss"]))
    assert json.loads((folder / "summary.json").read_text())["best_epoch"] == best["epoch"]
    if best["epoch"] <= 3:
        assert read_model_config(folder / "model").finetuned_layers == ()
    assert read_model_config(folder / "last").finetuned_layers == (8, 10)
    assert lines[-1]["layer8_moved"] > 0.5


def test_the_last_model_judged_from_its_images_has_the_figures_of_its_validation(run, place, capsys):
    """Through its own convolutions, from its own cache: the judged network is the shipped network."""
    options = ["--run", str(run), "--split", "val", "--checkpoint", "last", "--quiet"]
    assert evaluate.main(options) == 0

    with np.load(run / "evaluation/val-last/predictions.npz") as file:
        logits, labels, index = file["logits"], file["labels"], file["index"]
    figures = history(run)[-1]
    loss = torch.nn.functional.cross_entropy(torch.from_numpy(logits), torch.from_numpy(labels))
    assert float(loss) == pytest.approx(figures["val_loss"], rel=1e-3)
    assert (logits.argmax(1) == labels).mean() == pytest.approx(figures["val_top1"])
    network = AlexNetWithSkip.from_pretrained(run / "last")
    images = dataset.load_dataset("shapes").splits["train"].images[index]
    with torch.no_grad():
        assert np.allclose(network(torch.from_numpy(images)).numpy(), logits, rtol=1e-2, atol=1e-2)
    # The ten held-out images, and not all of the split once more.
    sizes = {json.loads(p.read_text())["key"]["num_samples"] for p in place.glob("cache/*/manifest.json")}
    assert sizes == {20, 10}


def test_training_images_are_measured_as_they_are_and_not_as_the_epoch_has_shifted_them(run):
    """The last model's own logits of the training images: all ten are measured."""
    network, images = AlexNetWithSkip.from_pretrained(run / "last"), dataset.load_dataset("shapes").splits["train"]
    positions, _ = train_val_positions(images.labels, 0.5)
    with torch.no_grad():
        logits = network(torch.from_numpy(images.images[positions]))
    loss = torch.nn.functional.cross_entropy(logits, torch.from_numpy(images.labels[positions]))
    assert history(run)[-1]["train_eval_loss"] == pytest.approx(float(loss), rel=2e-3)


class Plain:
    """A split whose images are each of one value, counted up."""

    def __init__(self, count: int, first: int) -> None:
        self.images = np.repeat(np.arange(first, first + count, dtype=np.uint8), 4 * 4 * 3).reshape(count, 4, 4, 3)


def stand_in(precision: str = "no", *, val: bool = False, **finetuning: Any) -> SimpleNamespace:
    """As much of a first stage's trainer as opening the second one looks at; images are handed on as they are."""
    splits = {"train": Plain(200, 0)} | ({"val": Plain(6, 200)} if val else {})
    training, second = TrainingSettings(epochs=5, seed=3), FinetuneSettings(**{"finetune": 2} | finetuning)
    return SimpleNamespace(
        settings=TrainSettings(training=training, finetuning=second),
        session=SimpleNamespace(
            dataset=SimpleNamespace(splits=splits),
            positions=np.arange(150),
            precision=SimpleNamespace(mixed_precision=precision),
            accelerator=SimpleNamespace(device=torch.device("cpu"), free_memory=lambda: None),
            backbone=SimpleNamespace(lower=lambda x, cut, bf16=False: x.float() + (1000 * cut if bf16 else cut)),
        ),
        inputs=SimpleNamespace(
            labels=torch.arange(200), mode="none", num_classes=10, basis=None, train_sample=np.arange(4),
            held_out=HeldOut("features", np.arange(6) if val else np.arange(150, 156), np.arange(6)),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(("finetune", "cut"), [(1, 10), (2, 8), (3, 6)])
@pytest.mark.parametrize(("precision", "factor"), [("no", 1), ("fp16", 1), ("bf16", 1000)])
def test_the_second_stage_sees_what_the_frozen_layers_make_of_images_in_bf16_where_that_is_safe(
    finetune, cut, precision, factor
):
    inputs = finetuning._open_inputs(stand_in(precision, finetune=finetune), {})
    rows = np.array([7, 200 + 9])
    (judged,) = inputs.source.fetch(rows)
    inputs.begin_epoch(3, 4)
    (trained,) = inputs.source.fetch(rows)
    assert judged[:, 0, 0, 0].tolist() == [7 + cut, 9 + cut]
    assert trained[:, 0, 0, 0].tolist() == [7 + factor * cut, 9 + factor * cut]


@pytest.mark.parametrize("val", [False, True])
def test_held_out_images_come_from_their_own_folder_or_from_the_images_that_are_there_already(val):
    inputs = finetuning._open_inputs(stand_in(val=val), {})
    (seen,) = inputs.held_out.source.fetch(inputs.held_out.positions)
    assert (seen[:, 0, 0, 0] - 8).tolist() == list(range(200, 206) if val else range(150, 156))
    assert inputs.held_out.targets.tolist() == [0, 1, 2, 3, 4, 5]
    assert (inputs.held_out.source is inputs.source) == (not val), "on a card once"


def test_gradients_are_measured_on_some_images_to_train_on_with_their_own_classes_the_same_in_every_run(monkeypatch):
    monkeypatch.setattr(finetuning, "PROBE_IMAGES", 128)
    inputs = finetuning._open_inputs(stand_in(), {})
    x, targets = inputs.probe
    assert (x[:, 0, 0, 0] - 8).tolist() == targets.tolist() == sorted({*targets.tolist()})
    assert len(targets) == 128
    assert {*targets.tolist()} < {*range(150)}, "none that is held out"
    assert torch.equal(finetuning._open_inputs(stand_in(), {}).probe[1], targets)


@pytest.fixture
def second(monkeypatch):
    """Makes the second stage's trainer of a first one, without a network; tells what was done, in this order."""
    done = []
    make = lambda *given: done.append("made") or SimpleNamespace(given=given, stage=given[4], done=done)  # noqa: E731
    monkeypatch.setattr(finetuning, "Trainer", make)
    opened = lambda first, head: SimpleNamespace(head=head, first_state=lambda: {"whole": head})  # noqa: E731
    monkeypatch.setattr(finetuning, "_open_inputs", opened)

    def second_trainer(best, saved=None):
        first = stand_in()
        first.folder, first.config, first.watch, first.checkpointer = "folder", "config", "watch", "checkpointer"
        first.session.accelerator.free_memory = lambda: done.append("freed")
        first.steps_per_epoch, first.model = 7, SimpleNamespace(state_dict=lambda: {"w": "as it was initialised"})
        first.state = RunState(epoch=6, best_epoch=2, best_state=best)
        return finetuning.second_trainer(first, saved)

    return second_trainer


def test_the_second_stage_begins_with_the_best_epoch_or_with_a_checkpoints_head_and_counts_on(second):
    made = second({"w": "best"})
    assert made.stage.inputs.head == {"w": "best"}
    assert (made.stage.number, made.stage.epochs_before, made.stage.steps_before) == (2, 5, 35)
    assert (made.checkpointer, made.given[:2], made.given[5]) == ("checkpointer", ("folder", "config"), "watch")
    assert (made.state.epoch, made.state.best_epoch, made.state.best_state) == (6, 2, {"whole": {"w": "best"}})
    assert made.done == ["freed", "made"], "or Accelerate would hold the first stage's optimizer"
    assert second({}).stage.inputs.head == {"w": "as it was initialised"}, "the checkpoint brings the best epoch's back"
    assert second({"w": "best"}, {"trained.w": "saved", "upper.layers.8.weight": 0}).stage.inputs.head == {"w": "saved"}


@pytest.mark.parametrize(("finetune", "number", "stages"), [(2, 1, [1, 2]), (0, 1, [1]), (2, 2, [2])])
def test_a_run_goes_through_what_is_left_of_its_stages(monkeypatch, finetune, number, stages):
    done = []
    first = stand_in(finetune=finetune)
    first.stage, first.let_go = SimpleNamespace(number=number), lambda: done.append("let go")
    first.console = SimpleNamespace(working=lambda text: contextlib.nullcontext())
    monkeypatch.setattr(finetuning, "second_trainer", lambda first: SimpleNamespace(stage=SimpleNamespace(number=2)))
    assert [one.stage.number for one in finetuning.stages(first)] == stages
    assert done == ["let go"] * (stages == [1, 2])


@pytest.mark.parametrize("reinit", [False, True])
def test_the_network_begins_with_the_first_stages_head_and_with_fresh_convolutions_where_that_is_asked_for(reinit):
    backbone = FrozenAlexNet(load_weights("random").state)
    head = make_head("conv", 10, None).state_dict()
    inputs = TuningInputs(
        None, torch.zeros(1), None, "conv", 10, None, backbone=backbone, seed=3, head=head, probe=(),
        finetuning=FinetuneSettings(finetune=2, finetune_lr=0.1, finetune_layer_decay=0.5, finetune_reinit=reinit),
    )  # fmt: skip
    made = inputs.make_model((0.1, 0.2, 0.3))
    for state, fresh in ((made.state_dict(), reinit), (inputs.first_state(), False)):
        assert layers_that_differ(inputs.published_backbone(state, backbone), backbone) == ((8, 10) if fresh else ())
        kept = finetuning.head_of(state)
        assert kept.keys() == head.keys()
        assert all(torch.equal(kept[name], value) for name, value in head.items())
        published = inputs.published_form(state).state_dict()
        assert all(torch.equal(published[name], value) for name, value in head.items())
    assert [module.p for module in made.modules() if isinstance(module, Dropout)] == [0.1, 0.2, 0.3]
    again = inputs.make_model()
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in made.state_dict().items())
    assert sum(module.p for module in again.modules() if isinstance(module, Dropout)) == 0
    assert [group["lr"] for group in inputs.parameter_groups(made, 0.7)] == [0.7, 0.1, 0.05]
