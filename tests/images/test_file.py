"""Images of one's own: any place, size, mode and orientation."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from alexnet_skip.images.file import as_list, as_rgb, squeeze
from alexnet_skip.images.listing import LeftOut, find_images
from alexnet_skip.system.errors import UserError


def save(path: Path, image: Image.Image | None = None, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    (image or Image.new("RGB", (6, 4), "red")).save(path, **options)
    return path


def test_folders_stand_for_the_images_in_them_and_each_file_counts_once(tmp_path):
    inner, upper = save(tmp_path / "b" / "c" / "1.PNG"), save(tmp_path / "a.jpg")
    save(tmp_path / ".hidden" / "2.png")
    (tmp_path / "notes.txt").write_text("no image")
    assert find_images([tmp_path], LeftOut()) == [upper, inner]
    assert find_images([inner, tmp_path, inner], LeftOut()) == [inner, upper]


@pytest.mark.parametrize(
    ("places", "message"),
    [(["nowhere.jpg"], "nowhere.jpg does not exist"), (["empty"], "holds no image"), ([], "names nothing")],
)
def test_places_without_an_image_are_refused(tmp_path, places, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        find_images([tmp_path / place for place in places], LeftOut())


def test_every_mode_of_pil_becomes_rgb_of_the_same_size():
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "HSV", "LAB", "I", "I;16", "F"):
        assert as_rgb(Image.new(mode, (7, 5))).shape == (5, 7, 3), mode


@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 1), (5, 7, 3), (5, 7, 4)])
def test_arrays_keep_their_pixels(rng, shape):
    array = rng.integers(0, 256, shape, dtype=np.uint8)
    if shape == (5, 7, 4):
        array[..., 3] = 255
    rgb = as_rgb(array)
    assert (rgb.shape, rgb.dtype) == ((5, 7, 3), np.uint8)
    np.testing.assert_array_equal(rgb, np.broadcast_to(array.reshape(5, 7, -1)[..., :3], (5, 7, 3)))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((5, 7, 3)), "type float64; give uint8"),
        (np.zeros((5, 7, 2), np.uint8), r"shape \(5, 7, 2\)"),
        (np.zeros((0, 7, 3), np.uint8), r"shape \(0, 7, 3\)"),
        (np.zeros(7, np.uint8), r"shape \(7,\)"),
    ],
)
def test_arrays_of_another_type_or_shape_are_refused_with_what_is_allowed(array, message):
    with pytest.raises(ValueError, match=message):
        as_rgb(array)


def test_a_photograph_taken_sideways_is_turned_upright(tmp_path, rng):
    upright = rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: to be shown turned by 90° clockwise
    stored = Image.fromarray(np.rot90(upright).copy())
    path = save(tmp_path / "photo.png", stored, exif=exif)
    np.testing.assert_array_equal(as_rgb(path), upright)
    with Image.open(path) as image:
        np.testing.assert_array_equal(as_rgb(image), upright)


def test_a_batch_is_a_list_of_its_images_and_a_single_image_a_list_of_one(rng):
    batch = rng.integers(0, 256, (3, 4, 5, 3), dtype=np.uint8)
    assert [image.shape for image in as_list(batch)] == [(4, 5, 3)] * 3
    assert as_list("a.jpg") == ["a.jpg"]
    assert len(as_list(batch[0])) == 1
    assert as_list(("a.jpg", "b.jpg")) == ["a.jpg", "b.jpg"]


def test_squeezing_keeps_an_image_that_fits_and_loses_no_edge():
    image = np.zeros((60, 20, 3), np.uint8)
    image[:, -4:] = 255
    assert squeeze(image, (60, 20)) is image
    small = squeeze(image, (30, 10))
    assert small.shape == (30, 10, 3)
    assert (small[:, -1] > 200).all()


def test_half_an_image_is_refused_as_half_a_file_is(tmp_path, rng):
    path = save(tmp_path / "half.jpg", Image.fromarray(rng.integers(0, 256, (64, 64, 3), dtype=np.uint8)))
    path.write_bytes(path.read_bytes()[:1000])
    with Image.open(path) as image, Image.open(io.BytesIO(path.read_bytes())) as nameless:
        for half, name in ((path, path), (image, path), (nameless, "the PIL image")):
            with pytest.raises(ValueError, match=r"can't be read as an image: .*truncated") as caught:
                as_rgb(half)
            assert str(caught.value).startswith(f"{name} can't")
