"""Datasets: splits, digests, CIFAR's files and archives, and the built-in sample."""

import io
import pickle
import tarfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_skip import data, shapes
from alexnet_skip.errors import UserError


@given(st.integers(2, 6), st.integers(5, 40), st.floats(0.15, 0.85))
def test_train_and_val_are_disjoint_complete_and_stratified(classes, per_class, fraction):
    labels = np.repeat(np.arange(classes), per_class)
    train, val = data.train_val_positions(labels, fraction)
    assert sorted([*train, *val]) == list(range(len(labels)))
    assert set(np.bincount(labels[val])) == {round(per_class * fraction)}


def test_no_fraction_means_no_val():
    train, val = data.train_val_positions(np.array([0, 1, 1]), 0.0)
    assert list(train) == [0, 1, 2]
    assert len(val) == 0


@pytest.mark.parametrize("fraction", [0.01, 0.99])
def test_a_fraction_that_empties_a_class_is_refused(fraction):
    with pytest.raises(UserError, match="leaves class 0 with"):
        data.train_val_positions(np.repeat([0, 1], 10), fraction)


@given(st.integers(1, 60))
def test_a_limit_keeps_classes_balanced(limit):
    labels = np.repeat(np.arange(4), [30, 10, 30, 30])
    positions = data.limit_positions(labels, limit)
    assert len(np.unique(positions)) == limit
    counts = np.bincount(labels[positions], minlength=4)
    assert counts[[0, 2, 3]].max() - counts[[0, 2, 3]].min() <= 1
    assert counts[1] >= min(10, limit // 4)


def test_a_subset_keeps_its_ids_and_has_its_own_digest():
    train = data.load_dataset("shapes").splits["train"]
    part = train.subset(np.array([5, 9]))
    assert list(part.index) == [5, 9]
    np.testing.assert_array_equal(part.images[1], train.images[9])
    assert part.digest == train.subset(np.array([5, 9])).digest
    assert len({train.digest, part.digest, train.subset(np.array([9, 5])).digest}) == 3


def test_shapes_are_balanced_deterministic_and_differ_by_seed():
    images, labels = shapes.render(50, seed=3)
    again, _ = shapes.render(50, seed=3)
    other, _ = shapes.render(50, seed=4)
    assert images.shape == (50, 32, 32, 3)
    assert images.dtype == np.uint8
    assert set(np.bincount(labels)) == {5}
    np.testing.assert_array_equal(images, again)
    assert (images != other).any()


def test_the_built_in_sample_has_the_promised_size():
    dataset = data.load_dataset("shapes")
    assert [len(dataset.splits[s].labels) for s in ("train", "test")] == [5000, 1000]
    assert dataset.class_names == shapes.CLASS_NAMES
    assert dataset.fallback_reason is None


def test_auto_falls_back_and_says_why_but_a_named_dataset_never_does(tmp_path):
    dataset = data.load_dataset("auto", data_dir=tmp_path, download=False)
    assert dataset.name == "shapes"
    assert "cifar-10-batches-py is not there" in dataset.fallback_reason
    with pytest.raises(UserError, match="--data-archive cifar-10-python"):
        data.load_dataset("cifar10", data_dir=tmp_path, download=False)


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10's files with 4 images each, and torchvision's digests replaced by theirs."""
    import hashlib

    from torchvision import datasets

    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "cifar-10-batches-py"
    folder.mkdir(parents=True)
    names = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
    digests = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        content = {"label_names": names}
        if name != "batches.meta":
            content = {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 9]}
        (folder / name).write_bytes(pickle.dumps(content))
        digests[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[n, digests[n]] for n in sorted(digests) if n[:4] == "data"])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", digests["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": digests["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return tmp_path / "data"


def test_cifar_is_read_where_it_is(cifar):
    dataset = data.load_dataset("auto", data_dir=cifar, download=False)
    assert dataset.name == "cifar10"
    assert dataset.class_names[9] == "truck"
    assert dataset.splits["train"].images.shape == (20, 32, 32, 3)
    assert list(dataset.splits["test"].labels) == [0, 1, 2, 9]


def test_a_damaged_cifar_file_is_an_error_for_its_name_and_not_a_fallback(cifar):
    (cifar / "cifar-10-batches-py" / "data_batch_2").write_bytes(b"damaged")
    with pytest.raises(UserError, match="--dataset cifar10"):
        data.load_dataset("cifar10", data_dir=cifar, download=False)


def test_an_archive_with_the_wrong_digest_is_refused_also_under_auto(tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"something else")
    with pytest.raises(UserError, match="has MD5"):
        data.load_dataset("auto", data_dir=tmp_path, data_archive=archive, download=False)


@pytest.mark.parametrize("name", ["../outside", "/absolute", "a/../../b", "C:/x", "..\\outside"])
def test_an_archive_member_that_would_leave_the_folder_is_refused_before_anything_is_written(tmp_path, name):
    archive, target = tmp_path / "a.tar", tmp_path / "target"
    with tarfile.open(archive, "w") as tar:
        for member in ("fine", name):
            info = tarfile.TarInfo(member)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(UserError, match="must not be unpacked"):
        data.extract_safely(archive, target)
    assert not target.exists()


def test_a_link_in_an_archive_is_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("link")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UserError, match="link"):
        data.extract_safely(tmp_path / "a.tar", tmp_path / "target")
