"""How long a training would take, from about a second of the real work on this machine as it is now."""

import torch
from accelerate import Accelerator

from alexnet_skip.features.basis import ITERATIONS
from alexnet_skip.features.coordinates import BASIS_ROWS
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.weights import load_weights
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.upkeep import memory, speed_probe
from alexnet_skip.upkeep.inventory import Images
from alexnet_skip.upkeep.lacking import Lacking
from alexnet_skip.upkeep.remaining import Remaining


def expected_seconds(
    settings: TrainSettings, remaining: Remaining, images: Images, lacking: Lacking, num_train: int,
    accelerator: Accelerator,
) -> dict[str, float]:  # fmt: skip
    """Seconds of each part of a training, over all the runs that are left.

    Without predictions from cached features, which take moments.
    """
    processes, num_val = accelerator.num_processes, images.num_val(num_train)
    backbone = FrozenAlexNet(load_weights("random").state).to(accelerator.device)
    extraction = processes * speed_probe.extraction_rate(backbone, images.image_size, accelerator.device)
    passes = lacking.features.missing_images if settings.cache.cache else _live_passes(remaining, num_train, num_val)
    parts = {"extract": passes / extraction, "train": 0.0}
    for mode in dict.fromkeys(run.settings.joined for run in remaining.runs):
        of_mode = [run for run in remaining.runs if run.settings.joined == mode]
        if epochs := sum(run.epochs for run in of_mode):
            rate = processes * speed_probe.training_rate(of_mode[0].settings, images.num_classes, accelerator)
            parts["train"] += epochs * num_train / rate
        if epochs := sum(run.finetune_epochs for run in of_mode):
            rate = processes * speed_probe.tuning_rate(of_mode[0].settings, backbone, images, accelerator)
            parts["fine-tune"] = parts.get("fine-tune", 0.0) + epochs * (num_train / rate + num_val / extraction)
    if lacking.bases:
        fit, projections = _basis_operations(settings, images, lacking, num_train)
        # Fitted on the CPU, whatever the device (features.coordinates).
        parts["basis"] = fit / speed_probe.multiplication_rate(torch.device("cpu"))
        if projections:
            parts["basis"] += projections / speed_probe.multiplication_rate(accelerator.device)
    # Of convolutions that were trained, no features are kept.
    live = [epoch for epoch in remaining.judged if epoch > settings.training.epochs or not settings.cache.cache]
    if live:
        num_judged = images.sizes.get(images.judged_split[0], num_val)
        parts["evaluate"] = len(live) * num_judged / extraction
    return parts


def _live_passes(remaining: Remaining, num_train: int, num_val: int) -> int:
    """Images through the convolutions where no features are kept."""
    fitted = min(BASIS_ROWS, num_train)
    return sum(
        run.epochs * (num_train + num_val) + (fitted if run.settings.training.pca_basis else 0)
        for run in remaining.runs
    )


def _basis_operations(settings: TrainSettings, images: Images, lacking: Lacking, num_train: int) -> tuple[int, int]:
    """Multiplications and additions of fitting bases, and of projecting all images where coordinates are kept."""
    options = settings.training
    fitted = (2 * ITERATIONS + 1) * min(BASIS_ROWS, num_train)  # two products a pass, the last has one
    projected = (2 if options.hflip else 1) * images.sizes["train"] if settings.cache.cache else 0
    each = sum(2 * memory.joined_width(mode) * options.pca_basis for mode in lacking.bases)
    return fitted * each, projected * each
