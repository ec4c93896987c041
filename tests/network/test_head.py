"""Skip connection, head, and dropout whose masks depend on seed and step alone."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from alexnet_skip.network.backbone import NUM_FEATURES
from alexnet_skip.network.head import Dropout, LinearRegressor, MaskBytes, SkipConnection, SkipHead, use_masks

MODES = ("none", "identity", "conv", "concat")


@pytest.fixture
def narrow(monkeypatch) -> None:
    """A head whose first values take no second."""
    monkeypatch.setattr("alexnet_skip.network.head.HIDDEN_SIZES", (32, 16))


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


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("mode", MODES)
def test_every_parameter_receives_a_gradient(mode, features):
    model = SkipHead(mode, 10)
    model(*features).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


@pytest.mark.usefixtures("narrow")
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


def dropped(p: float, seed=(0,), rows: int = 400, share: slice = slice(None)) -> torch.Tensor:
    layer = Dropout(p)
    use_masks([layer], MaskBytes(seed, rows, share))
    return layer(torch.ones(rows, 300)[share])


@pytest.mark.parametrize("p", [0.1, 0.3, 0.5, 0.9, 0.999])
def test_zeros_come_with_the_probability_asked_for_and_the_mean_is_kept(p):
    values = dropped(p)
    met = min(255, round(256 * p)) / 256
    assert abs(met - p) <= 1 / 256
    # Four standard errors of 120,000 draws.
    assert (values == 0).float().mean().item() == pytest.approx(met, abs=4 * (met * (1 - met) / values.numel()) ** 0.5)
    assert values[values != 0].unique().item() == pytest.approx(1 / (1 - met))


def test_masks_are_a_function_of_the_seed():
    assert torch.equal(dropped(0.5, (0, 1, 2)), dropped(0.5, (0, 1, 2)))
    assert not torch.equal(dropped(0.5, (0, 1, 2)), dropped(0.5, (0, 1, 3)))


def test_processes_take_their_rows_of_one_mask():
    whole = dropped(0.5)
    for rank in range(3):
        share = slice(rank, None, 3)
        assert torch.equal(dropped(0.5, share=share), whole[share])


def test_layers_draw_different_masks_and_columns_are_not_alike():
    layers = nn.ModuleList([Dropout(0.5), Dropout(0.5)])
    use_masks(layers.modules(), MaskBytes((0,), 200, slice(None)))
    first, second = (layer(torch.ones(200, 64)).numpy() > 0 for layer in layers)
    assert 0.4 < (first == second).mean() < 0.6
    correlation = np.corrcoef(first.T) - np.eye(64)
    assert np.abs(correlation).max() < 5 / np.sqrt(200)


def test_the_gradient_is_that_of_the_mask():
    layer = Dropout(0.25)
    use_masks([layer], MaskBytes((3,), 5, slice(None)))
    x = torch.ones(5, 7, requires_grad=True)
    y = layer(x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())


def test_nothing_is_dropped_in_evaluation_or_at_zero():
    x = torch.randn(3, 4)
    assert torch.equal(Dropout(0.5).eval()(x), x)
    assert torch.equal(Dropout(0.0)(x), x)


def test_without_masks_torch_draws_them():
    torch.manual_seed(0)
    values = Dropout(0.5)(torch.ones(100, 100))
    assert 0.45 < (values == 0).float().mean() < 0.55
