"""Convolutions that learn in the Winograd domain: plain autograd's numbers and gradients."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from alexnet_skip.network.trained_winograd import PART, winograd_conv


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def results(convolve, x, layer, weights, *, for_inputs=True):
    """Output and gradients of inputs, weight and bias, of the weighted sum of a convolution's outputs."""
    x = x.clone().requires_grad_(for_inputs)
    layer.zero_grad()
    out = convolve(x)
    (out * weights).sum().backward()
    return [out.detach(), *([x.grad] if for_inputs else []), layer.weight.grad.clone(), layer.bias.grad.clone()]


def plain(layer):
    return lambda x: F.conv2d(x, layer.weight, layer.bias, padding=1)


@given(
    num_images=st.integers(1, 2 * PART + 3),
    channels=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    height=st.integers(3, 14),
    width=st.integers(3, 14),
    for_inputs=st.booleans(),
    channels_last=st.booleans(),
    seed=st.integers(0, 99),
)
def test_outputs_and_gradients_are_plain_autograds(
    num_images, channels, height, width, for_inputs, channels_last, seed
):
    torch.manual_seed(seed)
    layer = nn.Conv2d(*channels, 3, padding=1).double()
    x = torch.randn(num_images, channels[0], height, width, dtype=torch.float64)
    if channels_last:
        x = x.contiguous(memory_format=torch.channels_last)
    weights = torch.randn(num_images, channels[1], height, width, dtype=torch.float64)
    ours = results(lambda x: winograd_conv(layer, x), x, layer, weights, for_inputs=for_inputs)
    theirs = results(plain(layer), x, layer, weights, for_inputs=for_inputs)
    for mine, their in zip(ours, theirs, strict=True):
        assert mine.shape == their.shape
        # The transforms are of fp64 by themselves: a wrong one is not a rounding.
        assert (mine - their).abs().max() <= 1e-10 * max(1, their.abs().max())


def test_rounding_in_fp32_stays_small_in_the_widest_layer():
    torch.manual_seed(0)
    layer = nn.Conv2d(384, 256, 3, padding=1)
    x, weights = torch.randn(PART + 1, 384, 13, 13).relu(), torch.randn(PART + 1, 256, 13, 13)
    ours = results(lambda x: winograd_conv(layer, x), x, layer, weights)
    layer = layer.double()
    exact = results(plain(layer), x.double(), layer, weights.double())
    for mine, true in zip(ours, exact, strict=True):
        assert mine.dtype == torch.float32
        assert (mine - true).norm() <= 4e-6 * true.norm()


@pytest.mark.usefixtures("four_threads")
def test_several_threads_give_the_same_numbers_every_time_and_those_of_one():
    torch.manual_seed(0)
    layer = nn.Conv2d(5, 6, 3, padding=1)
    x, weights = torch.randn(2 * PART + 3, 5, 13, 13), torch.randn(2 * PART + 3, 6, 13, 13)
    layer, x, weights = layer.double(), x.double(), weights.double()
    twice = [results(lambda x: winograd_conv(layer, x), x, layer, weights) for _ in range(2)]
    assert all(torch.equal(*pair) for pair in zip(*twice, strict=True))
    torch.set_num_threads(1)
    alone = results(lambda x: winograd_conv(layer, x), x, layer, weights)
    for mine, their in zip(twice[0], alone, strict=True):
        assert (mine - their).norm() <= 1e-12 * their.norm()


@pytest.mark.usefixtures("four_threads")
@pytest.mark.parametrize("num_images", [0, 1, 3])
def test_a_batch_may_have_fewer_images_than_there_are_threads_even_none(num_images):
    """The last batch of an epoch, or a process's share of it."""
    torch.manual_seed(0)
    layer = nn.Conv2d(2, 3, 3, padding=1).double()
    x = torch.randn(num_images, 2, 5, 6, dtype=torch.float64)
    weights = torch.randn(num_images, 3, 5, 6, dtype=torch.float64)
    ours = results(lambda x: winograd_conv(layer, x), x, layer, weights)
    for mine, their in zip(ours, results(plain(layer), x, layer, weights), strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize(
    "other", [{"kernel_size": 5, "padding": 2}, {"kernel_size": 3}, {"kernel_size": 3, "padding": 1, "stride": 2}]
)
def test_convolutions_of_another_kind_are_refused(other):
    with pytest.raises(ValueError, match="3×3"):
        winograd_conv(nn.Conv2d(3, 4, **other), torch.zeros(1, 3, 9, 9))
