"""Every way in shows an image upright: datasets, files of one's own, PIL images."""

import io
import warnings

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from alexnet_skip.images.dataset import load_dataset, make_split
from alexnet_skip.images.file import as_rgb, read_image, upright

ORIENTATION = 0x0112

OPTIONS = {"PNG": {}, "WEBP": {"lossless": True}, "TIFF": {}, "JPEG": {"quality": 95, "subsampling": 0}}


def picture(side: int = 16) -> np.ndarray:
    """A smooth picture whose four corners differ, so that JPEG keeps it and each of its eight ways to lie differs."""
    y, x = np.mgrid[0 : 1 : side * 1j, 0 : 1 : side * 1j]
    return (255 * np.stack([x, y, x * y], axis=2)).astype(np.uint8)


def write(path, values, orientation=None, format="PNG"):
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    Image.fromarray(values).save(path, format, exif=exif, **OPTIONS[format])
    return path


def laid(values, orientation):
    """What a camera stores so that ``orientation`` brings it back: the inverse, found by trying PIL's own way."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    for turn in (None, *Image.Transpose):
        stored = Image.fromarray(values) if turn is None else Image.fromarray(values).transpose(turn)
        buffer = io.BytesIO()
        stored.save(buffer, "PNG", exif=exif)
        shown = np.asarray(ImageOps.exif_transpose(Image.open(buffer)))
        if shown.shape == values.shape and (shown == values).all():
            return np.asarray(stored)
    raise AssertionError(f"no way to store orientation {orientation}")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", OPTIONS)
def test_every_orientation_of_every_format_is_read_upright_by_every_way_in(tmp_path, format, orientation):
    values = picture()
    stored = laid(values, orientation)
    path = write(tmp_path / "photo", stored, orientation, format)
    # The eight ways to lay the picture differ by far more than what JPEG loses.
    for found in (read_image(path, None), read_image(path, 16), as_rgb(path)):
        np.testing.assert_allclose(found.astype(int), values, atol=16)
    with Image.open(path) as image:
        np.testing.assert_array_equal(as_rgb(image), read_image(path, None))


def folder_of(place, values, orientation=None):
    for split in ("train", "test"):
        for name in ("a", "b"):
            for i in range(2):
                write(place / split / name / f"{i}.png", values if name == "a" else 255 - values, orientation)
    return place


@pytest.mark.parametrize("side", [16, 80])
def test_a_dataset_gives_the_pixels_that_prediction_sees_and_its_digest_covers_them(tmp_path, side):
    sideways = load_dataset(str(folder_of(tmp_path / "sideways" / "pets", picture(side), 6))).splits["train"]
    untagged = load_dataset(str(folder_of(tmp_path / "untagged" / "pets", picture(side)))).splits["train"]
    tagged_upright = load_dataset(str(folder_of(tmp_path / "upright" / "pets", picture(side), 1))).splits["train"]
    assert tagged_upright.digest == untagged.digest != sideways.digest
    size = sideways.images.shape[1]
    np.testing.assert_array_equal(
        sideways.images[0], read_image(tmp_path / "sideways" / "pets" / "train" / "a" / "0.png", size)
    )
    np.testing.assert_array_equal(sideways.images[0], np.rot90(untagged.images[0], -1))


def test_images_that_nobody_turned_keep_their_digest(tmp_path):
    values = picture()
    dataset = load_dataset(str(folder_of(tmp_path / "pets", values)))
    images = np.stack([values, values, 255 - values, 255 - values])
    assert dataset.splits["train"].digest == make_split(images, np.array([0, 0, 1, 1]), ("a", "b")).digest


DAMAGED = {
    "no TIFF header": b"Exif\0\0garbage, and more of it",
    "nothing after the header": b"Exif\0\0",
    "an offset beyond the end": b"Exif\0\0II*\0\xff\xff\xff\xff",
    "more entries than there are": b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01\x03\0\x01\0",
    "a text for an orientation": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\x02\0\0\0up\0\0\0\0\0\0",
    "an orientation that does not exist": b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x63\0\0\0\0\0\0\0",
}


@pytest.mark.parametrize("exif", DAMAGED.values(), ids=DAMAGED)
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_damaged_metadata_leave_a_readable_image_as_it_is(tmp_path, format, exif):
    values, path = picture(), tmp_path / "photo"
    Image.fromarray(values).save(path, format, exif=exif, **OPTIONS[format])
    np.testing.assert_allclose(read_image(path, None).astype(int), values, atol=16)
    with warnings.catch_warnings():
        # PIL's remarks when a program of one's own opens the file.
        warnings.simplefilter("ignore")
        image = Image.open(path)
    with image:
        np.testing.assert_array_equal(as_rgb(image), read_image(path, None))


def test_an_orientation_is_followed_although_other_metadata_are_damaged(tmp_path):
    # Two entries: the orientation, and one whose value lies beyond the end.
    exif = (
        b"Exif\0\0II*\0\x08\0\0\0\x02\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\x31\x01\x02\0\x99\0\0\0\xff\xff\xff\0\0\0\0\0"
    )
    values = picture()
    Image.fromarray(values).save(tmp_path / "photo.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "photo.png", None), np.rot90(values, -1))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["PNG", "WEBP"]), st.binary(max_size=80))
def test_no_metadata_whatever_make_an_image_unreadable(tmp_path, format, content):
    values, path = picture(), tmp_path / "photo"
    exif = b"Exif\0\0II*\0\x08\0\0\0" + content
    Image.fromarray(values).save(path, format, exif=exif, **OPTIONS[format])
    found = read_image(path, None)
    ways = [values if turn is None else np.asarray(Image.fromarray(values).transpose(turn))
            for turn in (None, *Image.Transpose)]  # fmt: skip
    assert any((found == way).all() for way in ways)


def test_what_needs_no_turning_is_not_copied():
    image = Image.fromarray(picture())
    assert upright(image) is image
