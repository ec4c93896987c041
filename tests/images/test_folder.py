"""Folders of images: what is read, how, and what is refused by name."""

import io
import os
import shutil
import sys
from pathlib import Path
from unicodedata import normalize

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from alexnet_skip.images import file
from alexnet_skip.images import folder as image_folder
from alexnet_skip.images import image_folder as opening
from alexnet_skip.images.dataset import load_dataset as list_dataset
from alexnet_skip.images.folder_layout import dataset_name
from alexnet_skip.images.listing import LeftOut
from alexnet_skip.images.split import read_rows
from alexnet_skip.system.errors import UserError

ADVICE = "; mend or remove it, or train with --skip-unreadable, which leaves such files out"


def load_dataset(name, **options):
    """A dataset whose splits have been opened, as a command does that needs them all."""
    dataset = list_dataset(name, **options)
    assert all(dataset.splits.values())
    return dataset


def save(path, size=(32, 32), mode="RGB", **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(str(path))).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(values).convert(mode).save(path, **options)
    return values


@pytest.fixture
def folder(tmp_path):
    for split in ("train", "test"):
        for name in ("b", "a"):
            for i in range(3):
                save(tmp_path / "pets" / split / name / f"{i}.png")
    return tmp_path / "pets"


def test_small_square_images_stay_as_they_are_in_sorted_order(folder):
    values = save(folder / "train" / "a" / "0.png")
    dataset = load_dataset(str(folder))
    train = dataset.splits["train"]
    assert (dataset.name, dataset.class_names) == ("pets", ("a", "b"))
    assert train.images.shape == (6, 32, 32, 3)
    assert list(train.labels) == [0, 0, 0, 1, 1, 1]
    assert list(train.index) == list(range(6))
    assert train.files == tuple(f"train/{name}/{number}.png" for name in "ab" for number in range(3))
    np.testing.assert_array_equal(train.images[0], values)
    assert load_dataset(str(folder)).splits["train"].digest == train.digest


def test_order_goes_by_name_whatever_the_case_and_hidden_and_other_files_are_left_alone(tmp_path):
    for name in ("b/2.PNG", "b/10.png", "b/inner/0.Jpg", "B/x.tiff", ".hidden/x.png", "b/._x.png", "b/.git/x.png"):
        save(tmp_path / name)
    (tmp_path / "b" / "notes.txt").write_text("not an image")
    listing = image_folder.list_images(tmp_path, LeftOut())
    assert list(listing) == ["B", "b"]
    names = [Path(path).relative_to(tmp_path).as_posix() for path in listing["b"]]
    assert names == ["b/10.png", "b/2.PNG", "b/inner/0.Jpg"]


