"""Inputs of the upper convolutions by row: of shifted and mirrored images, whatever batch they are asked for in."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from alexnet_skip.features import lower
from alexnet_skip.features.lower import LowerLayers
from alexnet_skip.images.augment import Shifts, shifted
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.weights import load_weights


@pytest.fixture(scope="module")
def backbone() -> FrozenAlexNet:
    return FrozenAlexNet(load_weights("random").state)


@pytest.fixture
def images(rng) -> np.ndarray:
    return rng.integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)


def source(images, backbone) -> LowerLayers:
    return LowerLayers(images, backbone, 10, torch.device("cpu"))


def test_without_an_epoch_images_are_taken_as_they_are_and_mirrored_in_their_second_view(images, backbone):
    (found,) = source(images, backbone).fetch(np.array([4, 6 + 1]))
    seen = np.stack([images[4], images[1][:, ::-1]])
    assert torch.equal(found, backbone.lower(torch.from_numpy(seen), 10))


def test_in_an_epoch_each_sample_has_its_own_shift_in_any_batch_and_after_any_other(images, backbone, monkeypatch):
    one = source(images, backbone)
    one.begin_epoch(seed=3, epoch=5)
    (together,) = one.fetch(np.array([0, 2, 6 + 5]))
    pixels = torch.from_numpy(Shifts.drawn(6, (32, 32), 3, 5).pixels[[0, 2, 5]])
    seen = shifted(torch.from_numpy(images[[0, 2, 5]]), pixels, torch.tensor([False, False, True]))
    assert torch.equal(together, backbone.lower(seen, 10))

    monkeypatch.setattr(lower, "PART_ROWS", 2)
    other = source(images, backbone)
    for epoch in (4, 5):
        other.begin_epoch(seed=3, epoch=epoch)
    assert torch.equal(torch.cat([other.fetch(np.array([row]))[0] for row in (0, 2, 6 + 5)]), together)
    assert torch.equal(other.fetch(np.array([0, 2, 6 + 5]))[0], together)


def test_only_within_an_epoch_are_inputs_in_bf16(images, backbone):
    """A temperature and pictures are of the network that is published, which is judged in fp32."""
    plain = LowerLayers(images, backbone, 6, torch.device("cpu"))
    fast, rows = LowerLayers(images, backbone, 6, torch.device("cpu"), bf16=True), np.arange(2)
    judged = plain.fetch(rows)[0]
    assert torch.equal(fast.fetch(rows)[0], judged)
    for source in (plain, fast):
        source.begin_epoch(0, 1)
    assert not torch.equal(fast.fetch(rows)[0], plain.fetch(rows)[0])
    fast.end_epoch()
    assert torch.equal(fast.fetch(rows)[0], judged)


# Lower layers that hand on what they are given.
NOTHING = SimpleNamespace(lower=lambda pixels, cut, bf16: pixels)


def test_images_of_any_shape_are_shifted_by_a_tenth_of_their_own_height_and_width(rng):
    images = rng.integers(0, 256, (50, 40, 20, 3), dtype=np.uint8)
    one, rows = LowerLayers(images, NOTHING, 6, torch.device("cpu")), np.arange(50)
    one.begin_epoch(seed=1, epoch=2)
    drawn = Shifts.drawn(50, (40, 20), 1, 2).pixels
    assert np.abs(drawn).max(axis=0).tolist() == [4, 2]
    expected = shifted(torch.from_numpy(images), torch.from_numpy(drawn), torch.zeros(50, dtype=torch.bool))
    assert torch.equal(one.fetch(rows)[0], expected)


class ByRow:
    """Images that are read when they are asked for."""

    def __init__(self, images: np.ndarray) -> None:
        self.images, self.shape = images, images.shape

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        return self.images[rows]


@pytest.mark.parametrize(("kind", "room", "resident"), [("array", 1.01, True), ("array", 1, False), ("rows", 9, False)])
def test_images_go_to_a_card_once_where_they_leave_room_on_it(rng, monkeypatch, kind, room, resident):
    """Torch's device without memory stands in for the card; images that are read row by row stay where they are."""
    images = rng.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    monkeypatch.setattr(lower, "free_device_bytes", lambda _: room * images.nbytes / lower.RESIDENT_FRACTION)
    one = LowerLayers(images if kind == "array" else ByRow(images), NOTHING, 6, torch.device("meta"))
    assert isinstance(one.images, torch.Tensor) == resident
    (found,) = one.fetch(np.array([4, 6 + 1]))
    assert (found.device.type, found.shape) == ("meta", (2, 8, 8, 3))
