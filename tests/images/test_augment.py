"""Shifts and mirror images: NumPy's numbers, and the same for a seed, an epoch and a sample."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet_skip.images.augment import Shifts, shifted


def by_numpy(image: np.ndarray, down: int, right: int, mirrored: bool) -> np.ndarray:
    """The plain way: pad with the edge by more than any shift, cut out, mirror."""
    height, width = image.shape[:2]
    padded = np.pad(image, ((height, height), (width, width), (0, 0)), mode="edge")
    moved = padded[height - down : 2 * height - down, width - right : 2 * width - right]
    return moved[:, ::-1] if mirrored else moved


@given(st.data(), st.integers(1, 7), st.integers(1, 7))
def test_an_image_is_shifted_with_its_edge_repeated_then_mirrored(data, height, width):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    images = rng.integers(0, 256, (4, height, width, 3), dtype=np.uint8)
    pixels = np.stack([rng.integers(-height, height + 1, 4), rng.integers(-width, width + 1, 4)], axis=1)
    mirrored = rng.integers(0, 2, 4).astype(bool)
    found = shifted(torch.from_numpy(images), torch.from_numpy(pixels), torch.from_numpy(mirrored)).numpy()
    assert found.dtype == np.uint8
    for one, image, (down, right), flipped in zip(found, images, pixels, mirrored, strict=True):
        np.testing.assert_array_equal(one, by_numpy(image, down, right, flipped))


def test_shifts_are_a_function_of_seed_and_epoch_and_reach_a_tenth_of_the_image():
    first = Shifts.drawn(5000, (32, 64), seed=1, epoch=2).pixels
    np.testing.assert_array_equal(first, Shifts.drawn(5000, (32, 64), seed=1, epoch=2).pixels)
    assert [np.unique(column).tolist() for column in first.T] == [list(range(-3, 4)), list(range(-6, 7))]
    for other in (Shifts.drawn(5000, (32, 64), seed=2, epoch=2), Shifts.drawn(5000, (32, 64), seed=1, epoch=3)):
        assert (other.pixels == first).all(axis=1).mean() < 0.05
    assert not Shifts.none(5).pixels.any()


def test_shifts_do_not_repeat_the_numbers_that_mirrored_the_epochs_batches():
    """Both are drawn for the same seed and epoch: from generators of their own."""
    rng = np.random.default_rng([1, 2])
    rng.permutation(1000)
    right = Shifts.drawn(1000, (32, 32), seed=1, epoch=2).pixels[:, 1]
    assert abs(np.corrcoef(rng.integers(0, 2, 1000), right)[0, 1]) < 0.1


def test_images_on_a_card_are_shifted_there():
    """Torch's device without memory stands in for the card: it refuses numbers of the processor's."""
    images = torch.zeros(2, 5, 7, 3, dtype=torch.uint8, device="meta")
    pixels, mirrored = torch.zeros(2, 2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool)
    found = shifted(images, pixels.to("meta"), mirrored.to("meta"))
    assert (found.device.type, found.shape, found.dtype) == ("meta", images.shape, torch.uint8)