def test_images_of_several_sizes_become_224(folder):
    values = save(folder / "train" / "a" / "wide.png", (300, 200))
    save(folder / "train" / "b" / "dot.png", (1, 1))
    splits = load_dataset(str(folder)).splits
    assert splits["test"].images.shape[1:] == (224, 224, 3)
    expected = Image.fromarray(values).resize((224, 224), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(splits["train"].images[3], np.asarray(expected))
    dot = splits["train"].images[7]
    assert (dot == dot[0, 0]).all()


def test_one_image_of_another_size_is_noticed_wherever_it_is(folder):
    save(folder / "test" / "b" / "1.png", (31, 32))
    for i in range(3, 60):
        shutil.copy(folder / "train" / "a" / "0.png", folder / "train" / "a" / f"{i}.png")
    assert load_dataset(str(folder)).splits["train"].images.shape == (63, 224, 224, 3)


@pytest.mark.parametrize("side", [16, 40])
def test_a_folder_is_read_at_the_side_of_the_run_that_asks_whatever_its_own_is(folder, tmp_path, side):
    own = load_dataset(str(folder), cache_dir=tmp_path / "cache").splits["train"]
    split = load_dataset(str(folder), cache_dir=tmp_path / "cache", side=side).splits["train"]
    assert split.digest != own.digest
    resized = [file.read_image(folder / name, side) for name in split.files]
    np.testing.assert_array_equal(split.images[:], resized)
    # Where it is its own, nothing is another.
    assert load_dataset(str(folder), side=own.image_size[0]).splits["train"].digest == own.digest


def test_a_val_folder_is_a_split_of_its_own(folder):
    shutil.copytree(folder / "test", folder / "val")
    splits = load_dataset(str(folder)).splits
    assert set(splits) == {"train", "test", "val"}
    assert splits["val"].digest == splits["test"].digest


@pytest.mark.parametrize(
    ("name", "mode"),
    [("x.png", "L"), ("x.png", "RGBA"), ("x.png", "P"), ("x.jpg", "CMYK"), ("x.png", "1"), ("x.png", "LA"),
     ("x.jpg", "YCbCr"), ("x.tif", "F"), ("x.bmp", "RGB"), ("x.webp", "RGB"), ("x.ppm", "RGB")],
)  # fmt: skip
def test_every_mode_and_format_becomes_rgb(tmp_path, name, mode):
    values = save(tmp_path / name, mode=mode)
    found = file.read_image(tmp_path / name, None)
    assert (found.shape, found.dtype) == ((32, 32, 3), np.uint8)
    # The picture is still there: its grey values go with those that were saved.
    if mode not in ("1", "P"):
        assert np.corrcoef(found.mean(axis=2).ravel(), values.mean(axis=2).ravel())[0, 1] > 0.8


@pytest.mark.parametrize("top", [200, 65535])
@pytest.mark.parametrize("name", ["deep.png", "deep.tif"])
def test_16_bit_grey_is_scaled_not_clipped_however_dark(tmp_path, name, top):
    ramp = np.linspace(0, top, 32 * 32).astype(np.uint16).reshape(32, 32)
    Image.fromarray(ramp).save(tmp_path / name)
    values = file.read_image(tmp_path / name, None)
    np.testing.assert_allclose(values[..., 0], ramp / 257, atol=1)


def test_32_bit_integers_are_scaled_too(tmp_path):
    ramp = np.linspace(0, 2**31 - 1, 32 * 32).astype(np.int32).reshape(32, 32)
    Image.fromarray(ramp).save(tmp_path / "x.tif")
    np.testing.assert_allclose(file.read_image(tmp_path / "x.tif", None)[..., 0], ramp / (2**31 - 1) * 255, atol=1)


@pytest.mark.parametrize(("scale", "top"), [(1, 1.0), (255, 255.0), (300, 255.0)])
def test_floating_point_is_taken_as_0_to_1_or_0_to_255(tmp_path, scale, top):
    ramp = np.linspace(0, 1, 32 * 32, dtype=np.float32).reshape(32, 32)
    Image.fromarray(ramp * np.float32(scale)).save(tmp_path / "x.tif")
    expected = (ramp * scale).clip(0, top) / top * 255
    np.testing.assert_allclose(file.read_image(tmp_path / "x.tif", None)[..., 0], expected, atol=1)


def test_transparency_is_laid_on_white(tmp_path):
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    Image.new("P", (4, 4), 0).save(tmp_path / "palette.gif", transparency=0)
    for name in ("clear.png", "palette.gif"):
        assert (file.read_image(tmp_path / name, None) == 255).all()


def test_an_animation_gives_its_first_frame(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "x.gif", save_all=True, append_images=frames[1:])
    assert file.read_image(tmp_path / "x.gif", None)[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"not an image", "its content is none of JPEG, PNG, BMP, GIF, WEBP, TIFF, PPM"),
        # PIL would run Ghostscript on it.
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "its content is none of JPEG, PNG, BMP, GIF, WEBP, "),
    ],
)
def test_an_unreadable_file_is_named_or_left_out_on_request(folder, content, reason):
    bad = folder / "train" / "a" / "bad.png"
    bad.write_bytes(content)
    with pytest.raises(UserError) as caught:
        load_dataset(str(folder))
    assert str(caught.value).startswith(f"{bad} can't be read as an image: {reason}")
    assert str(caught.value).endswith(ADVICE)
    dataset = load_dataset(str(folder), skip_unreadable=True)
    assert dataset.splits["train"].skipped == ("train/a/bad.png",)
    assert "train/a/bad.png" not in dataset.splits["train"].files
    assert len(dataset.splits["train"].files) == 6
    assert list(dataset.splits["train"].labels) == [0, 0, 0, 1, 1, 1]
    bad.unlink()
    assert load_dataset(str(folder)).splits["train"].digest == dataset.splits["train"].digest


