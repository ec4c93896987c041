"""Where in an image a network looks: Grad-CAM (Selvaraju et al. 2017, arXiv:1610.02391)."""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from alexnet_skip.network.fp32_products import fp32_products
from alexnet_skip.network.model import AlexNetWithSkip

# What is looked at, by the index of its convolution in torchvision's `features`: the last, and the one that is tapped.
LAYERS = {"last": "10", "tap": "8"}


class GradCam(NamedTuple):
    """What a network says of images, and where it looks for it.

    Attributes:
        logits: (B, num_classes).
        maps: of each of ``LAYERS`` (B, 13, 13), 0 or more, the largest value of an image 1 (0 where all are).
    """

    logits: Tensor
    maps: dict[str, Tensor]


def grad_cam(network: AlexNetWithSkip, images: Tensor, classes: Tensor | None = None) -> GradCam:
    """Grad-CAM of a network's last convolution and of the convolution that the skip taps.

    The maps of a layer's output, before its ReLU, are weighted by the mean gradient of the class's logit with respect
    to them, summed, and what speaks against the class is left out. With a skip connection the gradient reaches the tap
    by two ways, without one by the last convolution alone. Plain convolutions in fp32, since those that are fast on
    CPUs have no gradient; one view of each image.

    Args:
        images: uint8 (B, H, W, 3).
        classes: whose logit is explained (B,); the predicted one if None.
    """
    backbone = network.backbone
    outputs: dict[str, Tensor] = {}

    def kept(name: str) -> Callable[[Tensor], Tensor]:
        def layer(x: Tensor) -> Tensor:
            outputs[name] = backbone.features[name](x).requires_grad_()
            # A copy: what follows may work in place.
            return outputs[name].clone()

        return layer

    layers: dict[str, Callable[[Tensor], Tensor]] = {
        name: kept(name) if name in LAYERS.values() else layer for name, layer in backbone.features.items()
    }
    device = images.device.type
    # What the network does in place, it does to what gradients are computed from.
    in_place = torch.autograd.graph.allow_mutation_on_saved_tensors()
    with torch.enable_grad(), torch.autocast(device, enabled=False), fp32_products(device), in_place:
        main, tap = backbone.convolutions(backbone.first_convolution(backbone.normalise(images)), layers)
        logits = network.trained(main.flatten(1), tap.flatten(1))
        wanted = logits.argmax(1) if classes is None else classes
        score = logits.gather(1, wanted[:, None]).sum()
        gradients = torch.autograd.grad(score, [outputs[name] for name in LAYERS.values()])
    maps = {}
    for (layer, name), gradient in zip(LAYERS.items(), gradients, strict=True):
        seen = (gradient.mean((2, 3), keepdim=True) * outputs[name].detach()).sum(1).relu()
        maps[layer] = seen / seen.amax((1, 2), keepdim=True).clamp_min(torch.finfo(seen.dtype).tiny)
    return GradCam(logits.detach(), maps)
