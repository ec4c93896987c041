"""The folded resize and convolution: the plain path's numbers, borders and corners included."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet_skip.network.folded_conv import FoldedResizeConv, _resize_seen_by_conv


def plain(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.conv2d(F.interpolate(x, 224, mode="bilinear"), weight, bias, stride=4, padding=2)


def random_convolution(channels: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(channels, 3, 11, 11, generator=generator) / 19, torch.randn(channels, generator=generator)


@pytest.mark.parametrize("channels", [1, 5, 64])
@pytest.mark.parametrize("num_images", [1, 3])
def test_folded_equals_resize_then_convolution(channels: int, num_images: int) -> None:
    weight, bias = random_convolution(channels)
    x = torch.randn(num_images, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    folded = FoldedResizeConv(weight, bias)(x)
    assert folded.shape == (num_images, channels, 56, 56)
    assert (folded[:, :, :55, :55] - plain(x, weight, bias)).abs().max() <= 2e-5


def test_each_pixel_reaches_each_output_with_its_own_weight() -> None:
    """Exact in double precision over a basis of all images: nothing hides in the rounding of sums."""
    weight, bias = random_convolution(1)
    bias = bias.double()
    basis = torch.eye(3 * 32 * 32, dtype=torch.float64).view(-1, 3, 32, 32)[::97]
    folded = FoldedResizeConv(weight, bias).double()(basis)[:, :, :55, :55]
    assert (folded - plain(basis, weight.double(), bias)).abs().max() <= 1e-7  # weights were rounded to fp32


def test_max_pooling_never_reads_beyond_the_edge() -> None:
    weight, bias = random_convolution(8)
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    out = FoldedResizeConv(weight, bias)(x)
    expected = F.max_pool2d(out[:, :, :55, :55], 3, 2)
    out[:, :, 55:], out[..., 55:] = float("nan"), float("nan")
    assert torch.equal(F.max_pool2d(out, 3, 2), expected)


def test_an_image_does_not_depend_on_its_neighbours_in_the_batch() -> None:
    weight, bias = random_convolution(8)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    layer = FoldedResizeConv(weight, bias)
    assert torch.allclose(layer(x)[2:3, :, :55, :55], layer(x[2:3])[:, :, :55, :55], rtol=0, atol=1e-6)


def test_what_an_output_sees_sums_to_one_except_at_the_padding() -> None:
    seen = _resize_seen_by_conv().sum(dim=(1, 2))
    assert seen.shape == (55,)
    assert torch.allclose(seen[1:-1], torch.full((53,), 11.0, dtype=torch.float64))
    assert seen[0] == pytest.approx(9)  # two of eleven are padding
    assert seen[-1] == pytest.approx(10)


def test_folded_weights_stay_out_of_the_state_dict() -> None:
    assert not FoldedResizeConv(*random_convolution(2)).state_dict()
