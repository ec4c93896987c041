"""Skip connection, head, and the fold of the PCA basis."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from alexnet_skip.backbone import NUM_FEATURES
from alexnet_skip.basis import Basis, SkipHeadInBasis, fit_basis
from alexnet_skip.model import LinearRegressor, SkipConnection, SkipHead

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
    torch.testing.assert_close(skip.project(F.adaptive_avg_pool2d(maps, 6).flatten(1)), before, rtol=1e-4, atol=1e-4)


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


@pytest.mark.parametrize("mode", MODES)
def test_the_fold_gives_the_same_predictions_in_the_published_form(mode, features):
    """Issue: same form as plain training, same logits to 1e-4."""
    main, tap = features
    fixed = SkipConnection("identity" if mode == "conv" else mode)
    basis = fit_basis(fixed(main, tap), 20, seed=0)
    model = SkipHeadInBasis(mode, 10, basis).eval()
    if mode == "conv":
        torch.nn.init.normal_(model.skip.projection.weight, std=0.05)
        torch.nn.init.normal_(model.skip.projection.bias)
    coordinates = basis.transform(main if mode == "conv" else fixed(main, tap))
    folded = model.fold(basis)
    plain = SkipHead(mode, 10)
    assert {k: v.shape for k, v in folded.state_dict().items()} == {k: v.shape for k, v in plain.state_dict().items()}
    with torch.no_grad():
        torch.testing.assert_close(folded(main, tap), model(coordinates, tap), rtol=1e-4, atol=1e-4)


def test_the_basis_is_orthonormal_deterministic_and_captures_what_pca_captures(rng):
    low_rank = rng.normal(size=(300, 12)) @ rng.normal(size=(12, 80)) + 0.01 * rng.normal(size=(300, 80)) + 5
    values = torch.from_numpy(low_rank).float()
    basis = fit_basis(values, 12, seed=3)
    again = fit_basis(values, 12, seed=3)
    assert torch.equal(basis.projection, again.projection)
    torch.testing.assert_close(basis.projection.T @ basis.projection, torch.eye(12), rtol=1e-4, atol=1e-4)
    kept = basis.transform(values).var(0).sum().item()
    exact = np.linalg.eigvalsh(np.cov(low_rank, rowvar=False))[::-1][:12].sum()
    assert kept == pytest.approx(exact, rel=1e-3)


def test_a_basis_never_has_more_axes_than_the_samples_allow():
    assert fit_basis(torch.randn(10, 50), 40, seed=0).projection.shape == (50, 9)


def test_folding_survives_a_mean_much_larger_than_the_coordinates():
    torch.manual_seed(0)
    values = torch.randn(200, 500) + 1000
    basis = fit_basis(values, 30, seed=0)
    layer = torch.nn.Linear(30, 7)
    with torch.no_grad():
        exact = (
            values.double() - basis.mean.double()
        ) @ basis.projection.double() @ layer.weight.double().T + layer.bias
        torch.testing.assert_close(basis.fold(layer)(values).double(), exact, rtol=1e-2, atol=1e-2)


def test_basis_type_is_what_inputs_expect():
    assert isinstance(fit_basis(torch.randn(5, 4), 2, seed=0), Basis)
