"""Where a network looks is what Grad-CAM says of the published network itself."""

import pytest
import torch
from torch.nn import functional as F
from torchvision.models import alexnet

from alexnet_skip.network import head
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.grad_cam import LAYERS, grad_cam
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.model import AlexNetWithSkip
from alexnet_skip.network.weights import load_weights

MODES = ("none", "conv", "concat")


@pytest.fixture(scope="module")
def backbone() -> FrozenAlexNet:
    return FrozenAlexNet(load_weights("random").state)


def network(backbone: FrozenAlexNet, mode: str) -> AlexNetWithSkip:
    torch.manual_seed(0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(head, "HIDDEN_SIZES", (24, 12))
        trained = SkipHead(mode, 3)
    for name, value in trained.named_parameters():
        torch.nn.init.normal_(value, std=0.05 if "skip" in name else 0.02)
    return AlexNetWithSkip(backbone, trained, ("a", "b", "c"), (32, 32)).eval()


def plain_features(model: AlexNetWithSkip) -> torch.nn.Sequential:
    """The convolutions as torchvision has them, nothing in place."""
    features = alexnet(weights=None).eval().features
    features.load_state_dict(model.backbone.torchvision_state())
    for layer in features:
        if isinstance(layer, torch.nn.ReLU):
            layer.inplace = False
    return features


def by_hooks(model: AlexNetWithSkip, images: torch.Tensor, classes: torch.Tensor) -> dict[str, torch.Tensor]:
    """Grad-CAM by the book: torchvision's AlexNet with hooks, the skip added to it in plain lines."""
    features = plain_features(model)
    kept = {}

    def keep(name):
        def hook(layer, given, output):
            kept[name] = output
            output.retain_grad()

        return hook

    for name in LAYERS.values():
        features[int(name)].register_forward_hook(keep(name))
    pixels = F.interpolate(model.backbone.normalise(images), (224, 224), mode="bilinear").requires_grad_()
    main = features(pixels)
    tap = F.adaptive_avg_pool2d(kept["8"], 6)
    logits = model.trained(main.flatten(1), tap.flatten(1))
    logits[torch.arange(len(images)), classes].sum().backward()
    maps = {}
    for layer, name in LAYERS.items():
        seen = torch.einsum("bc,bchw->bhw", kept[name].grad.mean((2, 3)), kept[name]).clamp_min(0)
        maps[layer] = (seen / seen.flatten(1).max(1).values[:, None, None]).detach()
    return maps


@pytest.mark.parametrize("mode", MODES)
def test_it_is_that_of_torchvisions_network_with_hooks(backbone, mode):
    model = network(backbone, mode)
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    classes = torch.tensor([2, 0])
    found = grad_cam(model, images, classes)
    assert all(value.grad is None for value in model.parameters()), "nothing is left behind"
    expected = by_hooks(model, images, classes)
    with torch.no_grad():
        torch.testing.assert_close(found.logits, model(images), rtol=1e-4, atol=1e-4)
    for layer in LAYERS:
        assert found.maps[layer].shape == (2, 13, 13)
        torch.testing.assert_close(found.maps[layer], expected[layer], rtol=1e-3, atol=1e-3)


class Plain(torch.nn.Module):
    """The network in plain modules, as libraries that explain networks take it."""

    def __init__(self, model: AlexNetWithSkip) -> None:
        super().__init__()
        self.features = plain_features(model)
        self.trained = model.trained

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        tapped = self.features[:9](pixels)
        main = self.features[9:](tapped)
        return self.trained(main.flatten(1), F.adaptive_avg_pool2d(tapped, 6).flatten(1))


@pytest.mark.parametrize("mode", MODES)
def test_it_is_what_captum_finds(backbone, mode):
    attribution = pytest.importorskip("captum.attr", reason="no captum to compare with")
    model = network(backbone, mode)
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    classes = torch.tensor([1, 2])
    found, plain = grad_cam(model, images, classes), Plain(model)
    pixels = F.interpolate(model.backbone.normalise(images), (224, 224), mode="bilinear").requires_grad_()
    for layer, name in LAYERS.items():
        theirs = attribution.LayerGradCam(plain, plain.features[int(name)])
        seen = theirs.attribute(pixels, classes, relu_attributions=True).detach()[:, 0]
        expected = seen / seen.flatten(1).max(1).values[:, None, None]
        torch.testing.assert_close(found.maps[layer], expected, rtol=1e-3, atol=1e-3)


def test_the_skip_is_a_second_way_to_the_tap_and_none_to_the_last_convolution(backbone):
    """The same head without and with the tap added: what reaches the tap differs, by more than a factor."""
    plain, joined = network(backbone, "none"), network(backbone, "identity")
    joined.trained.load_state_dict(plain.trained.state_dict())
    images = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(2))
    one = torch.tensor([1])
    a, b = (grad_cam(model, images, one).maps["tap"] for model in (plain, joined))
    assert (a - b).abs().max() > 0.05


def test_each_class_is_looked_for_elsewhere_and_the_predicted_one_is_meant_if_none_is_named(backbone):
    model = network(backbone, "conv")
    images = torch.randint(0, 256, (3, 40, 30, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(3))
    said = grad_cam(model, images)
    predicted = said.logits.argmax(1)
    torch.testing.assert_close(grad_cam(model, images, predicted).maps["last"], said.maps["last"])
    other = grad_cam(model, images, (predicted + 1) % 3)
    assert (other.maps["last"] - said.maps["last"]).abs().max() > 0.1
    assert all(float(values.min()) >= 0 and float(values.max()) <= 1 for values in said.maps.values())
