"""The frozen backbone: torchvision's numbers, whatever the image size, batch, neighbours and threads."""

import os
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import alexnet
from torchvision.transforms.v2 import functional as tv

from alexnet_skip.network.backbone import (
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    NUM_FEATURES,
    FrozenAlexNet,
)
from alexnet_skip.network.layers import FEATURE_SHAPE, TAP_LAYER
from alexnet_skip.network.weights import load_weights

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """Seeded weights of ImageNet's size: features of photographs reach about 15, where fp32 resolves 1e-6."""
    return load_weights("random").state


@pytest.fixture(scope="module")
def backbone(state: dict[str, Tensor]) -> FrozenAlexNet:
    return FrozenAlexNet(state)


def photographs(num_images: int, height: int, width: int) -> Tensor:
    """Smooth random images, uint8 (B, H, W, 3), with colours from end to end."""
    generator = torch.Generator().manual_seed(height * 1000 + width)
    coarse = torch.rand(num_images, 3, 5, 5, generator=generator) * 300 - 20
    images = F.interpolate(coarse, (height, width), mode="bicubic").clamp(0, 255)
    return images.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def torchvisions_features(state: dict[str, Tensor], images: Tensor) -> tuple[Tensor, Tensor]:
    """The plain way: torchvision's resize, normalisation and network; the tap is a copy taken before the next layer."""
    features = alexnet().features.eval()
    features.load_state_dict(state)
    pixels = tv.resize(images.permute(0, 3, 1, 2).float() / 255, [224, 224], antialias=True)
    pixels = tv.normalize(pixels, list(IMAGENET_DEFAULT_MEAN), list(IMAGENET_DEFAULT_STD))
    with torch.no_grad():
        tap = features[: TAP_LAYER + 1](pixels).clone()
        return features(pixels), F.adaptive_avg_pool2d(tap, 6)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (224, 224), (1, 1), (32, 48), (300, 260), (40, 300)])
def test_features_equal_torchvisions(
    state: dict[str, Tensor], backbone: FrozenAlexNet, height: int, width: int
) -> None:
    images = photographs(3, height, width)
    for ours, theirs in zip(backbone(images), torchvisions_features(state, images), strict=True):
        assert ours.shape == theirs.shape == (3, *FEATURE_SHAPE)
        assert ours.dtype == torch.float32
        assert ours.is_contiguous()
        assert (ours - theirs).abs().max() <= TOLERANCE


def test_features_are_nearer_to_fp64_than_the_tolerance_asks(state: dict[str, Tensor], backbone: FrozenAlexNet) -> None:
    """Much of the difference from torchvision is its own: fp32 places the resized pixels to 1e-6 of a pixel only."""
    images = photographs(16, 32, 32)
    features = alexnet().features.double().eval()
    features.load_state_dict(state)
    mean, std = (
        torch.tensor(v, dtype=torch.float64).view(3, 1, 1) for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD)
    )
    with torch.no_grad():
        exact = features(F.interpolate((images.permute(0, 3, 1, 2).double() / 255 - mean) / std, 224, mode="bilinear"))
    assert (backbone(images)[0] - exact).abs().max() <= TOLERANCE / 2


def test_features_equal_torchvisions_with_imagenet_weights(imagenet_weights: str) -> None:
    state = load_weights(imagenet_weights).state
    images = photographs(8, 32, 32)
    for ours, theirs in zip(FrozenAlexNet(state)(images), torchvisions_features(state, images), strict=True):
        assert theirs.abs().max() > 1  # the weights are trained ones: the comparison is of something
        assert (ours - theirs).abs().max() <= TOLERANCE


@pytest.fixture
def imagenet_weights() -> str:
    path = os.environ.get("ALEXNET_SKIP_WEIGHTS", "")
    if not path:
        pytest.skip("set ALEXNET_SKIP_WEIGHTS to a file of torchvision's AlexNet to test with ImageNet weights")
    return path


def test_tap_is_not_rewritten_by_the_relu_that_follows(backbone: FrozenAlexNet) -> None:
    main, tap = backbone(photographs(2, 32, 32))
    assert tap.min() < 0
    assert main.min() == 0


def test_features_do_not_depend_on_the_neighbours_or_the_batch(backbone: FrozenAlexNet) -> None:
    images = photographs(37, 32, 32)  # more than one part of a CPU's batch, and a last part that is not full
    whole = backbone(images)
    for size in (1, 5, 36):
        parts = [backbone(part) for part in images.split(size)]
        for i in range(2):
            assert torch.equal(torch.cat([part[i] for part in parts]), whole[i])


@pytest.fixture
def with_threads() -> Iterator[Callable[[int], None]]:
    """Sets torch's number of threads, for a test."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def test_any_number_of_threads_gives_the_same_bits(backbone: FrozenAlexNet, with_threads) -> None:
    """Several processes build one cache together, with fewer threads each than a process alone has."""
    images, found = photographs(40, 32, 32), []
    for threads in (1, 2, 3):
        with_threads(threads)
        found.append([values.half() for values in backbone(images)])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_callers_keep_their_number_of_threads(backbone: FrozenAlexNet, with_threads) -> None:
    with_threads(2)
    backbone(photographs(2, 32, 32))
    assert torch.get_num_threads() == 2


def test_backbone_stays_frozen_and_in_eval_mode(backbone: FrozenAlexNet) -> None:
    network = torch.nn.Sequential(backbone).train()
    assert not any(module.training for module in backbone.modules())
    assert network.training
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    assert sum(parameter.numel() for parameter in backbone.parameters()) == 2_469_696
    assert NUM_FEATURES == 256 * 6 * 6


def test_a_head_can_be_trained_on_live_features(backbone: FrozenAlexNet) -> None:
    """Features made in inference mode could not be saved for the backward pass."""
    head = torch.nn.Linear(NUM_FEATURES, 2)
    main, _ = backbone(photographs(2, 32, 32))
    head(main.flatten(1)).sum().backward()
    assert head.weight.grad is not None


def test_state_comes_back_under_torchvisions_names(state: dict[str, Tensor], backbone: FrozenAlexNet) -> None:
    returned = backbone.torchvision_state()
    assert list(returned) == list(alexnet().features.state_dict())
    assert all(torch.equal(returned[key], value) for key, value in state.items())


def test_an_empty_batch_gives_empty_features(backbone: FrozenAlexNet) -> None:
    assert [tuple(x.shape) for x in backbone(torch.zeros(0, 32, 32, 3, dtype=torch.uint8))] == [(0, *FEATURE_SHAPE)] * 2


def test_what_is_no_batch_of_images_is_refused(backbone: FrozenAlexNet) -> None:
    with pytest.raises(ValueError, match=r"uint8 \(B, H, W, 3\), got torch\.uint8 \(1, 3, 32, 32\)"):
        backbone(torch.zeros(1, 3, 32, 32, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"got torch\.float32"):
        backbone(torch.zeros(1, 32, 32, 3))


def test_wrong_weights_are_refused_by_name(state: dict[str, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"features\.8\.weight is missing"):
        FrozenAlexNet({key: value for key, value in state.items() if key != "8.weight"})
    with pytest.raises(ValueError, match=r"features\.3\.bias has shape \(5,\), expected \(192,\)"):
        FrozenAlexNet({**state, "3.bias": torch.zeros(5)})
    with pytest.raises(ValueError, match=r"features\.0\.bias holds values that are not finite"):
        FrozenAlexNet({**state, "0.bias": torch.full((64,), float("inf"))})
    with pytest.raises(ValueError, match=r"features\.12\.bias is not a layer"):
        FrozenAlexNet({**state, "12.bias": torch.zeros(5)})
