"""Speed of our feature extraction against the report's way, torchvision's AlexNet, and the machine's limit.

    python -m benchmarks.extract_throughput --dataset FOLDER --weights FILE [--quick]

All run on the same images, in turn. `report`: PIL resize in a DataLoader with 2 workers, batch 32, plain forward;
against it we read the files too. `torchvision`: `features` on images already in memory, resized as tensors, at the
batch size and memory format that this run finds best. `bound`: the share of the fastest matrix product or convolution
measured here that our extraction reaches, counting the 1.31 GFLOP of the plain network, whatever we saved of them.
The last line is one JSON object.
"""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader
from torchvision.models import alexnet

from alexnet_skip.features.cache import compute_features
from alexnet_skip.images.file import read_image
from alexnet_skip.network.backbone import (
    CONVOLUTIONS,
    IMAGE_SIZE,
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    FrozenAlexNet,
)
from alexnet_skip.network.weights import load_weights
from benchmarks.command_line import benchmark_parser, machine, print_result
from benchmarks.report_loop import BATCH_SIZE, NUM_WORKERS, ReportImages, list_training_images
from benchmarks.timing import interleave, ratio_summary

OUTPUT_SIZES = {0: 55, 3: 27, 6: 13, 8: 13, 10: 13}  # of each convolution, for images of 224×224
FLOP_PER_IMAGE = sum(
    2 * OUTPUT_SIZES[i] ** 2 * out * inputs * kernel**2 for i, (inputs, out, kernel, _, _) in CONVOLUTIONS.items()
)
CHANNELS, QUICK_CHANNELS = 512, 64  # of the products that the bound is found by
BLOCK_ROWS = 512  # images in one call of ours, as when a cache is built


def torchvision_pass(features: nn.Module, images: Tensor, batch_size: int, memory_format: torch.memory_format) -> None:
    """Normalised while small, then resized: the faster order, and the same result."""
    mean, std = (torch.tensor(v).view(3, 1, 1) * 255 for v in (IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD))
    for batch in images.split(batch_size):
        pixels = (batch.permute(0, 3, 1, 2).float() - mean) / std
        pixels = F.interpolate(
            pixels, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=max(pixels.shape[2:]) > IMAGE_SIZE
        )
        features(pixels.contiguous(memory_format=memory_format))


def our_pass(backbone: FrozenAlexNet, images: np.ndarray) -> None:
    for start in range(0, len(images), BLOCK_ROWS):
        compute_features(backbone, images[start : start + BLOCK_ROWS], ["main", "tap"])


def products(channels: int) -> dict[str, tuple[Callable[[], object], int]]:
    """Candidates for this machine's fastest fp32 product, with their floating-point operations.

    Args:
        channels: of the convolutions; the matrices are as large in proportion.
    """
    torch.set_float32_matmul_precision("highest")
    a, b = torch.randn(2 * channels, 4 * channels), torch.randn(4 * channels, 4 * channels)
    layout = torch.channels_last
    x = torch.randn(16, channels, 16, 16).contiguous(memory_format=layout)
    narrow, wide = (torch.randn(channels, channels, k, k).contiguous(memory_format=layout) for k in (1, 3))
    pixels = 16 * 16 * 16
    return {
        "linear": (lambda: F.linear(a, b), 2 * 2 * 4 * 4 * channels**3),
        "conv 1x1": (lambda: F.conv2d(x, narrow), 2 * pixels * channels**2),
        "conv 3x3": (lambda: F.conv2d(x, wide, padding=1), 2 * pixels * channels**2 * 9),
    }


def measure(
    paths: Sequence[Path], labels: Sequence[int], weights: str, repeats: int, batch_sizes: Sequence[int], channels: int
) -> dict[str, object]:
    """Run all rivals on these image files.

    Returns:
        Ratios (median, smallest, largest), the fraction of the bound, and what they were measured with.
    """
    state = load_weights(weights).state
    backbone = FrozenAlexNet(state)
    # As our loader does: images of one size are resized on the device, others as they are read.
    size = None if len({read_image(path, None).shape for path in paths}) == 1 else IMAGE_SIZE
    images = np.stack([read_image(path, size) for path in paths])
    tensors = torch.from_numpy(images)

    def networks(memory_format: torch.memory_format) -> nn.Module:
        features = alexnet().features.eval()
        features.load_state_dict(state)
        return features.to(memory_format=memory_format)

    formats = {name: getattr(torch, name) for name in ("contiguous_format", "channels_last")}
    plain = {name: networks(value) for name, value in formats.items()}
    candidates = {
        (size, name): lambda size=size, name=name: torchvision_pass(plain[name], tensors, size, formats[name])
        for size, name in itertools.product(batch_sizes, formats)
    }
    search = interleave({f"{size} {name}": run for (size, name), run in candidates.items()}, 1 if repeats < 3 else 2)
    best = min(search, key=lambda key: min(search[key]))
    best_size, best_format = best.split()

    # Workers start once and stay, as in a long training.
    loader = DataLoader(
        ReportImages(paths, labels), batch_size=BATCH_SIZE, num_workers=NUM_WORKERS, persistent_workers=NUM_WORKERS > 0
    )

    def report() -> None:
        for batch, _ in loader:
            plain["contiguous_format"](batch)

    def ours_from_files() -> None:
        our_pass(backbone, np.stack([read_image(path, size) for path in paths]))

    bounding = products(channels)
    product_flop = {name: flop for name, (_, flop) in bounding.items()}
    seconds = interleave(
        {
            "report": report,
            "ours from files": ours_from_files,
            "torchvision": candidates[int(best_size), best_format],
            "ours": lambda: our_pass(backbone, images),
            **{name: function for name, (function, _) in bounding.items()},
        },
        repeats,
    )
    bound = [  # seconds an image would take at the fastest product of the same round
        FLOP_PER_IMAGE * len(paths) * min(seconds[name][i] / flop for name, flop in product_flop.items())
        for i in range(repeats)
    ]
    return {
        "benchmark": "extract_throughput",
        "ratio_report": ratio_summary(seconds["report"], seconds["ours from files"]),
        "ratio_torchvision": ratio_summary(seconds["torchvision"], seconds["ours"]),
        "fraction_of_bound": ratio_summary(bound, seconds["ours"]),
        "images_per_second": round(len(paths) / min(seconds["ours"]), 1),
        "torchvision_at": {"batch_size": int(best_size), "memory_format": best_format},
        "fastest_product": min(product_flop, key=lambda name: min(seconds[name]) / product_flop[name]),
        "num_images": len(paths),
        "repeats": repeats,
    } | machine()


def main(argv: Sequence[str] | None = None) -> int:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--images", type=int, default=1024, help="images of each timed pass")
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds")
    arguments = parser.parse_args(argv)
    paths, labels = list_training_images(arguments.dataset)
    if not paths:
        parser.error(f"--dataset: no images in {arguments.dataset / 'train'}/<class>/")
    with torch.inference_mode():
        if arguments.quick:
            result = measure(paths[:8], labels[:8], arguments.weights, 1, (4,), QUICK_CHANNELS)
        else:
            chosen = slice(arguments.images)
            batch_sizes = (16, 32, 64, 128)
            result = measure(paths[chosen], labels[chosen], arguments.weights, arguments.repeats, batch_sizes, CHANNELS)
    print_result(result)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
