"""Datasets: splits, digests, and the choice of a source."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_skip.images import dataset as data_dataset
from alexnet_skip.images import shapes, splits
from alexnet_skip.images.cifar import NotHereError
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError


@pytest.fixture
def small_shapes(monkeypatch):
    """The built-in sample with 100 images a split."""
    monkeypatch.setattr(data_dataset, "SHAPES_TRAIN", 100)
    monkeypatch.setattr(data_dataset, "SHAPES_TEST", 100)


@given(st.integers(2, 6), st.integers(5, 40), st.floats(0.15, 0.85))
def test_train_and_val_are_disjoint_complete_and_stratified(classes, per_class, fraction):
    labels = np.repeat(np.arange(classes), per_class)
    train, val = splits.train_val_positions(labels, fraction)
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert set(np.bincount(labels[val])) == {round(per_class * fraction)}


def test_no_fraction_means_no_val():
    train, val = splits.train_val_positions(np.array([0, 1, 1]), 0.0)
    assert list(train) == [0, 1, 2]
    assert len(val) == 0


@pytest.mark.parametrize(("fraction", "count"), [(0.01, 0), (0.99, 10)])
def test_a_fraction_that_empties_a_class_is_refused(fraction, count):
    with pytest.raises(UserError) as caught:
        splits.train_val_positions(np.repeat([0, 1], 10), fraction)
    assert str(caught.value) == (
        f"--val-fraction {fraction} leaves class 0 with {count} of 10 images in val; "
        "each class needs at least one on both sides: add images to 0, or train with another --val-fraction (0: on "
        "all)"
    )


@given(st.integers(1, 60))
def test_a_limit_keeps_classes_balanced(limit):
    labels = np.repeat(np.arange(4), [30, 10, 30, 30])
    positions = splits.limit_positions(labels, limit)
    assert len(np.unique(positions)) == limit
    counts = np.bincount(labels[positions], minlength=4)
    assert counts[[0, 2, 3]].max() - counts[[0, 2, 3]].min() <= 1
    assert counts[1] >= min(10, limit // 4)


@given(st.integers(1, 100))
def test_a_proportional_part_has_of_each_class_its_share_rounded_up_or_down(count):
    labels = np.repeat(np.arange(4), [50, 10, 30, 10])
    positions = splits.proportional_positions(labels, count)
    assert len(np.unique(positions)) == count
    shares = np.bincount(labels[positions], minlength=4) - count * np.array([0.5, 0.1, 0.3, 0.1])
    assert np.abs(shares).max() < 1


def test_a_subset_keeps_its_ids_and_has_its_own_digest(small_shapes):
    train = data_dataset.load_dataset("shapes").splits["train"]
    part = train.subset(np.array([5, 9]))
    assert list(part.index) == [5, 9]
    assert list(part.subset(np.array([1])).index) == [9]
    np.testing.assert_array_equal(part.images[1], train.images[9])
    assert part.digest == train.subset(np.array([5, 9])).digest
    assert len({train.digest, part.digest, train.subset(np.array([9, 5])).digest}) == 3
    assert part.files == ()
    named = dataclasses.replace(train, files=tuple(f"{number}.png" for number in range(100)))
    assert named.subset(np.array([5, 9])).subset(np.array([1])).files == ("9.png",)


def test_the_digest_depends_on_pixels_labels_and_class_names():
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (4, 2, 2, 3), dtype=np.uint8), np.array([0, 1, 0, 1])
    digest = data_dataset.make_split(images, labels, ("a", "b")).digest
    assert data_dataset.make_split(np.asfortranarray(images), labels.astype(np.int32), ("a", "b")).digest == digest
    brighter = images.copy()
    brighter[3, 1, 1, 2] ^= 1
    others = {
        data_dataset.make_split(brighter, labels, ("a", "b")).digest,
        data_dataset.make_split(images, labels[::-1], ("a", "b")).digest,
        data_dataset.make_split(images, labels, ("a", "c")).digest,
        data_dataset.make_split(images, labels, ("a,", "b")).digest,
        data_dataset.make_split(images.reshape(4, 1, 4, 3), labels, ("a", "b")).digest,
    }
    assert len(others | {digest}) == 6


def test_the_built_in_sample_has_the_promised_size():
    assert (data_dataset.SHAPES_TRAIN, data_dataset.SHAPES_TEST) == (5000, 1000)


def test_shapes_come_with_both_splits_of_different_images(small_shapes):
    dataset = data_dataset.load_dataset("shapes")
    assert [len(dataset.splits[s].labels) for s in ("train", "test")] == [100, 100]
    assert dataset.class_names == shapes.CLASS_NAMES
    assert dataset.fallback_reason is None
    assert dataset.splits["train"].digest != dataset.splits["test"].digest
    assert data_dataset.load_dataset("shapes").splits["train"].digest == dataset.splits["train"].digest


@pytest.mark.parametrize("name", ["auto", "cifar10"])
def test_what_may_be_had_is_not_replaced_by_anything_where_it_may_not_be_fetched(tmp_path, name):
    with pytest.raises(NotHereError, match=r"cifar-10-batches-py is not there(.|\n)*--data-archive cifar-10-python"):
        data_dataset.load_dataset(name, data_dir=tmp_path, read_only=True)


def test_a_name_that_is_nothing_is_refused(tmp_path):
    with pytest.raises(UserError, match="neither auto, cifar10, cifar100, shapes nor an existing folder"):
        data_dataset.load_dataset(str(tmp_path / "nothing"))


def test_a_run_that_held_nothing_out_has_nothing_to_stand_in_for_test_and_the_split_that_was_asked_for_is_named(capsys):
    train = data_dataset.make_split(np.zeros((4, 2, 2, 3), np.uint8), np.zeros(4, dtype=int), ("a",))
    whole = data_dataset.Dataset("mine", "mine", ("a",), {"train": train})
    with pytest.raises(UserError, match="--split is test, but mine has no such split and the run held nothing out"):
        splits.choose_split("test", whole, 0.0, Console())
    assert capsys.readouterr().err == "", "no split was taken instead"
