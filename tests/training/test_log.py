"""What a run records, however it ends."""

import dataclasses
import json
from contextlib import contextmanager

import pytest
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from alexnet_skip.plots.curves import learning_curves_figure
from alexnet_skip.settings.dataset_record import DatasetRecord
from alexnet_skip.settings.records import RunConfig
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.system.console import Console
from alexnet_skip.training.log import TAGS, RunLog, run_title
from alexnet_skip.training.state import RunState

FIGURES = {
    "train_loss": 2.0, "train_top1": 0.3, "train_eval_loss": 1.2, "train_eval_top1": 0.6, "val_loss": 1.5,
    "val_top1": 0.4, "val_top3": 0.8, "lr": 0.1, "grad_norm": 3.0, "images_per_second": 9.0,
}  # fmt: skip


@contextmanager
def log_in(folder, history, epochs=9, epochs_before=0):
    """A log in the folder ``mine``, and Accelerate's tracker as a run has it."""
    accelerator = Accelerator(
        cpu=True, log_with="tensorboard", project_config=ProjectConfiguration(str(folder), str(folder))
    )
    (folder / "mine").mkdir()
    with RunLog(
        accelerator, folder / "mine", Console(quiet=True), epochs, 10, RunState(history=history), "pets, no skip: mine",
        epochs_before=epochs_before,
    ) as log:  # fmt: skip
        yield log


def test_an_interrupted_run_leaves_the_learning_curves_of_its_epochs(tmp_path):
    def train_one_epoch_and_stop():
        with log_in(tmp_path, []) as log:
            log.epoch(1, FIGURES)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_one_epoch_and_stop()
    assert (tmp_path / "mine" / "learning_curves.png").stat().st_size > 5000
    assert len((tmp_path / "mine" / "metrics.jsonl").read_text().splitlines()) == 1


def test_every_figure_is_in_the_file_and_a_curve_and_groups_are_in_the_order_of_their_importance(tmp_path):
    epochs = [FIGURES | {"val_top1": value} for value in (0.4, 0.7, 0.6)]
    with log_in(tmp_path, []) as log:
        for epoch, figures in enumerate(epochs, start=1):
            log.epoch(epoch, figures)
    events = EventAccumulator(str(tmp_path / "mine")).Reload()
    tags = events.Tags()["scalars"]
    assert sorted(tags) == sorted(TAGS.values())
    groups = sorted({tag.partition("/")[0] for tag in tags})
    assert groups == ["1 accuracy", "2 loss", "3 optimizer", "4 speed"]
    lines = [json.loads(line) for line in (tmp_path / "mine" / "metrics.jsonl").read_text().splitlines()]
    for name, tag in TAGS.items():
        values = [event.value for event in events.Scalars(tag)]
        # A chart of one dot says nothing, and TensorBoard takes it for an outlier.
        assert [event.step for event in events.Scalars(tag)] == [1, 2, 3]
        shown = [0.4, 0.7, 0.7] if name == "best_val_top1" else [line[name] for line in lines]
        assert values == pytest.approx(shown, rel=1e-6)


def test_a_second_stage_leaves_what_each_convolution_did_in_the_file_in_curves_and_in_a_picture(tmp_path):
    tuned = {"layer8_gradient_main": 0.5, "layer8_gradient_skip": 0.7, "layer8_moved": 0.25}
    history = [FIGURES | {"epoch": 1, "seconds": 1.0}]
    with log_in(tmp_path, history, epochs_before=1) as log:
        log.epoch(2, FIGURES | tuned)
    (line,) = map(json.loads, (tmp_path / "mine" / "metrics.jsonl").read_text().splitlines())
    assert {name: line[name] for name in tuned} == tuned
    events = EventAccumulator(str(tmp_path / "mine")).Reload()
    for name, value in tuned.items():
        tag = f"5 fine-tuning/{name.removeprefix('layer8_').replace('_', ' ')}, layer8"
        assert [(event.step, event.value) for event in events.Scalars(tag)] == [(2, pytest.approx(value))]
    assert (tmp_path / "mine" / "gradients.png").stat().st_size > 5000


def test_a_stage_that_begins_with_another_runs_model_counts_from_its_own_first_epoch(tmp_path, monkeypatch):
    """It has no record of that run's epochs."""
    seen = []
    monkeypatch.setattr(RunLog, "advance", lambda self, images: seen.append(images))
    with log_in(tmp_path, [], epochs=4, epochs_before=3) as log:
        log.go_on(7, 0.0)
        log.epoch(4, FIGURES | {"layer10_gradient_main": 0.5, "layer10_moved": 0.25})
        log.go_on(0, 0.0)
    assert seen == [7, 10]
    assert (tmp_path / "mine" / "gradients.png").stat().st_size > 5000


def test_the_marked_epoch_is_the_one_that_is_published_and_not_the_best_of_those_recorded(tmp_path, monkeypatch):
    """A run that begins with another's model may publish that one's."""
    drawn = []
    monkeypatch.setattr(
        "alexnet_skip.training.log.learning_curves_figure",
        lambda history, best, *rest: drawn.append(best) or learning_curves_figure(history, best, *rest),
    )
    with log_in(tmp_path, [], epochs=4, epochs_before=3) as log:
        log.state.best_epoch, log.state.best_figures = 2, FIGURES | {"val_top1": 0.9}
        log.epoch(4, FIGURES | {"layer10_gradient_main": 0.5, "layer10_moved": 0.25})
    assert drawn == [2]
    (best,) = EventAccumulator(str(tmp_path / "mine")).Reload().Scalars(TAGS["best_val_top1"])
    assert best.value == pytest.approx(0.9)


def test_without_held_out_images_there_are_only_the_curves_of_training(tmp_path):
    figures = {name: value for name, value in FIGURES.items() if not name.startswith(("val", "train_eval"))}
    with log_in(tmp_path, []) as log:
        log.epoch(1, figures)
    (line,) = (tmp_path / "mine" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line)["train_eval_loss"] is None
    tags = EventAccumulator(str(tmp_path / "mine")).Reload().Tags()["scalars"]
    assert not [tag for tag in tags if "val" in tag]


def test_a_run_goes_on_from_the_history_of_a_version_that_measured_less(tmp_path):
    old = {"epoch": 1, "train_loss": 2.0, "train_top1": 0.2, "val_loss": 1.9, "val_top1": 0.8, "seconds": 3.0}
    with log_in(tmp_path, [old]) as log:
        log.epoch(2, FIGURES)
    events = EventAccumulator(str(tmp_path / "mine")).Reload()
    assert [event.value for event in events.Scalars(TAGS["best_val_top1"])] == [pytest.approx(0.8)]


def test_a_title_says_dataset_and_form_of_the_skip():
    config = RunConfig(TrainSettings(skip=True, skip_mode="concat"), DatasetRecord("pets", "", ("cat", "dog"), ""))
    assert run_title(config, "mine") == "pets, skip (concat): mine"
    plain = dataclasses.replace(config, settings=TrainSettings())
    assert run_title(plain, "mine") == "pets, no skip: mine"
