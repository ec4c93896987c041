"""CIFAR's files: where they are looked for, what is verified, and what is refused."""

import hashlib
import io
import pickle
import socket
import tarfile
from pathlib import Path

import numpy as np
import pytest
from torchvision import datasets

from alexnet_skip.images import cifar
from alexnet_skip.images import dataset as data
from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.locks import GUARD_NAME

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]
FOLDER = "cifar-10-batches-py"


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture
def no_network(monkeypatch):
    """Any connection fails at once, as on a machine without a network."""

    def refuse(*arguments, **options):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket, "create_connection", refuse)


@pytest.fixture
def files(tmp_path, monkeypatch):
    """CIFAR-10's files with 4 images each; torchvision's and our digests replaced by theirs."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "source" / FOLDER
    folder.mkdir(parents=True)
    digests = {}
    for name in [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch", "batches.meta"]:
        content = {"label_names": NAMES}
        if name != "batches.meta":
            content = {"data": rng.integers(0, 256, (4, 3072), dtype=np.uint8), "labels": [0, 1, 2, 9]}
        (folder / name).write_bytes(pickle.dumps(content))
        digests[name] = md5(folder / name)
    monkeypatch.setattr(datasets.CIFAR10, "train_list", [[n, digests[n]] for n in sorted(digests) if n[:4] == "data"])
    monkeypatch.setattr(datasets.CIFAR10, "test_list", [["test_batch", digests["test_batch"]]])
    meta = {"filename": "batches.meta", "key": "label_names", "md5": digests["batches.meta"]}
    monkeypatch.setattr(datasets.CIFAR10, "meta", meta)
    return folder.parent


@pytest.fixture
def archive(files, tmp_path, monkeypatch):
    """The same as a .tar.gz whose digest is the expected one."""
    path = tmp_path / "cifar-10-python.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        tar.add(files / FOLDER, FOLDER)
    monkeypatch.setitem(cifar.SOURCES, "cifar10", cifar.Source(path.name, FOLDER, md5(path)))
    return path


def test_sources_are_those_of_torchvision():
    for name, kind in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        assert cifar.SOURCES[name] == cifar.Source(kind.filename, kind.base_folder, kind.tgz_md5)
        assert cifar.URL + kind.filename == kind.url


def test_files_are_read_where_they_are_without_network(files, no_network):
    dataset = load_dataset("auto", data_dir=files)
    assert (dataset.name, dataset.fallback_reason) == ("cifar10", None)
    assert dataset.class_names == tuple(NAMES)
    train = dataset.splits["train"]
    oracle = datasets.CIFAR10(str(files), train=True)
    np.testing.assert_array_equal(train.images, oracle.data)
    np.testing.assert_array_equal(train.labels, oracle.targets)
    assert train.images.flags.c_contiguous
    assert list(dataset.splits["test"].labels) == [0, 1, 2, 9]


@pytest.mark.parametrize("named", [True, False])
def test_an_archive_is_unpacked_once_and_gives_the_same_images(archive, files, tmp_path, no_network, named):
    place = tmp_path / "Daten für alle"
    place.mkdir()
    if not named:
        archive = archive.rename(place / archive.name)
    first = load_dataset("cifar10", data_dir=place, data_archive=archive if named else None)
    archive.unlink()
    again = load_dataset("cifar10", data_dir=place)
    assert {d.splits["train"].digest for d in (first, again, load_dataset("cifar10", data_dir=files))} == {
        first.splits["train"].digest
    }
    assert not list(place.glob(".*"))


def test_a_damaged_file_is_restored_from_the_archive(archive, files, no_network):
    damaged = files / FOLDER / "data_batch_2"
    content = damaged.read_bytes()
    damaged.write_bytes(content[:-1] + b"?")
    with pytest.raises(UserError, match=r"cifar-10-batches-py can't be read .*corrupted"):
        load_dataset("cifar10", data_dir=files, read_only=True)
    load_dataset("cifar10", data_dir=files, data_archive=archive)
    assert damaged.read_bytes() == content


def test_a_named_dataset_that_cannot_be_had_lists_the_ways_out(tmp_path, no_network):
    with pytest.raises(UserError) as caught:
        load_dataset("cifar100", data_dir=tmp_path / "data")
    message = str(caught.value)
    assert message.startswith(f"--dataset cifar100: {tmp_path / 'data' / 'cifar-100-python'} is not there and can't be")
    assert "no network in this test" in message
    for way in ("--data-dir", "--data-archive", cifar.URL, "eb9058c3a382ffc7106e4002c42a8d85", "--dataset shapes"):
        assert way in message
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {GUARD_NAME}


def test_auto_falls_back_to_shapes_and_says_why(tmp_path, no_network, monkeypatch):
    monkeypatch.setattr(data, "SHAPES_TRAIN", 10)
    dataset = load_dataset("auto", data_dir=tmp_path)
    assert dataset.name == "shapes"
    assert "is not there and can't be downloaded" in dataset.fallback_reason


def test_a_silent_server_is_given_up(tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setattr(cifar, "URL", f"http://127.0.0.1:{server.getsockname()[1]}/")
        monkeypatch.setattr("alexnet_skip.system.download.TIMEOUT_SECONDS", 0.1)
        with pytest.raises(UserError, match=r"can't be downloaded \(.*timed out"):
            load_dataset("cifar10", data_dir=tmp_path)


def test_an_archive_with_the_wrong_digest_is_refused_also_under_auto(tmp_path):
    archive = tmp_path / "cifar-10-python.tar.gz"
    archive.write_bytes(b"something else")
    with pytest.raises(
        UserError, match=r"has MD5 6c7ba9c5a141421e1c03cb9807c97c74, but cifar-10-python\.tar\.gz has c58f3"
    ):
        load_dataset("auto", data_dir=tmp_path, data_archive=archive, read_only=True)


def test_a_half_downloaded_archive_in_the_folder_is_not_used(tmp_path):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"half of it")
    with pytest.raises(UserError, match="is not there"):
        load_dataset("cifar10", data_dir=tmp_path, read_only=True)


def test_a_missing_archive_is_named(tmp_path):
    with pytest.raises(UserError, match=r"--data-archive is .*nowhere\.tar\.gz, which can't be read \(No such file"):
        load_dataset("cifar10", data_dir=tmp_path, data_archive=tmp_path / "nowhere.tar.gz")


@pytest.mark.parametrize("name", ["../outside", "/absolute", "a/../../b", "C:/x", "..\\outside"])
def test_an_archive_member_that_would_leave_the_folder_is_refused_before_anything_is_written(tmp_path, name):
    path, target = tmp_path / "a.tar", tmp_path / "target"
    with tarfile.open(path, "w") as tar:
        for member in ("fine", name):
            info = tarfile.TarInfo(member)
            info.size = 3
            tar.addfile(info, io.BytesIO(b"abc"))
    with pytest.raises(UserError) as caught:
        cifar.unpack(path, target)
    assert str(caught.value) == f"--data-archive {path} holds {name}, which must not be unpacked; don't use it"
    assert not target.exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_an_archive_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("entry")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(UserError, match="holds entry, which must not be unpacked"):
        cifar.unpack(tmp_path / "a.tar", tmp_path / "target")


def test_a_truncated_archive_is_an_error_and_leaves_nothing_behind(archive, tmp_path):
    archive.write_bytes(archive.read_bytes()[:-3000])
    with pytest.raises(UserError, match="can't be unpacked"):
        cifar.unpack(archive, tmp_path / "target")
    assert not (tmp_path / "target").exists()
