"""Know before you go (--dry-run): what a command would use, need and take, and whether it would start."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from alexnet_skip.devices import launch
from alexnet_skip.devices.precision import Precision
from alexnet_skip.features.basis import ITERATIONS
from alexnet_skip.features.cache import array_names
from alexnet_skip.features.coordinates import BASIS_ROWS, PROJECT_ROWS
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network.backbone import NUM_FEATURES, FrozenAlexNet
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.weights import AlexNetWeights, load_weights
from alexnet_skip.runs.opened import OpenedRun, open_run
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.settings.train import BATCH_SIZE, TrainSettings
from alexnet_skip.system import machine
from alexnet_skip.system.console import Console, duration, size
from alexnet_skip.system.errors import UserError
from alexnet_skip.upkeep import inventory, speed_probe
from alexnet_skip.upkeep.inventory import CacheState, Images

# Parameter, gradient and AdamW's two moments, and the copy of the best epoch: fp32 each.
COPIES_IN_MEMORY, COPIES_IN_CHECKPOINT = 5, 4


@dataclass
class Plan:
    """What is told: rows for people, the same for programs, and what keeps the command from starting."""

    console: Console
    rows: list[list[str]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)

    def tell(self, what: str, text: str, **facts: Any) -> None:
        """Add a row, and its facts for programs."""
        self.rows.append([what, text])
        self.facts |= facts

    def tell_room(self, what: str, needed: int, free: int | None, way_out: str) -> None:
        """Add a row of room needed and free, and a problem where there is too little."""
        shown = "unknown" if free is None else size(free)
        name = what.replace(" ", "_")
        self.tell(what, f"{size(needed)} needed, {shown} free", **{f"{name}_needed": needed, f"{name}_free": free})
        if free is not None and needed > free:
            self.problems.append(f"{what}: {size(needed)} are needed, {size(free)} are free; {way_out}")

    def conclude(self, title: str) -> dict[str, Any]:
        """Print the table; returns the facts.

        Raises:
            UserError: if there is a problem.
        """
        self.console.table(title, ("what", "how it stands"), self.rows)
        if self.problems:
            raise UserError("this would not start: " + "; ".join(self.problems))
        self.console.line("This would start. Nothing was written.")
        return self.facts | {"would_start": True}


def _tell_machine(plan: Plan, accelerator: Accelerator, precision: Precision) -> None:
    device = accelerator.device
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{torch.get_num_threads()} thread(s)"
    plan.tell("device", f"{device} ({name}), {accelerator.num_processes} process(es)", device=str(device))
    plan.tell(
        "precision", f"{precision.mixed_precision}: {precision.reason}", precision=precision.mixed_precision,
        num_processes=accelerator.num_processes,
    )  # fmt: skip


def _tell_cache(plan: Plan, state: CacheState, folder: Path | None) -> None:
    if folder is None:
        plan.tell("feature cache", "not used (--no-cache): the convolutions run again for every batch")
        return
    known = f"{state.hits} of {state.blocks} blocks are there" if state.blocks else "nothing is there"
    plan.tell(
        "feature cache", f"{known}; {state.missing_images:,} image passes to extract ({folder})",
        cache_hits=state.hits, cache_blocks=state.blocks, images_to_extract=state.missing_images,
    )  # fmt: skip


def dry_run_training(settings: TrainSettings) -> tuple[dict[str, Any], bool]:
    """What ``train.py`` would do; returns the facts for programs, and whether this process prints them.

    Raises:
        UserError: if it would not start; says why.
    """
    accelerator, precision = launch.start(
        settings.training.mixed_precision,
        force_precision=settings.training.force_precision,
        batch_size=settings.training.batch_size or BATCH_SIZE,
    )
    plan = Plan(Console(settings.run.quiet, accelerator.is_main_process))
    _tell_machine(plan, accelerator, precision)

    # What it works on
    images = inventory.find_images(settings.data, Console(quiet=True))
    sizes = ", ".join(f"{name} {count:,}" for name, count in images.sizes.items())
    plan.tell("images", f"{images.name} ({images.place}): {sizes}; {images.num_classes} classes", dataset=images.name)
    told, weights = inventory.find_weights(settings.weights)
    plan.tell("weights", told, weights_here=weights is not None, images_here=images.dataset is not None)
    num_train = _num_train(images, settings.training.val_fraction)
    settings = settings.for_images(num_train)
    options, mode = settings.training, settings.joined

    # What it would write
    cache_dir = settings.cache.cache_dir if settings.cache.cache else None
    state = _cache_of_training(settings, images, weights)
    _tell_cache(plan, state, cache_dir)
    views, total = 2 if options.hflip else 1, images.sizes["train"]
    width = NUM_FEATURES * (2 if mode == "concat" else 1)
    coordinates = views * total * min(options.pca_basis, width) * 2 if options.pca_basis and cache_dir else 0
    if cache_dir:
        needed = state.missing_bytes + coordinates
        way_out = "choose another --cache-dir, --no-hflip, --limit-train or --no-cache"
        plan.tell_room("disk for the cache", needed, machine.free_disk_bytes(cache_dir), way_out)
    with torch.device("meta"):
        num_values = sum(p.numel() for p in SkipHead(mode, images.num_classes).parameters())
    kept = settings.checkpoints.keep_checkpoints + 1 if settings.checkpoints.checkpoint_minutes else 0
    needed = 4 * num_values * ((2 + len(settings.run.snapshot_epochs)) + kept * COPIES_IN_CHECKPOINT)
    free = machine.free_disk_bytes(settings.run.runs_dir)
    plan.tell_room("disk for the run", needed, free, "choose another --runs-dir or fewer --snapshot-epochs")
    _check_run_folder(plan, settings)

    height, side = images.image_size
    rows = min(PROJECT_ROWS if settings.cache.cache else BASIS_ROWS, num_train)
    fit = 2 * 4 * width * (rows + options.pca_basis) if options.pca_basis else 0
    needed = 4 * num_values * COPIES_IN_MEMORY + max(fit, sum(images.sizes.values()) * height * side * 3)
    plan.tell_room(
        "memory", needed, machine.free_memory_bytes(), "close other programs, or give a smaller --batch-size"
    )
    steps = -(-num_train // options.batch_size)
    plan.tell(
        "steps", f"{steps:,} an epoch of {options.batch_size} images, {options.epochs} epochs",
        steps_per_epoch=steps, batch_size=options.batch_size, epochs=options.epochs,
    )  # fmt: skip
    _tell_time(plan, settings, images, state, num_train, accelerator)
    return plan.conclude("train.py would do this"), accelerator.is_main_process


def _num_train(images: Images, val_fraction: float) -> int:
    """Images to train on; what is wrong with the split is said as the real run would."""
    if "val" in images.sizes or not val_fraction:
        return images.sizes["train"]
    if images.dataset is None:
        return images.sizes["train"] - round(images.sizes["train"] * val_fraction)
    return len(train_val_positions(images.dataset.splits["train"].labels, val_fraction)[0])


def _cache_of_training(settings: TrainSettings, images: Images, weights: AlexNetWeights | None) -> CacheState:
    names = array_names(settings.joined != "none", settings.training.hflip)
    total = images.sizes["train"]
    if images.dataset is None or weights is None:
        return inventory.nothing_cached(total, names)
    return inventory.look_into_cache_of(settings.cache.cache_dir, images, "train", weights.sha256, names)


def _check_run_folder(plan: Plan, settings: TrainSettings) -> None:
    runs_dir, name = settings.run.runs_dir, settings.run.name
    if not machine.writable(runs_dir):
        plan.problems.append(f"--runs-dir {runs_dir} can't be written; choose another folder")
    if name and (runs_dir / name).exists() and not settings.study.study and settings.checkpoints.resume is None:
        plan.problems.append(
            f"--name {name}: {runs_dir / name} exists already; choose another name or remove that folder"
        )


def _tell_time(
    plan: Plan, settings: TrainSettings, images: Images, state: CacheState, num_train: int, accelerator: Accelerator
) -> None:
    """Add the row of the expected time, from about a second of the real work on this machine as it is now."""
    options, processes = settings.training, accelerator.num_processes
    backbone = FrozenAlexNet(load_weights("random").state).to(accelerator.device)
    extraction = processes * speed_probe.extraction_rate(backbone, images.image_size, accelerator.device)
    training = processes * speed_probe.training_rate(settings, images.num_classes, accelerator)
    passes = state.missing_images if settings.cache.cache else options.epochs * num_train
    parts = {"extract": passes / extraction, "train": options.epochs * num_train / training}
    if options.pca_basis:
        product = 2 * NUM_FEATURES * options.pca_basis
        fitted = (2 * ITERATIONS + 1) * min(BASIS_ROWS, num_train)  # two products a pass, the last has one
        rows = fitted + (2 if options.hflip else 1) * images.sizes["train"]
        parts["basis"] = rows * product / speed_probe.multiplication_rate(accelerator.device)
    runs = len(settings.study.study_variants) * len(settings.study.seeds) if settings.study.study else 1
    parts["train"] *= runs
    told = ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts.items()) + f"; {runs} run(s)"
    plan.tell("expected time", f"about {duration(sum(parts.values()))} ({told})", expected_seconds=parts)


def dry_run_pass(
    script: str,
    runs_dir: Path,
    run_name: str | None,
    which: str,
    split: str,
    *,
    dataset: str | None = None,
    mirrored: bool = False,
    quiet: bool,
) -> tuple[dict[str, Any], bool]:
    """What one pass over a split of a run's images, or of another dataset's, would use, need and take.

    Args:
        which: ``best``, ``last`` or ``epoch-N``.

    Returns:
        The facts for programs, and whether this process prints them.

    Raises:
        UserError: if it would not start; says why.
    """
    accelerator, precision = launch.start("no")
    plan = Plan(Console(quiet, accelerator.is_main_process))
    run = open_run(runs_dir, run_name, which)
    plan.tell("run", f"{run.folder}, {which} (epoch {run.model_config.epoch})", run=str(run.folder))
    _tell_machine(plan, accelerator, Precision(precision.mixed_precision, "nothing is trained"))
    _tell_pass(plan, run, split, dataset, mirrored, accelerator)
    return plan.conclude(f"{script} would do this"), accelerator.is_main_process


def _tell_pass(
    plan: Plan, run: OpenedRun, split: str, dataset: str | None, mirrored: bool, accelerator: Accelerator
) -> None:
    data = DataSettings(dataset=dataset) if dataset is not None else run.config.data
    images = inventory.find_images(data, Console(quiet=True))
    if images.dataset is None:
        plan.problems.append(f"the run's images are {images.place}; get them first")
        return
    samples = run.select(split, images.dataset, Console(quiet=True), own=dataset is None)
    plan.tell(
        "images", f"{images.name} {samples.name}: {len(samples.positions):,} ({images.place})", dataset=images.name
    )
    cache, names = run.config.settings.cache, array_names(run.model_config.skip_mode != "none", mirrored)
    if not cache.cache:
        _tell_cache(plan, inventory.nothing_cached(len(samples.positions), names), None)
        return
    folder = cache.cache_dir
    state = inventory.look_into_cache_of(folder, images, samples.stored, run.config.weights_digest, names)
    _tell_cache(plan, state, folder)
    plan.tell_room("disk for the cache", state.missing_bytes, machine.free_disk_bytes(folder), "make room there")
    backbone = run.model.backbone.to(accelerator.device)
    extraction = speed_probe.extraction_rate(backbone, images.image_size, accelerator.device)
    seconds = state.missing_images / extraction / accelerator.num_processes
    plan.tell("expected time", f"about {duration(seconds)} to extract, then seconds", expected_seconds=seconds)
