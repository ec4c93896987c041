"""Which images an embedding shows, and which its axes are fitted on."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from alexnet_skip.embedding import samples
from alexnet_skip.embedding.samples import choose_fit, choose_points
from alexnet_skip.images.dataset import Dataset, make_split
from alexnet_skip.images.splits import Selection
from alexnet_skip.settings.embed import EmbedSettings
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

CLASSES = ("cat", "dog")
TRAIN = make_split(np.zeros((40, 2, 2, 3), np.uint8), np.arange(40) % 2, CLASSES)
# Every third is held out.
VAL = Selection("val", "train", TRAIN, np.arange(0, 40, 3))
TRAINED_ON = Selection("train", "train", TRAIN, np.setdiff1d(np.arange(40), VAL.positions))
DATASET = Dataset("pets", "there", CLASSES, {"train": TRAIN})


def job(**settings: Any) -> Any:
    return SimpleNamespace(settings=EmbedSettings(**settings), console=Console(quiet=True))


def balanced(positions: np.ndarray) -> bool:
    counts = np.bincount(TRAIN.labels[positions], minlength=2)
    return len(np.unique(positions)) == len(positions) and abs(counts[0] - counts[1]) <= 1


@pytest.mark.parametrize(("max_points", "count"), [(None, 14), (14, 14), (99, 14), (6, 6), (3, 3)])
def test_as_many_samples_are_shown_as_are_asked_for_of_those_that_there_are(max_points, count):
    points = choose_points(DATASET, VAL, job(max_points=max_points))
    assert len(points.positions) == count
    assert np.isin(points.positions, VAL.positions).all()
    assert balanced(points.positions)
    assert (points.labels == TRAIN.labels[points.positions]).all()


def test_two_samples_are_too_few():
    with pytest.raises(UserError, match=r"--split val has 2 image\(s\); an embedding needs at least 3"):
        choose_points(DATASET, Selection("val", "train", TRAIN, np.array([3, 6])), job())


@pytest.mark.parametrize(
    ("fit", "rows", "of", "words"),
    [
        ("train", 99, TRAINED_ON.positions, "26 train images"), ("train", 8, TRAINED_ON.positions, "8 of 26 train"),
        ("split", 99, VAL.positions[:6], "6 val images"), ("split", 4, VAL.positions[:6], "4 of 6 val images"),
    ],
)  # fmt: skip
def test_axes_are_fitted_on_so_many_training_images_or_those_that_are_shown(monkeypatch, fit, rows, of, words):
    monkeypatch.setattr(samples, "FIT_ROWS", rows)
    run = SimpleNamespace(select=lambda split, dataset, console, is_training_dataset: {"train": TRAINED_ON}[split])
    points = samples.Points(DATASET, VAL, VAL.positions[:6])
    chosen = choose_fit(run, points, job(fit=fit))
    assert chosen.source_split == "train"
    assert len(chosen.positions) == min(rows, len(of))
    assert np.isin(chosen.positions, of).all()
    assert balanced(chosen.positions)
    assert chosen.words.startswith(words)
