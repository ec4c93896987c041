"""Speed of one training step of the head, per image, against the report's and against this machine's limits.

    python -m benchmarks.head_step --dataset FOLDER --weights FILE [--quick]

All take features of the same images. `report`: 9216 → 4096 → 1024 → classes, plain Adam, batch 32, the features already
in memory as fp32 (its convolutions are not counted). Ours: the engine's own steps at the default settings, from fp16
rows, per skip mode. `fraction_of_bound`: the time that the step's products would take at the fastest fp32 product of
the same round, and the optimizer's traffic at the bandwidth of a large copy, over the time it took. `bf16_gain`: our
fp32 step over the same step with the head in bf16, where the processor has that natively. The last line is one JSON
object.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from alexnet_skip.devices.self_test import multiplies_bf16
from alexnet_skip.features.basis import RANK, SkipHeadInBasis, fit_basis, joined_in_basis
from alexnet_skip.features.cache import compute_features
from alexnet_skip.features.coordinates import CoordinateSource
from alexnet_skip.features.source import CachedFeatures
from alexnet_skip.images.file import read_image
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.layers import FEATURE_SHAPE
from alexnet_skip.network.weights import load_weights
from alexnet_skip.settings.shared import SkipMode
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.system.machine import keep_freed_memory
from alexnet_skip.training.optimization import Optimization, epoch_batches, make_optimizer
from benchmarks.command_line import benchmark_parser, machine, print_result
from benchmarks.extract_throughput import CHANNELS, QUICK_CHANNELS, products
from benchmarks.report_loop import BATCH_SIZE, LEARNING_RATE, list_training_images, report_head
from benchmarks.timing import interleave, ratio_summary

MODES: tuple[SkipMode, ...] = ("none", "identity", "conv", "concat")
COPY_FLOATS = 2**25
# AdamW reads weight, gradient and two moments and writes three; the gradient is written once, the weight read by both
# passes over the layers: ten times the parameters' bytes in every step.
TRAFFIC_PER_PARAMETER = 10 * 4


def report_step(features: torch.Tensor, labels: torch.Tensor, num_classes: int, steps: int) -> Callable[[], None]:
    """Some steps of the report's head."""
    head, loss_function = report_head(num_classes), nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(head.parameters(), lr=LEARNING_RATE)

    def run() -> None:
        for start in range(0, steps * BATCH_SIZE, BATCH_SIZE):
            optimizer.zero_grad()
            loss = loss_function(head(features[start : start + BATCH_SIZE]), labels[start : start + BATCH_SIZE])
            loss.backward()
            optimizer.step()
            loss.item()

    return run


class HeadInBf16(SkipHeadInBasis):
    """The head as Accelerate prepares it for bf16: one process can't have an Accelerator of each precision."""

    def forward(self, coordinates: Tensor, tap: Tensor | None = None) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = super().forward(coordinates, tap)
        return logits.float()


