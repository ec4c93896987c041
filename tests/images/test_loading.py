"""The images that are loaded are those that the settings ask for."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from alexnet_skip.images import loading
from alexnet_skip.images.dataset import Dataset, make_split
from alexnet_skip.images.loading import load_images
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.system.console import Console

CLASSES = ("cat", "dog")
# What settings of downloads may not be given beside.
ASKED = (
    DataSettings(
        dataset="cifar100", data_dir=Path("d"), data_url="https://there/c.tar.gz", skip_unreadable=True,
        verify_images=True, limit_train=6, limit_test=4,
    ),
    DataSettings(dataset="cifar10", data_archive=Path("a.tar.gz")),
    DataSettings(train_on=4),
)  # fmt: skip


@pytest.fixture
def passed_on(monkeypatch) -> dict[str, Any]:
    """What load_dataset is asked for; it gives ten images a split."""
    given: dict[str, Any] = {}

    def load_dataset(dataset: str, **options: Any) -> Dataset:
        given.clear()
        given.update(options, dataset=dataset)
        splits = {
            name: make_split(np.full((10, 4, 4, 3), value, np.uint8), np.arange(10) % 2, CLASSES)
            for value, name in enumerate(("train", "val", "test"))
        }
        return Dataset("some", "there", CLASSES, splits)

    monkeypatch.setattr(loading, "load_dataset", load_dataset)
    return given


@pytest.mark.parametrize("settings", ASKED)
def test_every_setting_of_the_images_is_passed_on_or_limits_its_split(passed_on, settings):
    dataset = load_images(settings, Console(quiet=True), Path("cache"), side=32, read_only=True)
    asked = dataclasses.asdict(settings)
    limits = {"train": asked.pop("limit_train"), "val": None, "test": asked.pop("limit_test")}
    limits["train"] = asked.pop("train_on") or limits["train"]
    others = {"cache_dir": Path("cache"), "side": 32, "read_only": True}
    assert {name: value for name, value in passed_on.items() if name != "console"} == asked | others
    for name, limit in limits.items():
        assert len(dataset.splits[name].labels) == (limit or 10)
        assert np.bincount(dataset.splits[name].labels).tolist() == [(limit or 10) // 2] * 2


def test_every_setting_of_the_images_has_another_value_above():
    default = dataclasses.asdict(DataSettings())
    tried = {name for each in ASKED for name, value in dataclasses.asdict(each).items() if value != default[name]}
    assert tried == set(default)


CHOSEN = [(None, 20, 0.2), (8, 20, 0.2), (100, 20, 0.2), (6, 12, 0.5), (8, 20, 0.0)]


@pytest.mark.parametrize(("train_on", "limit_train", "val_fraction"), CHOSEN)
def test_what_is_held_out_is_the_same_on_however_few_is_trained(monkeypatch, train_on, limit_train, val_fraction):
    pixels = np.arange(20, dtype=np.uint8).repeat(48).reshape(20, 4, 4, 3)
    whole = make_split(pixels, np.arange(20) % 2, CLASSES)
    monkeypatch.setattr(loading, "load_dataset", lambda *_, **__: Dataset("some", "there", CLASSES, {"train": whole}))
    settings = DataSettings(limit_train=limit_train)
    train = load_images(settings, Console(quiet=True)).splits["train"]
    fitted, held_out = train_val_positions(train.labels, val_fraction)
    splits = load_images(
        dataclasses.replace(settings, train_on=train_on), Console(quiet=True), val_fraction=val_fraction
    ).splits
    if train_on is None:
        assert set(splits) == {"train"}
        return
    assert ("val" in splits) == (val_fraction > 0)
    if val_fraction:
        assert splits["val"].index.tolist() == train.index[held_out].tolist()
        assert splits["val"].images[:, 0, 0, 0].tolist() == splits["val"].index.tolist()
    few = splits["train"]
    assert len(few.labels) == min(train_on, len(fitted))
    assert set(few.index) <= set(train.index[fitted])
    assert np.ptp(np.bincount(few.labels)) <= 1
    assert few.images[:, 0, 0, 0].tolist() == few.index.tolist()
    assert len({few.digest, train.digest, *(split.digest for split in splits.values())}) == len(splits) + 1
