"""Speed of the convolutions in a step of the second stage, against torchvision's AlexNet trained the plain way.

    python -m benchmarks.finetune_step --dataset FOLDER --weights FILE [--layers 3] [--quick]

Both take the same batch of uint8 images and give the upper convolutions' gradients of a weighted sum of their features.
`plain`: torchvision's `features` in channels_last memory, the faster one on CPUs, on images resized to 224×224,
lower layers frozen and without gradient. `upper`: what is above them alone. The head is in
`head_step`. Both in fp32. The last line is one JSON object.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import alexnet

from alexnet_skip.images.file import read_image
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.layers import FEATURE_SHAPE, TAP_LAYER
from alexnet_skip.network.upper import UpperConvolutions
from alexnet_skip.network.weights import load_weights
from alexnet_skip.system.machine import keep_freed_memory
from benchmarks.command_line import benchmark_parser, machine, print_result
from benchmarks.report_loop import list_training_images
from benchmarks.timing import interleave, ratio_summary

BATCH_SIZE = 128


def plain_layers(backbone: FrozenAlexNet, cut: int) -> nn.Sequential:
    """torchvision's AlexNet with the backbone's weights, frozen below a layer."""
    features = alexnet().features
    features.load_state_dict(backbone.torchvision_state())
    for layer in features:
        if isinstance(layer, nn.ReLU):
            layer.inplace = False  # the skip taps what comes before it
    features[:cut].requires_grad_(False)
    return features.to(memory_format=torch.channels_last)


def plain_upper(layers: nn.Sequential, x: Tensor, cut: int) -> tuple[Tensor, Tensor]:
    """Features and tap of what the layers below ``cut`` make of images."""
    before = layers[cut : TAP_LAYER + 1](x) if cut <= TAP_LAYER else x
    tap = F.adaptive_avg_pool2d(before, FEATURE_SHAPE[1:])
    return layers[TAP_LAYER + 1 :](before), tap


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run both in turn; returns ratios of time."""
    batch_size, repeats = (4, 1) if arguments.quick else (BATCH_SIZE, arguments.repeats)
    keep_freed_memory()  # as launch.start() does; it is for the whole process, so the plain way gains by it too
    paths, _ = list_training_images(arguments.dataset)
    images = torch.from_numpy(np.stack([read_image(path, None) for path in paths[:batch_size]]))
    backbone = FrozenAlexNet(load_weights(arguments.weights).state)
    upper = UpperConvolutions(backbone, arguments.layers)
    # The last one's input is taken before its ReLU, where the skip taps it.
    cut = upper.cut - (upper.cut == TAP_LAYER + 2)
    layers = plain_layers(backbone, cut)
    weights = torch.randn(2, len(images), 9216, generator=torch.Generator().manual_seed(0))

    def backward(features: tuple[Tensor, Tensor], module: nn.Module) -> None:
        main, tap = features
        module.zero_grad()
        ((main.flatten(1) * weights[0]).sum() + (tap.flatten(1) * weights[1]).sum()).backward()

    def plain_lower() -> Tensor:
        with torch.no_grad():
            pixels = F.interpolate(backbone.normalise(images), (224, 224), mode="bilinear")
            return layers[:cut](pixels.contiguous(memory_format=torch.channels_last))

    below = plain_lower()
    contestants: dict[str, Callable[[], None]] = {
        "plain": lambda: backward(plain_upper(layers, plain_lower(), cut), layers),
        "ours": lambda: backward(upper(backbone.lower(images, upper.cut)), upper),
        "plain upper": lambda: backward(plain_upper(layers, below, cut), layers),
        "ours upper": lambda: backward(upper(below), upper),
    }
    seconds = interleave(contestants, repeats)
    return {
        "benchmark": "finetune_step",
        "num_images": len(images),
        "layers": arguments.layers,
        "repeats": repeats,
        "ratio": ratio_summary(seconds["plain"], seconds["ours"]),
        "ratio_upper": ratio_summary(seconds["plain upper"], seconds["ours upper"]),
        "images_per_second": round(len(images) / min(seconds["ours"]), 1),
        "images_per_second_plain": round(len(images) / min(seconds["plain"]), 1),
    } | machine()


def main(argv: Sequence[str] | None = None) -> int:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--layers", type=int, default=3, choices=(1, 2, 3), help="convolutions that learn")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds")
    print_result(measure(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
