"""What of a folder is read, and that nothing is passed over without being counted."""

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features
from torchvision.datasets import ImageFolder

from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.file import FORMATS, read_image
from alexnet_skip.images.listing import EXTENSIONS, LeftOut, find_images, images_below
from alexnet_skip.images.loading import load_images
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

NAMED = (".jpg", ".jpeg", ".jfif", ".jpe", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".pbm",
         ".pnm", *([".avif"] if features.check("avif") else []))  # fmt: skip


def save(path, format=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 30, 60)).save(path, format)
    return path


def linked(link, target):
    link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(target, target_is_directory=True)
    except OSError:
        pytest.skip("this account may not make links")


@pytest.fixture
def pets(tmp_path):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            for i in range(2):
                save(tmp_path / "pets" / split / name / f"{i}.png")
    return tmp_path / "pets"


def left_out(folder):
    return load_dataset(str(folder)).left_out


@pytest.mark.parametrize("ending", NAMED)
def test_every_format_that_pil_reads_here_is_listed_whatever_the_case_and_read(pets, ending):
    mode = "1" if ending == ".pbm" else "L" if ending == ".pgm" else "RGB"
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), "white").convert(mode).save(buffer, Image.registered_extensions()[ending])
    for name in (f"a{ending}", f"b{ending.upper()}"):
        (pets / "train" / "cat" / name).write_bytes(buffer.getvalue())
    dataset = load_dataset(str(pets))
    assert list(dataset.splits["train"].labels) == [0, 0, 0, 0, 1, 1]
    assert dataset.left_out == ""
    assert (read_image(pets / "train" / "cat" / f"a{ending}", None) >= 250).all()


def test_no_extension_is_listed_that_belongs_to_a_format_that_is_not_read():
    assert {Image.registered_extensions()[ending] for ending in EXTENSIONS} == set(FORMATS)
    assert not {".heic", ".eps", ".pdf", ".psd", ".txt"} & EXTENSIONS


def test_nothing_is_said_where_nothing_is_left_out_and_hidden_files_do_not_count(pets):
    (pets / ".cache").mkdir()
    for hidden in (pets / ".DS_Store", pets / "train" / ".DS_Store", pets / "train" / "cat" / "._0.png"):
        hidden.write_bytes(b"")
    assert left_out(pets) == ""


def test_files_of_other_kinds_are_counted_by_extension_and_the_first_is_named(pets):
    cat = pets / "train" / "cat"
    for i in range(8):
        (cat / f"{i}.{'HEIC' if i % 2 else 'heic'}").write_bytes(b"")
    for name in ("a.txt", "b.txt", "c.txt", "README"):
        (cat / name).write_bytes(b"")
    assert left_out(pets) == (f"left out: 12 files (8 .heic, 3 .txt, 1 without an extension), first: {cat / '0.heic'}")


@pytest.mark.parametrize(
    ("place", "told"),
    [
        ("labels.csv", "1 file (1 .csv)"),
        ("photo.png", "1 file (1 .png)"),
        ("train/loose.png", "1 file (1 .png beside the class folders)"),
        ("test/dog/deep/inner.heif", "1 file (1 .heif)"),
        ("unlabelled/1.png", "1 folder (unlabelled)"),
        ("Train2/cat/1.png", "1 folder (Train2)"),
    ],
)
def test_one_thing_left_out_anywhere_is_named(pets, place, told):
    save(pets / place, "PNG")
    first = pets / (place.split("/")[0] if "folder (" in told else place)
    assert left_out(pets) == f"left out: {told}, first: {first}"
    assert [len(split.labels) for split in load_dataset(str(pets)).splits.values()] == [4, 4]


def test_files_and_folders_are_told_together_and_a_long_list_is_cut_but_counted(pets):
    for i in range(8):
        (pets / f"part{i}").mkdir()
        (pets / "train" / "cat" / f"scan.{i:03}").write_bytes(b"")
    assert left_out(pets) == (
        "left out: 8 files (1 .000, 1 .001, 1 .002, 1 .003, 1 .004, 3 more) and 8 folders (part0, part1, part2, part3, "
        f"part4, 3 more), first: {pets / 'part0'}"
    )


def test_loading_for_a_command_shows_the_line(pets, capsys):
    save(pets / "train" / "loose.png")
    load_images(DataSettings(dataset=str(pets)), Console())
    shown = " ".join(capsys.readouterr().err.split())
    assert "pets, left out: 1 file (1 .png beside the class folders), first: " in shown


def test_a_class_without_an_image_tells_what_is_there_instead(pets):
    for path in (pets / "train" / "cat").iterdir():
        path.rename(path.with_suffix(".heic"))
    with pytest.raises(UserError, match=r"cat holds no image \(.*\); left out: 2 files \(2 \.heic\), first: .*0\.heic"):
        load_dataset(str(pets))


@pytest.mark.parametrize("name", ["val", "valid", "validation"])
def test_a_validation_folder_is_read_as_val_whatever_it_is_called(pets, name):
    (pets / "test").rename(pets / name)
    save(pets / name / "cat" / "more.png")
    dataset = load_dataset(str(pets))
    assert {split: len(content.labels) for split, content in dataset.splits.items()} == {"train": 4, "val": 5}
    assert dataset.left_out == ""
    (pets / name / "cow").mkdir()
    with pytest.raises(UserError, match=f"{name} and .*train differ in the classes cow"):
        load_dataset(str(pets))


