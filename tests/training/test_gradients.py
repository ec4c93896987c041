"""What is told of the convolutions' gradients: plain autograd's, of each way by itself, and nothing is left behind."""

import pytest
import torch
from torch.nn import functional as F

from alexnet_skip.features.basis import make_head
from alexnet_skip.features.tuned import TunedNetwork
from alexnet_skip.network import head
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.upper import UpperConvolutions
from alexnet_skip.network.weights import load_weights
from alexnet_skip.training.gradients import gradient_figures, moved


@pytest.fixture(scope="module")
def backbone() -> FrozenAlexNet:
    return FrozenAlexNet(load_weights("random").state)


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    monkeypatch.setattr(head, "HIDDEN_SIZES", (16, 8))


def probe(backbone) -> tuple[torch.Tensor, torch.Tensor]:
    images = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return backbone.lower(images, 8), torch.tensor([0, 1, 2])


def made(backbone, mode) -> TunedNetwork:
    torch.manual_seed(0)
    return TunedNetwork(UpperConvolutions(backbone, 2), make_head(mode, 4, None, (0.5, 0.5, 0.5)), None)


def test_norms_are_those_of_a_network_in_which_the_other_way_is_cut(backbone):
    """identity adds the tap: with main a constant all gradient is the skip's, and the other way round."""
    model, (x, target) = made(backbone, "identity"), probe(backbone)
    found = gradient_figures(model, x, target)
    model.eval()
    for way in ("main", "skip"):
        main, tap = model.upper(x)
        joined = main.detach() + tap if way == "skip" else main + tap.detach()
        loss = F.cross_entropy(model.trained.head(joined), target)
        kernels = model.upper.kernels
        expected = torch.autograd.grad(loss, list(kernels.values()), allow_unused=True)
        for name, gradient in zip(kernels, expected, strict=True):
            key = f"layer{name}_gradient_{way}"
            if gradient is None:
                assert (key in found, name, way) == (False, "10", "skip")
            else:
                assert found[key] == pytest.approx(float(gradient.norm()), rel=1e-4)


def test_without_a_skip_there_is_one_way(backbone):
    assert set(gradient_figures(made(backbone, "none"), *probe(backbone))) == {
        "layer8_gradient_main", "layer10_gradient_main",
    }  # fmt: skip


def test_measuring_draws_no_number_leaves_no_gradient_and_the_model_in_training(backbone):
    model, state = made(backbone, "conv").train(), torch.get_rng_state()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = gradient_figures(model, *probe(backbone))
    assert model.training
    assert torch.equal(state, torch.get_rng_state())
    assert all(p.grad is None for p in model.parameters())
    assert found == pytest.approx(gradient_figures(model, *probe(backbone)), rel=1e-5), "in fp32, whatever is around"


def test_what_moved_is_told_as_a_part_of_what_was_there(backbone):
    model = made(backbone, "none")
    assert moved(model, backbone) == {"layer8_moved": 0.0, "layer10_moved": 0.0}
    with torch.no_grad():
        model.upper.kernels["10"].mul_(1.25)
    assert moved(model, backbone) == {"layer8_moved": 0.0, "layer10_moved": pytest.approx(0.25, rel=1e-5)}
