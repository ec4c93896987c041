"""CIFAR's files: where they are looked for, what is verified, and what is refused."""

import errno
import hashlib
import os
import pickle
import socket
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision import datasets

from alexnet_skip.images import cifar
from alexnet_skip.images import dataset as data
from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.loading import load_images
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.locks import GUARD_NAME
from alexnet_skip.upkeep import inventory

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
    content = path.read_bytes()
    source = cifar.Source(path.name, FOLDER, md5(path), hashlib.sha256(content).hexdigest(), len(content))
    monkeypatch.setitem(cifar.SOURCES, "cifar10", source)
    return path


def test_sources_are_those_of_torchvision():
    for name, kind in (("cifar10", datasets.CIFAR10), ("cifar100", datasets.CIFAR100)):
        source = cifar.SOURCES[name]
        assert (source.archive, source.folder, source.md5) == (kind.filename, kind.base_folder, kind.tgz_md5)
        official, *mirrors = cifar.servers(name)
        assert official == kind.url
        assert len(mirrors) == 3
        assert all(url.startswith("https://") and url.endswith(f"/{kind.filename}") for url in mirrors)


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


@pytest.mark.parametrize("nearby", [True, False])
def test_read_only_a_damaged_file_is_left_as_it_is_and_nothing_takes_its_place(archive, files, no_network, nearby):
    """What a dry run tells must not have been done by it."""
    damaged = files / FOLDER / "data_batch_2"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    archive = archive.rename(files / archive.name) if nearby else archive
    before = {path: path.read_bytes() for path in files.rglob("*") if path.is_file()}
    for name in ("auto", "cifar10"):
        with pytest.raises(cifar.NotHereError, match="can't be read"):
            load_dataset(name, data_dir=files, data_archive=None if nearby else archive, read_only=True)
        asked = DataSettings(dataset=name, data_dir=files, data_archive=None if nearby else archive)
        found = inventory.find_images(asked, Console(quiet=True), None)
        assert (found.name, found.dataset) == ("cifar10", None)
        assert found.place.startswith(f"damaged in {files}, {archive} (")
    assert {path: path.read_bytes() for path in files.rglob("*") if path.is_file()} == before


def test_read_only_a_damaged_file_without_its_archive_is_still_to_come(files, no_network):
    (files / FOLDER / "data_batch_2").write_bytes(b"?")
    found = inventory.find_images(DataSettings(dataset="auto", data_dir=files), Console(quiet=True), None)
    assert (found.name, found.dataset) == ("cifar10", None)
    assert "to be downloaded" in found.place


def test_a_named_dataset_that_cannot_be_had_lists_the_ways_out(tmp_path, no_network):
    with pytest.raises(UserError) as caught:
        load_dataset("cifar100", data_dir=tmp_path / "data")
    message = str(caught.value)
    assert message.startswith(f"--dataset cifar100: {tmp_path / 'data' / 'cifar-100-python'} is not there and can't be")
    assert "no network in this test" in message
    for way in (
        "--data-dir",
        "--data-archive",
        "--data-url",
        cifar.servers("cifar100")[0],
        "eb9058c3a382ffc7106e4002c42a8d85",
        "--dataset shapes",
    ):
        assert way in message
    assert {path.name for path in (tmp_path / "data").iterdir()} <= {GUARD_NAME}


def test_auto_falls_back_to_shapes_and_says_why(tmp_path, no_network, monkeypatch):
    monkeypatch.setattr(data, "SHAPES_TRAIN", 10)
    dataset = load_dataset("auto", data_dir=tmp_path)
    assert dataset.name == "shapes"
    assert "is not there and can't be downloaded" in dataset.fallback_reason


@pytest.mark.parametrize("name", ["auto", "cifar10"])
def test_a_full_disk_is_told_and_never_taken_for_images_that_are_not_to_be_had(archive, tmp_path, monkeypatch, name):
    (tmp_path / "data").mkdir()
    archive = archive.rename(tmp_path / "data" / archive.name)

    def fill(source, target):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("alexnet_skip.images.archive.shutil.copyfileobj", fill)
    with pytest.raises(UserError, match=rf"^the archive {archive} can't be unpacked .*No space left"):
        load_dataset(name, data_dir=tmp_path / "data")


@pytest.fixture
def address(archive):
    """The address of a server that has the archive."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(archive.parent))) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture
def silent():
    """The address of a server that takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def test_silent_servers_are_given_up(tmp_path, monkeypatch, silent):
    monkeypatch.setattr(cifar, "OFFICIAL", silent)
    monkeypatch.setattr(cifar, "MIRRORS", (f"{silent}/mirror",))
    monkeypatch.setattr("alexnet_skip.system.download.TIMEOUT_SECONDS", 0.1)
    with pytest.raises(UserError, match=r"can't be downloaded \(.*timed out.*mirror: timed out"):
        load_dataset("cifar10", data_dir=tmp_path)


def test_what_the_official_server_does_not_give_comes_from_a_mirror(archive, address, silent, tmp_path, monkeypatch):
    monkeypatch.setattr(cifar, "OFFICIAL", f"{silent}/{{archive}}")
    monkeypatch.setattr(cifar, "MIRRORS", (address + "/{name}/{archive}", address + "/{archive}"))
    monkeypatch.setattr("alexnet_skip.system.download.TIMEOUT_SECONDS", 0.1)
    dataset = load_dataset("auto", data_dir=tmp_path / "data")
    assert (dataset.name, len(dataset.splits["train"].labels)) == ("cifar10", 20)
    assert (tmp_path / "data" / archive.name).read_bytes() == archive.read_bytes()


