"""A folder that has not changed is opened without reading it; whatever changes is noticed, or can be."""

import os

import numpy as np
import pytest
from PIL import Image

from alexnet_skip.images import folder as image_folder
from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.folder_record import FOLDER


@pytest.fixture
def reads(monkeypatch):
    """The files that were decoded."""
    read, real = [], image_folder.read_image
    monkeypatch.setattr(image_folder, "read_image", lambda path, size: read.append(path) or real(path, size))
    return read


@pytest.fixture
def headers(monkeypatch):
    """How often headers were looked at."""
    looks, real = [], image_folder.small_side
    monkeypatch.setattr("alexnet_skip.images.image_folder.small_side", lambda paths: looks.append(1) or real(paths))
    return looks


def save(path, value, size=(32, 32)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((*size, 3), value, np.uint8)).save(path)


@pytest.fixture
def pets(tmp_path):
    for place, split in enumerate(("train", "test")):
        for label, name in enumerate(("a", "b")):
            for i in range(3):
                save(tmp_path / "pets" / split / name / f"{i}.bmp", 100 * place + 10 * label + i)
    return tmp_path / "pets"


def digests(folder, cache, **options):
    dataset = load_dataset(str(folder), cache_dir=cache, **options)
    return {name: (split.digest, split.images.shape, split.skipped) for name, split in dataset.splits.items()}


@pytest.mark.parametrize("size", [(32, 32), (40, 30)])
def test_an_unchanged_folder_is_opened_without_reading_it(pets, tmp_path, reads, headers, size):
    save(pets / "train" / "a" / "9.bmp", 9, size)
    (pets / "train" / "a" / "bad.bmp").write_bytes(b"")
    first = digests(pets, tmp_path / "cache", skip_unreadable=True)
    assert first == digests(pets, None, skip_unreadable=True)
    reads.clear()
    headers.clear()
    assert digests(pets, tmp_path / "cache", skip_unreadable=True) == first
    assert not reads
    assert not headers


def test_images_of_a_known_folder_are_decoded_where_they_are_asked_for(pets, tmp_path, reads):
    cache = tmp_path / "cache"
    first = load_dataset(str(pets), cache_dir=cache).splits["train"]
    reads.clear()
    known = load_dataset(str(pets), cache_dir=cache).splits["train"]
    np.testing.assert_array_equal(known.images[np.array([4, 1])], first.images[[4, 1]])
    assert sorted(map(os.path.basename, reads)) == ["1.bmp", "1.bmp"]


def test_a_bad_file_of_a_known_folder_is_refused_without_reading_it(pets, tmp_path, reads):
    (pets / "train" / "a" / "bad.bmp").write_bytes(b"")
    digests(pets, tmp_path / "cache", skip_unreadable=True)
    reads.clear()
    with pytest.raises(Exception, match=r"bad\.bmp can't be read as an image: the file is empty; mend or remove"):
        digests(pets, tmp_path / "cache")
    assert not reads


CHANGES = {
    "another file's content, with its time": lambda folder: save(folder / "train" / "a" / "1.bmp", 77),
    "a new file": lambda folder: save(folder / "train" / "a" / "new.bmp", 5),
    "a file gone": lambda folder: (folder / "train" / "a" / "1.bmp").unlink(),
    "a name": lambda folder: (folder / "train" / "a" / "1.bmp").rename(folder / "train" / "a" / "3.bmp"),
    "a label": lambda folder: (folder / "train" / "a" / "1.bmp").rename(folder / "train" / "b" / "7.bmp"),
    "an image of another size": lambda folder: save(folder / "test" / "a" / "1.bmp", 9, (40, 30)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_whatever_changes_is_noticed(pets, tmp_path, change):
    cache = tmp_path / "cache"
    digests(pets, cache)
    CHANGES[change](pets)
    later = os.stat(pets / "test" / "b" / "0.bmp").st_mtime_ns + 10**9
    for path in (pets / "train" / "a" / "1.bmp", pets / "test" / "a" / "1.bmp"):
        if path.exists():
            os.utime(path, ns=(later, later))
    assert digests(pets, cache) == digests(pets, None)


def test_a_file_changed_with_equal_size_and_time_is_noticed_when_asked_to_verify(pets, tmp_path):
    cache = tmp_path / "cache"
    before = digests(pets, cache)
    path = pets / "train" / "a" / "1.bmp"
    time = path.stat().st_mtime_ns
    save(path, 200)
    os.utime(path, ns=(time, time))
    assert digests(pets, cache) == before
    after = digests(pets, cache, verify_images=True)
    assert after == digests(pets, None) != before
    assert digests(pets, cache) == after


def test_a_file_that_may_be_read_since_is_read_again(pets, tmp_path, reads):
    cache = tmp_path / "cache"
    digests(pets, cache)
    reads.clear()
    (pets / "train" / "a" / "1.bmp").chmod(0o444)
    digests(pets, cache)
    assert len(reads) == 6, "its split, and no other"


def test_the_way_to_a_folder_does_not_matter(pets, tmp_path, monkeypatch, reads):
    cache = tmp_path / "cache"
    first = digests(pets, cache)
    reads.clear()
    for place, name in ((tmp_path, "pets"), (pets, "."), (pets / "train", "..")):
        monkeypatch.chdir(place)
        assert digests(name, cache) == first
        assert load_dataset(name, cache_dir=cache).splits["test"].files[0] == "test/a/0.bmp"
    assert not reads


def test_a_damaged_record_is_not_believed(pets, tmp_path):
    cache = tmp_path / "cache"
    before = digests(pets, cache)
    (record,) = (cache / FOLDER).iterdir()
    text = record.read_text(encoding="utf-8")
    for damage in (text.replace(before["train"][0], "0" * 64), text[:50], ""):
        record.write_text(damage, encoding="utf-8")
        assert digests(pets, cache) == before


@pytest.mark.parametrize("what", ["folder_record.READER_VERSION", "folder_record.PIL.__version__"])
def test_what_another_reader_found_is_not_believed(pets, tmp_path, monkeypatch, reads, what):
    cache = tmp_path / "cache"
    digests(pets, cache)
    monkeypatch.setattr(f"alexnet_skip.images.{what}", "0")
    reads.clear()
    digests(pets, cache)
    assert len(reads) == 12


def test_where_nothing_may_be_written_nothing_is(pets, tmp_path):
    digests(pets, tmp_path / "cache", read_only=True)
    assert not (tmp_path / "cache").exists()


def test_what_is_known_of_files_that_have_changed_is_forgotten(pets, tmp_path):
    cache = tmp_path / "cache"
    digests(pets, cache)
    (record,) = (cache / FOLDER).iterdir()
    size = record.stat().st_size
    for i in range(3, 6):
        save(pets / "train" / "a" / f"{i}.bmp", i)
        digests(pets, cache)
    assert record.stat().st_size == size
