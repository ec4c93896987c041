"""Know before you go (--dry-run): what a command would use, need and take, and whether it would start."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from alexnet_skip.devices import launch
from alexnet_skip.devices.idle_card import tell_idle_card
from alexnet_skip.devices.launch import Job, start_job
from alexnet_skip.devices.precision import Precision
from alexnet_skip.features.cache import array_names
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network.weights import AlexNetWeights
from alexnet_skip.runs.opened import OpenedRun, open_run
from alexnet_skip.settings.embed import EmbedSettings
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.settings.records import DatasetRecord, read_run_config
from alexnet_skip.settings.shared import DataSettings, SkipMode
from alexnet_skip.settings.train import BATCH_SIZE, TrainSettings
from alexnet_skip.system import machine
from alexnet_skip.system.console import Console, is_first_process
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.progress import duration
from alexnet_skip.training.parent import require_parent
from alexnet_skip.training.saving import require_way_on
from alexnet_skip.upkeep import inventory, memory, speed_probe
from alexnet_skip.upkeep.expected_time import expected_seconds
from alexnet_skip.upkeep.inventory import CacheState, Images
from alexnet_skip.upkeep.plan import Plan

# Parameter, AdamW's two moments, and the copy of the best epoch: fp32 each.
COPIES_IN_CHECKPOINT = 4


def dry_run_training(settings: TrainSettings) -> tuple[dict[str, Any], bool]:
    """What ``train.py`` would do; returns the facts for programs, and whether this process prints them.

    Raises:
        UserError: if it would not start; says why.
    """
    with Console(settings.quiet, is_first_process()).working("Starting Accelerate"):
        accelerator, precision = launch.start(
            settings.training.mixed_precision,
            force_precision=settings.training.force_precision,
            batch_size=settings.training.batch_size or BATCH_SIZE,
        )
    plan = Plan(launch.open_console(settings.quiet, accelerator))
    tell_idle_card(plan.console)
    plan.tell_machine(accelerator, precision)

    # What it works on
    cache_dir = settings.cache.cache_dir if settings.cache.cache else None
    with plan.console.working("Looking at the images"):
        images = inventory.find_images(
            settings.data, Console(quiet=True), cache_dir, val_fraction=settings.training.val_fraction
        )
    sizes = ", ".join(f"{name} {count:,}" for name, count in images.sizes.items())
    plan.tell("images", f"{images.name} ({images.place}): {sizes}; {images.num_classes} classes", dataset=images.name)
    told, weights = inventory.find_weights(settings.weights)
    plan.tell("weights", told, weights_here=weights is not None, images_here=images.dataset is not None)
    num_train = _num_train(images, settings.training.val_fraction)
    settings = settings.for_images(num_train)
    options, mode = settings.training, settings.joined

    # What it would write
    state = _cache_of_training(settings, images, weights, accelerator.device)
    plan.tell_cache(state, cache_dir)
    views, total = 2 if options.hflip else 1, images.sizes["train"]
    coordinates = views * total * min(options.pca_basis, memory.joined_width(mode)) * 2 if cache_dir else 0
    if cache_dir:
        needed = state.missing_bytes + coordinates
        way_out = "choose another --cache-dir, --no-hflip, --limit-train or --no-cache"
        plan.tell_room("disk for the cache", needed, machine.free_disk_bytes(cache_dir), way_out)
    head = images.num_classes, options.pca_basis
    kept = settings.checkpoints.keep_checkpoints + 1 if settings.checkpoints.checkpoint_minutes else 0
    needed = (2 + len(settings.run.snapshot_epochs)) * memory.published_bytes(mode, *head)
    needed += kept * COPIES_IN_CHECKPOINT * 4 * memory.head_values(mode, *head)
    free = machine.free_disk_bytes(settings.run.runs_dir)
    plan.tell_room("disk for the run", needed, free, "choose another --runs-dir or fewer --snapshot-epochs")
    _check_run_folder(plan, settings, images, weights)

    needed = memory.training_bytes(settings, images, num_train, images.num_val(num_train))
    plan.tell_room(
        "memory", needed, machine.free_memory_bytes(), "close other programs, or give a smaller --batch-size"
    )
    steps = -(-num_train // options.batch_size)
    plan.tell(
        "steps", f"{steps:,} an epoch of {options.batch_size} images, {options.epochs} epochs",
        steps_per_epoch=steps, batch_size=options.batch_size, epochs=options.epochs,
    )  # fmt: skip
    if settings.finetuning.finetune:
        second = settings.finetuning
        plan.tell(
            "stage 2", f"{second.finetune} convolution(s) learn for {second.finetune_epochs} epochs more of "
            f"{-(-num_train // second.finetune_batch_size):,} steps", finetune_epochs=second.finetune_epochs,
        )  # fmt: skip
    with plan.console.working("Measuring the speed"):
        parts, runs = expected_seconds(settings, images, state, num_train, accelerator)
    told = ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts.items()) + f"; {runs} run(s)"
    plan.tell("expected time", f"about {duration(sum(parts.values()))} ({told})", expected_seconds=parts)
    return plan.conclude("train.py would do this"), accelerator.is_main_process


def _num_train(images: Images, val_fraction: float) -> int:
    """Images to train on; what is wrong with the split is said as the real run would."""
    if "val" in images.sizes or not val_fraction:
        return images.sizes["train"]
    if images.dataset is None:
        return images.sizes["train"] - round(images.sizes["train"] * val_fraction)
    dataset = images.dataset
    return len(train_val_positions(dataset.splits["train"].labels, val_fraction, dataset.class_names)[0])


def _cache_of_training(
    settings: TrainSettings, images: Images, weights: AlexNetWeights | None, device: torch.device
) -> CacheState:
    names = array_names(settings.joined != "none", settings.training.hflip)
    total = images.sizes["train"]
    if images.dataset is None or weights is None:
        return inventory.nothing_cached(total, names)
    return inventory.look_into_cache_of(settings.cache.cache_dir, images, "train", weights.sha256, names, device)


def _check_run_folder(plan: Plan, settings: TrainSettings, images: Images, weights: AlexNetWeights | None) -> None:
    runs_dir, name = settings.run.runs_dir, settings.run.name
    if not machine.writable(runs_dir):
        plan.problems.append(f"--runs-dir {runs_dir} can't be written; choose another folder")
    resumed, parent = settings.checkpoints.resume, settings.finetuning.finetune_from
    if before := resumed or parent:
        run = Path(before)
        config = read_run_config(run)
        found, digest = config.dataset, weights.sha256 if weights else config.weights_digest
        if (dataset := images.dataset) is not None:
            train = dataset.splits["train"].digest
            found = DatasetRecord(dataset.name, dataset.source, dataset.class_names, train)
        try:
            if resumed is None:
                require_parent(run, found, digest)
            else:
                require_way_on(run)
                config.require_same(found, digest, f"--resume {run}")
        except UserError as error:
            plan.problems.append(str(error))
    if name and (runs_dir / name).exists() and not settings.study.study and settings.checkpoints.resume is None:
        plan.problems.append(
            f"--name {name}: {runs_dir / name} exists already; choose another name or remove that folder"
        )


def dry_run_evaluation(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """What an evaluation would do; returns the facts for programs, and whether this process prints them.

    Raises:
        UserError: if it would not start; says why.
    """
    job = start_job(settings)
    with job.console.working("Reading the model"):
        run = open_run(settings.runs_dir, settings.run, settings.checkpoint)
    settings.check_topk(len(run.model.class_names), run.folder.name)
    plan = _begin_pass(run, job)
    _tell_pass(
        plan, run, settings.split, job.accelerator, memory.evaluation_bytes, dataset=settings.dataset,
        mirrored=settings.tta,
    )  # fmt: skip
    return plan.conclude("evaluate.py would do this"), job.accelerator.is_main_process


def dry_run_embedding(settings: EmbedSettings) -> tuple[dict[str, Any], bool]:
    """What ``embed.py`` would do; as :func:`dry_run_evaluation`."""
    job = start_job(settings)
    with job.console.working("Reading the model"):
        run = open_run(settings.runs_dir, settings.run, settings.checkpoint)
    plan = _begin_pass(run, job)
    if settings.dataset is not None:
        run.load_own_images(settings.dataset, job)  # refused as the real run would
    _tell_pass(plan, run, settings.split, job.accelerator, memory.embedding_bytes, dataset=settings.dataset)
    return plan.conclude("embed.py would do this"), job.accelerator.is_main_process


def _begin_pass(run: OpenedRun, job: Job[Any]) -> Plan:
    plan = Plan(job.console)
    plan.tell("run", f"{run.folder}, {run.checkpoint_name} (epoch {run.model_config.epoch})", run=str(run.folder))
    plan.tell_machine(job.accelerator, Precision("no", "nothing is trained"))
    return plan


def _images_of(run: OpenedRun, dataset: str | None) -> Images:
    """What :func:`load_images_of` would load, without fetching anything."""
    own, console = run.config.data, Console(quiet=True)
    find = partial(inventory.find_images, val_fraction=run.config.settings.training.val_fraction)
    if dataset is None:
        return find(own, console, run.cache_dir)
    images = find(DataSettings(dataset=dataset), console, run.cache_dir)
    if images.dataset is None or not own.limited:
        return images
    limited = find(dataclasses.replace(own, dataset=dataset), console, run.cache_dir)
    return limited if limited.dataset is not None and run.trained_on(limited.dataset) else images


def _tell_pass(
    plan: Plan,
    run: OpenedRun,
    split: str,
    accelerator: Accelerator,
    memory_needed: Callable[[Images, SkipMode, int], int],
    *,
    dataset: str | None = None,
    mirrored: bool = False,
) -> None:
    """Add what one pass over a split of a run's images, or of another dataset's, would use, need and take."""
    with plan.console.working("Looking at the images"):
        images = _images_of(run, dataset)
    if images.dataset is None:
        plan.problems.append(f"the run's images are {images.place}; get them first")
        return
    samples = run.select(split, images.dataset, Console(quiet=True), is_training_dataset=dataset is None)
    plan.tell(
        "images", f"{images.name} {samples.name}: {len(samples.positions):,} ({images.place})", dataset=images.name,
        num_samples=len(samples.positions),
    )  # fmt: skip
    needed = memory_needed(images, run.model_config.skip_mode, len(samples.positions))
    plan.tell_room("memory", needed, machine.free_memory_bytes(), "close other programs")
    folder, names = run.cache_dir, array_names(run.needs_tap, mirrored)
    if folder is None:
        plan.tell_cache(inventory.nothing_cached(len(samples.positions), names), None)
        return
    digest, device = run.model.backbone.weights_digest, accelerator.device
    if run.model_config.finetuned_layers:  # of whose features only these samples' are kept
        images = dataclasses.replace(images, dataset=images.dataset.part(samples.source_split, samples.positions))
    state = inventory.look_into_cache_of(folder, images, samples.source_split, digest, names, device)
    plan.tell_cache(state, folder)
    plan.tell_room("disk for the cache", state.missing_bytes, machine.free_disk_bytes(folder), "make room there")
    backbone = run.model.backbone.to(accelerator.device)
    with plan.console.working("Measuring the speed"):
        extraction = speed_probe.extraction_rate(backbone, images.image_size, accelerator.device)
    seconds = state.missing_images / extraction / accelerator.num_processes
    plan.tell("expected time", f"about {duration(seconds)} to extract, then seconds", expected_seconds=seconds)