def test_a_url_of_ones_own_is_asked_alone_and_nothing_else_is_taken_where_it_fails(archive, address, tmp_path):
    data = DataSettings(data_dir=tmp_path / "data", data_url=f"{address}/{archive.name}")
    assert load_images(data, Console(quiet=True)).name == "cifar10"
    wrong = DataSettings(data_dir=tmp_path / "other", data_url=f"{address}/no.tar.gz")
    with pytest.raises(UserError, match=rf"downloaded \({address}/no.tar.gz: .*404.*\)"):
        load_images(wrong, Console(quiet=True))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"data_url": "ftp://host/a.tar.gz"}, "--data-url is ftp://host/a.tar.gz, but must be the http://"),
        ({"data_url": "http://host/a", "dataset": "shapes"}, "--data-url is given, but must be left out with"),
        ({"data_url": "http://host/a", "data_archive": Path("a")}, "--data-url is given, but must be left out with"),
    ],
)
def test_a_url_that_can_have_no_effect_is_refused(settings, told):
    with pytest.raises(UserError, match=told):
        DataSettings(**settings)


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


@pytest.fixture
def pictures(tmp_path):
    """CIFAR-10 as fast.ai packs it, with one PNG a class and split."""
    path, folder = tmp_path / "cifar10.tgz", tmp_path / "packed" / "cifar10"
    for position, name in enumerate(NAMES):
        for split in ("train", "test"):
            (folder / split / name).mkdir(parents=True)
            Image.fromarray(np.full((32, 32, 3), position, np.uint8)).save(folder / split / name / "1_x.png")
    (folder / "labels.txt").write_text("\n".join(NAMES), encoding="utf-8")
    with tarfile.open(path, "w:gz") as tar:
        tar.add(folder, "cifar10")
    return path


def test_cifar_10_as_pictures_is_read_from_its_archive_and_found_again(pictures, tmp_path, no_network):
    place = tmp_path / "data"
    first = load_dataset("cifar10", data_dir=place, data_archive=pictures)
    pictures.unlink()
    again = load_dataset("auto", data_dir=place)
    for dataset in (first, again, load_dataset(first.source)):
        assert (dataset.name, dataset.class_names) == ("cifar10", tuple(NAMES))
        assert dataset.splits["train"].images[:, 0, 0, 0].tolist() == list(range(10))
        assert dataset.splits["train"].labels.tolist() == dataset.splits["test"].labels.tolist() == list(range(10))
    assert [path.name for path in place.iterdir() if "lock" not in path.name and path.name != GUARD_NAME] == ["cifar10"]


def test_read_only_an_archive_of_pictures_is_not_unpacked(pictures, tmp_path):
    with pytest.raises(cifar.NotHereError, match="not unpacked into"):
        load_dataset("cifar10", data_dir=tmp_path / "data", data_archive=pictures, read_only=True)
    assert not (tmp_path / "data").exists()


def test_half_an_archive_of_pictures_leaves_nothing_that_would_be_taken_for_all(pictures, tmp_path, no_network):
    pictures.write_bytes(pictures.read_bytes()[:-200])
    with pytest.raises(UserError, match=r"cifar10\.tgz can't be unpacked"):
        load_dataset("cifar10", data_dir=tmp_path / "data", data_archive=pictures)
    assert not (tmp_path / "data" / "cifar10").exists()


def test_a_folder_named_like_the_pictures_with_other_classes_is_refused(pictures, tmp_path, no_network):
    load_dataset("cifar10", data_dir=tmp_path, data_archive=pictures)
    for split in ("train", "test"):
        (tmp_path / "cifar10" / split / "truck").rename(tmp_path / "cifar10" / split / "zebra")
    with pytest.raises(UserError, match=r"has the classes .*zebra, but CIFAR-10 has .*truck; give it by its path"):
        load_dataset("cifar10", data_dir=tmp_path)


def test_what_is_in_no_archive_of_pictures_is_refused_by_its_digest_as_ever(tmp_path):
    other = tmp_path / "other.tgz"
    with tarfile.open(other, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("cifar100/train/fish/1.png"))
    with pytest.raises(UserError, match=r"has MD5 .* it is damaged or another file"):
        load_dataset("cifar10", data_dir=tmp_path / "data", data_archive=other)


def test_an_archive_nearby_that_cannot_be_read_is_as_good_as_none_and_no_flag_is_blamed(tmp_path, monkeypatch):
    (tmp_path / "cifar-10-python.tar.gz").write_bytes(b"somebody else's")

    def refuse(path, algorithm):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(cifar, "file_digest", refuse)
    with pytest.raises(UserError, match=r"^--dataset cifar10: .* is not there\n"):
        load_dataset("cifar10", data_dir=tmp_path, read_only=True)
    with pytest.raises(UserError, match=r"--data-archive is .*, which can't be read \(Permission denied\)"):
        load_dataset("cifar10", data_dir=tmp_path, data_archive=tmp_path / "cifar-10-python.tar.gz")