def test_a_truncated_image_is_named(folder):
    path = folder / "train" / "a" / "cut.jpg"
    save(path)
    path.write_bytes(path.read_bytes()[:800])
    with pytest.raises(UserError, match=r"cut\.jpg can't be read as an image: image file is truncated"):
        load_dataset(str(folder))


@pytest.mark.parametrize(("limit", "said"), [(700, 700), (300, 600)])
def test_a_huge_image_is_refused_by_its_header(folder, monkeypatch, limit, said):
    # 1024 pixels are above the limit of PIL's warning, or above twice that: its error.
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(
        UserError, match=rf"0\.png can't be read as an image: Image size \(1024 pixels\) exceeds limit of {said}"
    ):
        load_dataset(str(folder))


def image_bytes(format: str) -> bytes:
    buffer = io.BytesIO()
    values = np.random.default_rng(0).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(values).save(buffer, format)
    return buffer.getvalue()


WHOLE = {format: image_bytes(format) for format in file.FORMATS}


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(file.FORMATS), st.data())
def test_a_damaged_file_is_read_or_refused_by_name_and_nothing_else(tmp_path, format, data):
    content = bytearray(WHOLE[format])
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "damaged.img"
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    images, failures = image_folder.read_chunk([path], 8, exact=False)
    assert (images.shape, images.dtype) == ((1, 8, 8, 3), np.uint8)
    assert all(reason.startswith(f"{path} can't be read as an image: ") for reason in failures.values())


def refusal(folder) -> str:
    with pytest.raises(UserError) as caught:
        load_dataset(str(folder), skip_unreadable=True)
    return str(caught.value)


def test_folders_that_cannot_be_a_dataset_are_refused_by_name(folder, tmp_path):
    none = tmp_path / "none"
    none.mkdir()
    assert refusal(none) == f"--dataset {none} has no folder train; it must hold train/<class>/* with the images"
    (none / "train").mkdir()
    needed = "at least two folders, one a class, are needed"
    assert refusal(none) == f"{none / 'train'} holds no class folder; {needed}"
    save(none / "train" / "only" / "0.png")
    assert refusal(none) == f"{none / 'train'} holds one class (only); {needed}"


def test_classes_must_be_the_same_in_every_split(folder):
    (folder / "test" / "c").mkdir()
    different = f"{folder / 'test'} and {folder / 'train'} differ in the classes c; make them equal"
    assert refusal(folder) == different
    (folder / "train" / "c").mkdir()
    assert refusal(folder).startswith(f"{folder / 'train' / 'c'} holds no image (.apng, ")
    save(folder / "train" / "c" / "0.png")
    assert refusal(folder).startswith(f"{folder / 'test' / 'c'} holds no image (")
    (folder / "test" / "c" / "0.png").write_bytes(b"")
    assert refusal(folder) == f"{folder / 'test' / 'c'} holds no readable image; mend the files or remove the class"


def test_classes_that_only_look_the_same_are_told_apart(folder):
    for split, form in (("train", "NFC"), ("test", "NFD")):
        shutil.copytree(folder / split / "a", folder / split / normalize(form, "고양이"))
    assert "write the classes 고양이 with the same letters in different forms of Unicode" in refusal(folder)
    # Where others differ too, that has to be mended first.
    (folder / "test" / "c").mkdir()
    assert "differ in the classes" in refusal(folder)


def test_the_root_of_a_drive_has_a_name_as_a_dataset():
    assert dataset_name(Path("/")) == "images"
    assert dataset_name(Path("/data/pets")) == "pets"


def test_a_folder_that_cannot_be_listed_is_named(folder, monkeypatch):
    def refuse(place):
        raise PermissionError(13, "Permission denied", str(place))

    monkeypatch.setattr(image_folder.os, "scandir", refuse)
    assert refusal(folder) == f"--dataset {folder}: {folder / 'train'} can't be listed (Permission denied)"