def our_steps(
    arrays: dict[str, np.ndarray], labels: torch.Tensor, num_classes: int, mode: SkipMode, settings: TrainSettings,
    head: type[SkipHeadInBasis] = SkipHeadInBasis,
) -> tuple[Callable[[], None], int, int]:  # fmt: skip
    """One epoch of ours on all rows; floating-point operations of it, and parameters."""
    options, num_images = settings.training, len(labels)
    main, tap = (torch.from_numpy(arrays[name]).float() for name in ("main", "tap"))
    joined = joined_in_basis(mode)(main, tap)
    basis = fit_basis(lambda: [joined], options.pca_basis, seed=0)
    device = torch.device("cpu")
    rows = CoordinateSource(CachedFeatures([(arrays["main"], arrays["tap"])], device), mode, basis)
    coordinates = rows.fetch(np.arange(num_images))[0].half().numpy()
    source = CachedFeatures([(coordinates, arrays["tap"] if mode == "conv" else None)], device)
    model = head(mode, num_classes, basis, options.dropout)
    optimizer, scheduler = make_optimizer(settings, model, 1_000_000)
    training = Optimization(
        model, optimizer, scheduler, source, labels, Accelerator(cpu=True), label_smoothing=options.label_smoothing
    )

    def run() -> None:
        batches = epoch_batches(np.arange(num_images), num_images, options.batch_size, 0, 1, mirrored=False)
        training.begin_epoch((0, 1), -(-num_images // options.batch_size))
        for rows in batches:
            training.step(rows)
        training.epoch_figures()

    k = basis.projection.shape[1]
    first = 2 * k * 4096 * (3 if mode == "conv" else 2)  # nothing asks for the gradient of fixed coordinates
    flop = first + 3 * 2 * (4096 * 1024 + 1024 * num_classes)
    if mode == "conv":
        channels, places = FEATURE_SHAPE[0], FEATURE_SHAPE[1] * FEATURE_SHAPE[2]
        # The tap to its rank, that to coordinates; and once a step the axes that it is brought there by.
        flop += 2 * RANK * (2 * places * channels + 3 * places * k)
        flop += 2 * 2 * RANK * k * places * channels // options.batch_size
    return run, flop * num_images, sum(p.numel() for p in model.parameters())


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all in turn; returns ratios of time per image."""
    num_images, repeats, report_steps = (8, 1, 1) if arguments.quick else (2048, arguments.repeats, 8)
    keep_freed_memory()  # as launch.start() does; it is for the whole process, so the report's step gains by it too
    paths, labels = list_training_images(arguments.dataset)
    settings = TrainSettings().for_images(len(paths))
    paths, labels = paths[:num_images], labels[:num_images]
    backbone = FrozenAlexNet(load_weights(arguments.weights).state)
    arrays = compute_features(backbone, np.stack([read_image(path, None) for path in paths]), ["main", "tap"])
    targets, num_classes = torch.tensor(labels), len(set(labels))
    batch_steps = min(report_steps, max(1, len(paths) // BATCH_SIZE))
    copied = torch.empty(COPY_FLOATS)
    source = torch.rand(COPY_FLOATS)
    contestants: dict[str, Callable[[], object]] = {
        "report": report_step(torch.from_numpy(arrays["main"]).float(), targets, num_classes, batch_steps),
        "copy": lambda: copied.copy_(source),
    }
    candidates = products(QUICK_CHANNELS if arguments.quick else CHANNELS)
    contestants |= {name: function for name, (function, _) in candidates.items()}
    ours = {mode: our_steps(arrays, targets, num_classes, mode, settings) for mode in MODES}
    contestants |= {f"ours {mode}": run for mode, (run, _, _) in ours.items()}
    # Emulated it takes minutes: of the quick form one is enough to see that it runs.
    for mode in MODES[:1] if arguments.quick else MODES if multiplies_bf16() else ():
        run, _, _ = our_steps(arrays, targets, num_classes, mode, settings, HeadInBf16)
        contestants[f"ours {mode} in bf16"] = run
    # Ours as launch.start() sets it, the report's as torch comes.
    matmul = {name: "medium" if name.startswith(("ours", "linear")) else "highest" for name in contestants}

    def at_its_setting(name: str) -> Callable[[], None]:
        def run() -> None:
            torch.set_float32_matmul_precision(matmul[name])
            contestants[name]()

        return run

    seconds = interleave({name: at_its_setting(name) for name in contestants}, repeats)
    result: dict[str, Any] = {"benchmark": "head_step", "num_images": len(paths), "repeats": repeats}
    report = [s / (batch_steps * BATCH_SIZE) for s in seconds["report"]]
    num_steps = -(-len(paths) // settings.training.batch_size)
    for mode, (_, flop, parameters) in ours.items():
        image = [s / len(paths) for s in seconds[f"ours {mode}"]]
        bound = [
            (
                flop * min(seconds[name][i] / work for name, (_, work) in candidates.items())
                + num_steps * parameters * TRAFFIC_PER_PARAMETER * seconds["copy"][i] / (2 * 4 * COPY_FLOATS)
            )
            / len(paths)
            for i in range(repeats)
        ]
        result[f"ratio_{mode}"] = ratio_summary(report, image)
        result[f"fraction_of_bound_{mode}"] = ratio_summary(bound, image)
        result[f"microseconds_{mode}"] = round(1e6 * min(image), 1)
        if in_bf16 := seconds.get(f"ours {mode} in bf16"):
            result[f"bf16_gain_{mode}"] = ratio_summary(seconds[f"ours {mode}"], in_bf16)
    result["microseconds_report"] = round(1e6 * min(report), 1)
    return result | {"batch_size": settings.training.batch_size, "pca_basis": settings.training.pca_basis} | machine()


def main(argv: Sequence[str] | None = None) -> int:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--repeats", type=int, default=7, help="timed rounds")
    print_result(measure(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
