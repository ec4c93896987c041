"""Upper convolutions that learn: torchvision's numbers and gradients, and nothing below them moves."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.models import alexnet

from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.upper import UPPER, UpperConvolutions, layers_that_differ, reinitialise, with_upper
from alexnet_skip.network.weights import load_weights

TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def backbone() -> FrozenAlexNet:
    return FrozenAlexNet(load_weights("random").state)


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def torchvisions(backbone: FrozenAlexNet) -> torch.nn.Sequential:
    features = alexnet().features.eval()
    features.load_state_dict(backbone.torchvision_state())
    for layer in features:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False  # the tap is looked at after the next layer
    return features


def resized(backbone: FrozenAlexNet, images: Tensor) -> Tensor:
    return F.interpolate(backbone.normalise(images), (224, 224), mode="bilinear")


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_lower_and_upper_layers_make_torchvisions_features(backbone, images, num_layers):
    upper, features = UpperConvolutions(backbone, num_layers), torchvisions(backbone)
    below = backbone.lower(images, upper.cut)
    pixels = resized(backbone, images)
    # The input of the layer, but for the last: its own ReLU comes first.
    assert (below - features[: upper.cut - (upper.cut == 10)](pixels)).abs().max() <= TOLERANCE
    assert not below.requires_grad
    main, tap = upper(below)
    assert (main - features(pixels).flatten(1)).abs().max() <= TOLERANCE
    assert (tap - F.adaptive_avg_pool2d(features[:9](pixels), 6).flatten(1)).abs().max() <= TOLERANCE


@pytest.mark.parametrize("num_layers", [1, 2, 3])
def test_gradients_are_those_of_plain_autograd_through_torchvisions_alexnet(backbone, images, num_layers):
    upper, features = UpperConvolutions(backbone, num_layers), torchvisions(backbone)
    generator = torch.Generator().manual_seed(1)
    for_main, for_tap = torch.randn(2, len(images), 9216, generator=generator)
    # The same inputs for both, and fp64: a value that rounds to another side of a ReLU moves a gradient by itself.
    below = backbone.lower(images, upper.cut).double()
    upper, features = upper.double(), features.double()
    main, tap = upper(below)
    ((main * for_main).sum() + (tap * for_tap).sum()).backward()
    x = features[upper.cut : 9](below)
    told = (features[9:](x).flatten(1) * for_main).sum() + (F.adaptive_avg_pool2d(x, 6).flatten(1) * for_tap).sum()
    told.backward()
    assert sorted(upper.kernels) == sorted(str(i) for i in UPPER[-num_layers:])
    for name, kernel in upper.kernels.items():
        theirs = features[int(name)].weight.grad
        assert (kernel.grad - theirs).norm() <= 1e-6 * theirs.norm()  # the features behind them are cast to fp32


def test_the_backbone_stays_as_it_is_while_its_copies_learn(backbone, images):
    before = {name: value.clone() for name, value in backbone.torchvision_state().items()}
    upper = UpperConvolutions(backbone, 3)
    optimizer = torch.optim.SGD(upper.parameters(), lr=0.1)
    sum(part.sum() for part in upper(backbone.lower(images, upper.cut))).backward()
    optimizer.step()
    assert all(torch.equal(before[name], value) for name, value in backbone.torchvision_state().items())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    trained = with_upper(backbone, upper.layers.state_dict())
    assert layers_that_differ(trained, backbone) == (6, 8, 10)
    with torch.no_grad():
        for ours, theirs in zip(trained(images), upper(backbone.lower(images, 6)), strict=True):
            assert (ours.flatten(1) - theirs).abs().max() <= TOLERANCE * theirs.abs().max()


def test_parameters_lie_in_plain_order_as_moments_from_a_checkpoint_do(backbone):
    """Fused optimizers go through both number by number as they lie."""
    assert not backbone.features["8"].weight.is_contiguous(), "or there is nothing to see to"
    assert all(kernel.is_contiguous() for kernel in UpperConvolutions(backbone, 3).kernels.values())


def test_only_layers_of_other_values_differ(backbone):
    state = {"8.bias": backbone.torchvision_state()["8.bias"] + 1}
    assert layers_that_differ(with_upper(backbone, state), backbone) == (8,)
    assert layers_that_differ(with_upper(backbone, {}), backbone) == ()


def test_fresh_values_are_the_same_for_a_seed_and_draw_no_number_of_the_run(backbone, monkeypatch):
    # A card's dropout goes on with its own numbers, too.
    monkeypatch.setattr(torch.cuda, "manual_seed_all", pytest.fail)
    kernels = []
    for seed in (1, 1, 2):
        upper, before = UpperConvolutions(backbone, 2), torch.get_rng_state()
        reinitialise(upper, seed)
        assert torch.equal(before, torch.get_rng_state())
        kernels.append(upper.kernels)
    assert all(torch.equal(kernels[0][name], kernels[1][name]) for name in ("8", "10"))
    assert not any(torch.equal(kernels[0][name], kernels[2][name]) for name in ("8", "10"))
    assert not torch.equal(kernels[0]["8"], backbone.torchvision_state()["8.weight"])


@pytest.mark.parametrize(("precision", "same"), [(torch.float16, True), (torch.bfloat16, False)])
def test_convolutions_never_run_in_fp16_and_in_bf16_where_that_is_the_precision(backbone, images, precision, same):
    upper = UpperConvolutions(backbone, 1)
    below = backbone.lower(images, upper.cut)
    plain, _ = upper(below)
    with torch.autocast("cpu", precision):
        main, _ = upper(below)
    assert main.dtype == torch.float32
    assert torch.equal(main, plain) == same
    assert (main - plain).norm() < 0.02 * plain.norm()


def test_lower_layers_in_bf16_are_near_those_in_fp32(backbone, images):
    exact, rounded = backbone.lower(images, 6), backbone.lower(images, 6, bf16=True)
    assert rounded.dtype == torch.float32
    assert 0 < (rounded - exact).norm() < 0.02 * exact.norm()
