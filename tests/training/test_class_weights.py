"""Classes of very different size are told, and weighed where that is asked for."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from sklearn.utils.class_weight import compute_class_weight
from tiny_run import ARGUMENTS, shrink
from torch import nn

import train
from alexnet_skip.images import dataset, shapes
from alexnet_skip.settings.records import read_run_config
from alexnet_skip.settings.train_arguments import parse_train, refuse_changes
from alexnet_skip.study.identity import difference
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.class_weights import balanced_weights, tell_class_sizes
from alexnet_skip.training.optimization import Optimization

NAMES = ("cat", "dog", "ship")


def test_the_weights_are_scikit_learns_and_average_to_one(rng):
    labels = rng.choice(3, 200, p=(0.7, 0.25, 0.05))
    weights = balanced_weights(np.bincount(labels), NAMES)
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(3), y=labels))
    assert weights[labels].mean() == pytest.approx(1)


def test_a_class_without_images_is_refused_by_name():
    with pytest.raises(UserError, match=r"no image of dog to train on; add some, give a larger .* or --train-on"):
        balanced_weights(np.array([4, 0, 3]), NAMES)


@pytest.mark.parametrize(
    ("counts", "weighted", "said"),
    [
        ([60, 60, 13], False, "ship: 13 images to train on, under a third of the average class (44)"),
        ([90, 3, 2], False, "ship and 1 more: 2 images"),
        ([60, 60, 15], False, ""),
        ([60, 0, 15], False, "dog: no image to train on, so nothing can be learnt of it; add some, or give a larger"),
        ([60, 0, 0], False, "dog and 1 more: no image to train on"),
        ([40, 40, 10], True, "0.75 for an image of cat (40) to 3.00 for one of ship (10)"),
    ],
)
def test_a_small_class_is_told_in_one_line(counts, weighted, said, capsys):
    tell_class_sizes(np.array(counts), NAMES, weighted, Console())
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.count("\n") == bool(said)


class Rows:
    """Given values as a feature source."""

    def __init__(self, values: np.ndarray) -> None:
        self.values, self.num_samples = torch.from_numpy(values).float(), len(values)

    def fetch(self, rows):
        return self.values[torch.from_numpy(rows)], None


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, main, tap=None):
        return self.layer(main)


def one_step(values, labels, **more) -> list:
    """Weights after a step on all samples."""
    torch.manual_seed(0)
    model = Linear()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    training = Optimization(
        model, optimizer, scheduler, Rows(values), torch.from_numpy(labels), Accelerator(cpu=True),
        label_smoothing=0.1, **more,
    )  # fmt: skip
    training.begin_epoch((0, 1), 1)
    training.step(np.arange(len(labels)))
    return [*model.layer.weight.flatten().tolist(), training.epoch_figures()["train_loss"]]


def test_weighing_is_as_good_as_repeating_the_images_of_small_classes(rng):
    labels = np.repeat([0, 1, 2], [12, 4, 2])
    values = rng.normal(size=(18, 4))
    repeated = np.repeat(np.arange(18), np.array([1, 3, 6])[labels])
    weighted = one_step(values, labels, class_weights=balanced_weights(np.bincount(labels), NAMES))
    assert weighted == pytest.approx(one_step(values[repeated], labels[repeated]), rel=1e-5, abs=1e-6)
    assert weighted != pytest.approx(one_step(values, labels), rel=1e-2)


def test_older_runs_had_none_and_are_not_gone_on_with_or_studied_with_others():
    old = read_run_config(Path(__file__).parents[1] / "runs" / "made_by_45f7acc" / "run")
    assert old.settings.training.class_weights == "none"
    balanced = parse_train(["--class-weights", "balanced"])
    with pytest.raises(UserError, match="--class-weights is balanced, but was none"):
        refuse_changes(parse_train([]), balanced, Path("run"))
    weighted = dataclasses.replace(old.settings.training, class_weights="balanced")
    now = dataclasses.replace(old, settings=dataclasses.replace(old.settings, training=weighted))
    assert difference(now, old) == ("--class-weights", "balanced", "none")


def test_the_run_is_trained_with_them_and_its_validation_stays_plain(tmp_path, monkeypatch, capsys):
    shrink(monkeypatch.setattr)
    render = shapes.render

    def uneven(count, seed):
        images, labels = render(count, seed)
        kept = np.concatenate([np.flatnonzero(labels > 0), np.flatnonzero(labels == 0)[:3]])
        return images[kept], labels[kept]

    monkeypatch.setattr(dataset, "SHAPES_TRAIN", 103)  # so that two images are few
    monkeypatch.setattr(dataset.shapes, "render", uneven)
    small = [*ARGUMENTS, "--val-fraction", "0.2"]
    small += ["--epochs", "1", "--snapshot-epochs", "1", "--dropout", "0", "0", "0", "--lr", "1e-30"]
    small += ["--runs-dir", str(tmp_path / "runs"), "--cache-dir", str(tmp_path / "cache")]
    told, figures = {}, {}
    for choice in ("none", "balanced"):
        assert train.main([*small, "--class-weights", choice, "--name", choice]) == 0
        told[choice] = capsys.readouterr().err
        figures[choice] = json.loads((tmp_path / "runs" / choice / "metrics.jsonl").read_text())
        assert f"class_weights: {choice}" in (tmp_path / "runs" / choice / "model" / "README.md").read_text("utf-8")
    assert "circle: 2 images to train on, under a third" in told["none"]
    assert "to 3.80 for one of circle (2)" in told["balanced"]
    # Nothing is learnt at that rate: the same network, whose loss is weighed in training only.
    assert figures["balanced"]["val_loss"] == pytest.approx(figures["none"]["val_loss"], rel=1e-6)
    assert figures["balanced"]["train_loss"] != pytest.approx(figures["none"]["train_loss"], rel=1e-5)
