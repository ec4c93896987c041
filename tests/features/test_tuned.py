"""Upper convolutions, skip and head as one module: the published network's logits, in a basis and without one."""

import pytest
import torch
from torch.nn import functional as F

from alexnet_skip.features.basis import Basis, SkipHeadInBasis, make_head, unfolded
from alexnet_skip.features.tuned import TunedNetwork
from alexnet_skip.network import head
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.upper import UpperConvolutions
from alexnet_skip.network.weights import load_weights

MODES = ("none", "identity", "conv", "concat")


@pytest.fixture(scope="module")
def backbone() -> FrozenAlexNet:
    return FrozenAlexNet(load_weights("random").state)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(head, "HIDDEN_SIZES", (32, 16))


def made(backbone, mode, in_basis=True, num_layers=2) -> tuple[TunedNetwork, Basis | None]:
    torch.manual_seed(0)
    width = 9216 * (2 if mode == "concat" else 1)
    basis = Basis(torch.randn(width), torch.randn(width, 12) / 50) if in_basis else None
    trained = make_head(mode, 5, basis)
    if mode == "conv":
        torch.nn.init.normal_(trained.skip.up if in_basis else trained.skip.projection.weight, std=0.05)
        torch.nn.init.normal_(trained.skip.bias if in_basis else trained.skip.projection.bias)
    return TunedNetwork(UpperConvolutions(backbone, num_layers), trained, basis).eval(), basis


def inputs(backbone) -> torch.Tensor:
    images = torch.randint(0, 256, (4, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return backbone.lower(images, 8)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("in_basis", [True, False])
def test_logits_are_those_of_the_published_form(backbone, mode, in_basis):
    model, basis = made(backbone, mode, in_basis)
    x = inputs(backbone)
    with torch.no_grad():
        main, tap = model.upper(x)
        published = model.trained.fold(basis) if in_basis else model.trained
        assert torch.allclose(model(x), published(main, tap), rtol=1e-4, atol=1e-3)


def test_only_what_is_trained_is_saved(backbone):
    model, _ = made(backbone, "conv")
    assert set(model.state_dict()) == {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("mode", ["identity", "conv", "concat"])
def test_the_gradients_of_both_ways_add_up_to_the_whole_and_their_logits_are_the_same(backbone, mode):
    model, _ = made(backbone, mode)
    x, target = inputs(backbone), torch.tensor([0, 1, 2, 3])
    kernel = model.upper.kernels["8"]

    def gradient(logits):
        return torch.autograd.grad(F.cross_entropy(logits, target), kernel)[0]

    whole = gradient(model(x))
    main, skip = (gradient(model.logits_through(x, way)) for way in ("main", "tap"))
    assert torch.equal(model.logits_through(x, "tap"), model(x))
    assert (main + skip - whole).norm() < 1e-4 * whole.norm()
    assert min(main.norm(), skip.norm()) > 1e-3 * whole.norm()


def test_every_parameter_is_in_one_group_and_each_convolution_further_down_learns_more_slowly(backbone):
    model, _ = made(backbone, "conv", num_layers=3)
    groups = model.parameter_groups(4.0, 2.0, 0.5)
    assert [group["lr"] for group in groups] == [4.0, 2.0, 1.0, 0.5]
    assert groups[1]["params"][0] is model.upper.kernels["10"]
    assert groups[3]["params"][0] is model.upper.kernels["6"]
    grouped = [id(p) for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in model.parameters())


@pytest.mark.parametrize("mode", MODES)
def test_a_published_head_is_found_again_in_its_basis(backbone, mode):
    model, basis = made(backbone, mode)
    again = unfolded(model.trained.fold(basis), basis)
    assert isinstance(again, SkipHeadInBasis)
    mine, theirs = model.trained.head.state_dict(), again.head.state_dict()
    torch.testing.assert_close(theirs, mine, rtol=1e-3, atol=1e-4)
    main, tap = torch.randn(2, 4, 9216)
    with torch.no_grad():
        found = TunedNetwork(model.upper, again, basis).eval().head(main, tap)
        torch.testing.assert_close(found, model.head(main, tap), rtol=1e-3, atol=1e-3)


def test_a_head_of_another_basis_is_refused(backbone):
    model, basis = made(backbone, "none")
    other = Basis(basis.mean, torch.randn_like(basis.projection))
    with pytest.raises(ValueError, match="not trained in this PCA basis"):
        unfolded(model.trained.fold(basis), other)
