"""Skip connection and head."""

import pytest
import torch
from torch.nn import functional as F

from alexnet_skip.network.backbone import NUM_FEATURES
from alexnet_skip.network.head import LinearRegressor, SkipConnection, SkipHead

MODES = ("none", "identity", "conv", "concat")


@pytest.fixture
def features() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    main, tap = torch.randn(2, 40, NUM_FEATURES, generator=generator)
    return main.relu() * 3, tap


def test_the_head_has_the_reports_size():
    parameters = [p.numel() for p in LinearRegressor(NUM_FEATURES, 10).parameters()]
    assert sum(parameters) == 41_958_410
    assert sum(p.numel() for p in SkipConnection("conv").parameters()) == 65_792


def test_a_fresh_conv_skip_is_the_identity_skip(features):
    torch.testing.assert_close(SkipConnection("conv")(*features), SkipConnection("identity")(*features))


def test_the_projection_is_a_1x1_convolution_and_commutes_with_pooling():
    skip = SkipConnection("conv")
    torch.nn.init.normal_(skip.projection.weight)
    maps = torch.randn(3, 256, 13, 13)
    before = skip.projection(F.adaptive_avg_pool2d(maps, 6)).flatten(1)
    after = F.adaptive_avg_pool2d(skip.projection(maps), 6).flatten(1)
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-4)
    tap = F.adaptive_avg_pool2d(maps, 6).flatten(1)
    torch.testing.assert_close(skip.project(tap), before, rtol=1e-4, atol=1e-4)
    places_first = before.view(3, 256, 36).transpose(1, 2)
    torch.testing.assert_close(skip.project_by_place(tap), places_first, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", MODES)
def test_every_parameter_receives_a_gradient(mode, features):
    model = SkipHead(mode, 10)
    model(*features).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.parametrize("mode", ["identity", "conv", "concat"])
def test_the_tap_matters(mode, features):
    model = SkipHead(mode, 10).eval()
    main, tap = features
    assert not torch.allclose(model(main, tap), model(main, tap + 1))
    with pytest.raises(ValueError, match="needs the tap"):
        model(main)


def test_without_skip_the_tap_is_ignored(features):
    model = SkipHead("none", 10).eval()
    assert torch.equal(model(features[0]), model(*features))