@pytest.mark.parametrize("size", [(32, 32), (40, 30)])
def test_many_threads_read_the_same_as_one(folder, monkeypatch, size):
    save(folder / "train" / "b" / "9.png", size)
    (folder / "train" / "a" / "bad.png").write_bytes(b"")
    monkeypatch.setattr(image_folder, "available_cpus", lambda: 1)
    alone = load_dataset(str(folder), skip_unreadable=True)
    monkeypatch.setattr(image_folder, "CHUNK", 2)
    monkeypatch.setattr(image_folder, "available_cpus", lambda: 4)
    together = load_dataset(str(folder), skip_unreadable=True)
    assert [together.splits[s].digest for s in ("train", "test")] == [alone.splits[s].digest for s in ("train", "test")]
    assert together.splits["train"].skipped == alone.splits["train"].skipped == ("train/a/bad.png",)
    with pytest.raises(UserError, match="the file is empty"):
        load_dataset(str(folder))


def test_a_split_is_read_when_it_is_asked_for(folder):
    (folder / "train" / "a" / "bad.png").write_bytes(b"")
    dataset = list_dataset(str(folder))
    assert len(dataset.splits["test"].labels) == 6
    with pytest.raises(UserError, match="the file is empty"):
        dataset.splits["train"]


@pytest.mark.parametrize("size", [(32, 32), (40, 30)])
def test_pixels_that_are_not_kept_in_memory_are_read_again_where_they_are_asked_for(folder, monkeypatch, size):
    save(folder / "train" / "b" / "9.png", size)
    (folder / "train" / "a" / "bad.png").write_bytes(b"")
    kept = load_dataset(str(folder), skip_unreadable=True).splits["train"]
    monkeypatch.setattr(opening, "KEPT_BYTES", 1000)
    monkeypatch.setattr(image_folder, "CHUNK", 2)
    again = load_dataset(str(folder), skip_unreadable=True).splits["train"]
    assert again.digest == kept.digest
    assert isinstance(kept.images, np.ndarray)
    assert isinstance(again.images, image_folder.ImageFiles)
    assert again.images.shape == kept.images.shape
    for rows in (slice(2, 6), np.array([5, 0, 5]), np.array([], int), slice(None)):
        np.testing.assert_array_equal(again.images[rows], kept.images[rows])
    some = np.array([1, 4, 6])
    np.testing.assert_array_equal(again.subset(some).images[:], kept.subset(some).images)
    assert again.subset(some).digest == kept.subset(some).digest
    slices = [slice(0, 3), slice(5, 7), slice(0, 0), slice(1, 6)]
    for block, rows in zip(read_rows(again.images, slices), slices, strict=True):
        np.testing.assert_array_equal(block, kept.images[rows])


def test_a_file_that_went_bad_after_its_folder_was_opened_is_named(folder, monkeypatch):
    monkeypatch.setattr(opening, "KEPT_BYTES", 0)
    images = load_dataset(str(folder)).splits["train"].images
    save(folder / "train" / "a" / "1.png", (8, 8))
    with pytest.raises(UserError, match=r"1\.png is no longer of 32×32 pixels; start again"):
        images[:]
    (folder / "train" / "a" / "1.png").unlink()
    with pytest.raises(UserError, match=r"1\.png can't be read as an image: .*; it could be read when"):
        images[:]


@pytest.mark.skipif(sys.platform != "linux", reason="only there may names be any bytes")
@pytest.mark.parametrize("place", ["the folder", "the folder above", "a class of train", "a class of test"])
def test_a_name_that_is_not_utf_8_is_refused_by_name_with_what_mends_it(folder, tmp_path, place):
    cp949 = os.fsdecode("고양이".encode("cp949"))
    if place == "the folder":
        folder = folder.rename(tmp_path / cp949)
    elif place == "the folder above":
        (tmp_path / cp949).mkdir()
        folder = folder.rename(tmp_path / cp949 / "pets")
    else:
        split = place.split()[-1]
        (folder / split / "a").rename(folder / split / cp949)
    with pytest.raises(UserError) as caught:
        load_dataset(str(folder), cache_dir=tmp_path / "cache")
    message = str(caught.value)
    message.encode()
    assert r"/\xb0\xed\xbe\xe7\xc0\xcc" in message
    assert "convmv -f cp949 -t utf-8" in message
