"""How much of the gradient comes to each convolution, and on which way: what the skip connection is about."""

import torch
from torch import Tensor
from torch.nn import functional as F

from alexnet_skip.features.tuned import TunedNetwork, Way
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.fp32_products import fp32_products


def gradient_figures(model: TunedNetwork, x: Tensor, target: Tensor) -> dict[str, float]:
    """Norms of the gradient of the cross-entropy with respect to each convolution's kernels, by the way it came.

    The gradient is the sum of two: the one that goes through the last convolution (``main``), and the one that goes
    through the skip connection (``skip``). Each is what is left when the other way is cut (``detach``); without dropout
    and in fp32, TF32 off.

    Args:
        x: inputs of the upper convolutions (:meth:`FrozenAlexNet.lower`).
        target: classes (B,).

    Returns:
        ``layer6_gradient_main``, ``layer6_gradient_skip`` and so on; nothing of a way that does not reach a layer.
    """
    layers = model.upper.kernels
    ways: dict[str, Way] = {"main": "main"}
    if model.mode != "none":
        ways["skip"] = "tap"
    was_training, figures = model.training, {}
    model.eval()
    with fp32_products(x.device.type), torch.autocast(x.device.type, enabled=False), torch.enable_grad():
        for told, way in ways.items():
            loss = F.cross_entropy(model.logits_through(x, way), target)
            gradients = torch.autograd.grad(loss, list(layers.values()), allow_unused=True)
            for name, gradient in zip(layers, gradients, strict=True):
                if gradient is not None:
                    figures[f"layer{name}_gradient_{told}"] = float(torch.linalg.vector_norm(gradient))
    model.train(was_training)
    return figures


def moved(model: TunedNetwork, backbone: FrozenAlexNet) -> dict[str, float]:
    """How far each convolution's kernels are from the backbone's, as a part of their norm: ``layer6_moved``, …"""
    figures, frozen = {}, backbone.features.state_dict()
    for name, after in model.upper.kernels.items():
        before = frozen[f"{name}.weight"]
        figures[f"layer{name}_moved"] = float((after.detach() - before).norm() / before.norm())
    return figures
