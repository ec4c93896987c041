"""Convolutions in the Winograd domain: the plain convolution's numbers, whatever the size."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from alexnet_skip.network.fp32_products import fp32_products
from alexnet_skip.network.winograd import OUT_TILE, WinogradConv, transforms


@pytest.mark.parametrize("kernel", [3, 5])
def test_transforms_correlate_exactly(kernel: int) -> None:
    a, g, b = transforms(OUT_TILE, kernel)
    generator = np.random.default_rng(kernel)
    signal, weights = generator.standard_normal(OUT_TILE + kernel - 1), generator.standard_normal(kernel)
    expected = np.correlate(signal, weights, mode="valid")
    assert np.abs(a @ ((g @ weights) * (b @ signal)) - expected).max() <= 1e-13


@given(
    kernel=st.sampled_from([3, 5]),
    num_images=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 7), st.integers(1, 7)),
    height=st.integers(5, 17),
    width=st.integers(5, 17),
    padding=st.integers(0, 2),
    seed=st.integers(0, 99),
)
def test_winograd_equals_the_plain_convolution(
    kernel: int, num_images: int, channels: tuple[int, int], height: int, width: int, padding: int, seed: int
) -> None:
    torch.manual_seed(seed)
    conv = nn.Conv2d(*channels, kernel, padding=padding).requires_grad_(False)
    x = torch.randn(num_images, channels[0], height, width)
    expected = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=padding)
    with fp32_products():
        ours = WinogradConv(conv.weight, conv.bias, conv.padding[0])(x)
    assert ours.shape == expected.shape
    assert (ours - expected).abs().max() <= 2e-5


def test_rounding_stays_small_in_the_widest_layer() -> None:
    """384 channels, on values behind a ReLU as there."""
    torch.manual_seed(0)
    conv = nn.Conv2d(384, 256, 3, padding=1).requires_grad_(False)
    x = torch.randn(2, 384, 13, 13).relu()
    exact = F.conv2d(x.double(), conv.weight.double(), conv.bias.double(), padding=1)
    with fp32_products():
        ours = (WinogradConv(conv.weight, conv.bias, conv.padding[0])(x) - exact).square().mean().sqrt()
    assert ours <= 4e-6 * exact.std()  # 2.1e-6 seen; the plain convolution's own is 1.7e-7