@pytest.mark.parametrize(("one", "two"), [("val", "valid"), ("valid", "validation"), ("val", "validation")])
def test_two_names_for_val_at_once_are_refused(pets, one, two):
    (pets / one).mkdir()
    (pets / two).mkdir()
    with pytest.raises(UserError, match=f"holds {one} and {two}, which all mean val; keep one"):
        load_dataset(str(pets))


def test_linked_folders_are_read_as_torchvision_reads_them(pets, tmp_path):
    for i in range(3):
        save(tmp_path / "elsewhere" / "deep" / f"{i}.jpg")
    linked(pets / "train" / "cat" / "more", tmp_path / "elsewhere")
    linked(pets / "train" / "cow", tmp_path / "elsewhere" / "deep")
    (pets / "test" / "cow").mkdir()
    save(pets / "test" / "cow" / "0.png")
    dataset, oracle = load_dataset(str(pets)), ImageFolder(pets / "train")
    assert dataset.class_names == tuple(oracle.classes)
    assert list(np.bincount(dataset.splits["train"].labels)) == list(np.bincount(oracle.targets)) == [5, 3, 2]
    assert dataset.left_out == ""


@pytest.mark.parametrize("target", [".", "..", "../..", "../../.."])
def test_a_link_that_leads_back_to_where_it_is_is_named_and_not_followed(pets, target):
    linked(pets / "train" / "cat" / "loop", target)
    dataset = load_dataset(str(pets))
    assert len(dataset.splits["train"].labels) == 4
    assert dataset.left_out == f"left out: 1 folder (loop), first: {pets / 'train' / 'cat' / 'loop'}"
    out = LeftOut()
    assert len(find_images([pets / "train"], out)) == 4
    assert "1 folder (loop)" in str(out)


@pytest.mark.parametrize("place", ["loop", "train/loop", "train/cat/loop", "test/dog/deep/loop"])
def test_a_link_to_itself_is_counted_and_named_wherever_it_lies(pets, place):
    link = pets / place
    linked(link, link.name)
    beside = " beside the class folders" if place == "train/loop" else ""
    assert left_out(pets) == f"left out: 1 file (1 without an extension{beside}), first: {link}"
    with pytest.raises(UserError, match="loop does not exist"):
        find_images([link], LeftOut())


def test_a_link_to_itself_that_is_called_an_image_is_one_that_can_not_be_read(pets):
    linked(pets / "train" / "cat" / "loop.png", "loop.png")
    with pytest.raises(UserError, match=r"loop\.png"):
        load_dataset(str(pets)).splits["train"]
    assert load_dataset(str(pets), skip_unreadable=True).splits["train"].skipped == ("train/cat/loop.png",)


def test_links_that_lead_to_each_other_come_to_an_end(tmp_path):
    one, two = save(tmp_path / "one" / "1.png").parent, save(tmp_path / "two" / "2.png").parent
    linked(one / "on", two)
    linked(two / "back", one)
    found, out = images_below(one, LeftOut()), LeftOut()
    assert [os.path.basename(path) for path in found] == ["1.png", "2.png"]
    images_below(one, out)
    assert str(out) == f"left out: 1 folder (back), first: {one / 'on' / 'back'}"


def test_what_is_left_out_of_folders_of_ones_own_is_counted_too(tmp_path):
    photos = save(tmp_path / "photos" / "a.jfif").parent
    for name in ("b.heic", "c.txt"):
        (photos / name).write_bytes(b"")
    out = LeftOut()
    assert find_images([photos], out) == [photos / "a.jfif"]
    assert str(out) == f"left out: 2 files (1 .heic, 1 .txt), first: {photos / 'b.heic'}"


@pytest.fixture
def photos(tmp_path, monkeypatch):
    for name in ("a.jpg", "b.JPG", "c.png", "deep/d.jpg", "deep/er/e.jpg", ".hidden/f.jpg", ".g.jpg"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("patterns", "found", "told"),
    [
        (["*.jpg"], ["a.jpg"], ""),
        (["?.png", "*.jpg"], ["c.png", "a.jpg"], ""),
        (["[ab].[jJ]*"], ["a.jpg", "b.JPG"], ""),
        (["*/*.jpg"], ["deep/d.jpg"], ""),
        (["deep/**"], ["deep/d.jpg", "deep/er/e.jpg"], ""),
        (["d*"], ["deep/d.jpg", "deep/er/e.jpg"], ""),
        (["*.jpg", "a.jpg", "a*"], ["a.jpg"], ""),
        (["*.[pt]*"], ["c.png"], "left out: 1 file (1 .txt), first: notes.txt"),
    ],
)
def test_patterns_that_a_shell_has_left_stand_for_what_they_fit(photos, patterns, found, told):
    if os.name == "nt":
        pytest.skip("patterns there fit whatever the case")
    out = LeftOut()
    assert [path.as_posix() for path in find_images(map(Path, patterns), out)] == found
    assert str(out) == told


def test_an_absolute_pattern_is_one_too(photos):
    assert find_images([photos / "*.png"], LeftOut()) == [photos / "c.png"]


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(photos):
    odd = save(photos / "[ab].jpg")
    assert find_images([Path("[ab].jpg")], LeftOut()) == [Path(odd.name)]


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("*.gif", r"--images \*\.gif is neither a file nor a pattern that any fits"),
        ("nowhere/*", r"--images nowhere.\* is neither a file nor a pattern that any fits"),
        ("*.txt", r"--images \*\.txt fits no image; left out: 1 file \(1 \.txt\), first: notes\.txt"),
    ],
)
def test_patterns_that_fit_no_image_are_refused(photos, pattern, message):
    with pytest.raises(UserError, match=message):
        find_images([Path("a.jpg"), Path(pattern)], LeftOut())
