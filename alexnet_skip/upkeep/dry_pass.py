"""Know before you go, of the scripts that judge or draw: what one pass over a run's images would use, need and take."""

from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from alexnet_skip.devices.launch import Job, start_job
from alexnet_skip.devices.precision import Precision
from alexnet_skip.embedding.samples import choose_fit, choose_points
from alexnet_skip.features.cache import array_names
from alexnet_skip.images.dataset import Dataset
from alexnet_skip.images.splits import Selection
from alexnet_skip.runs.opened import OpenedRun, open_run
from alexnet_skip.runs.own_images import settings_at
from alexnet_skip.settings.embed import EmbedSettings
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.settings.shared import SkipMode
from alexnet_skip.system import machine
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.progress import duration
from alexnet_skip.upkeep import inventory, memory, speed_probe
from alexnet_skip.upkeep.inventory import CacheState, Images
from alexnet_skip.upkeep.plan import DiskNeed, Plan

# Samples whose features are read: positions (N,) in a stored split.
Part = tuple[str, np.ndarray]


def dry_run_evaluation(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """What an evaluation would do; returns the facts for programs, and whether this process prints them.

    Raises:
        UserError: if it would not start; says why.
    """
    job = start_job(settings)
    with job.console.working("Reading the model"):
        run = open_run(settings.runs_dir, settings.run, settings.checkpoint, job.console.line)
    settings.check_topk(len(run.model.class_names), run.folder.name)
    plan = _begin_pass(run, job)
    _tell_pass(
        plan, run, settings, job.accelerator, memory.evaluation_bytes,
        lambda _, samples: [(samples.source_split, samples.positions)], mirrored=settings.tta,
    )  # fmt: skip
    return plan.conclude("evaluate.py would do this"), job.accelerator.is_main_process


def dry_run_embedding(settings: EmbedSettings) -> tuple[dict[str, Any], bool]:
    """What ``embed.py`` would do; as :func:`dry_run_evaluation`."""
    job = start_job(settings)
    with job.console.working("Reading the model"):
        run = open_run(settings.runs_dir, settings.run, settings.checkpoint, job.console.line)
    plan = _begin_pass(run, job)

    def parts(dataset: Dataset, samples: Selection) -> list[Part]:
        points = choose_points(dataset, samples, job)
        fit = choose_fit(run, points, job)
        return [(samples.source_split, points.positions), (fit.source_split, fit.positions)]

    needed = partial(memory.embedding_bytes, thumbnail_px=settings.thumbnails)
    _tell_pass(plan, run, settings, job.accelerator, needed, parts, own=True)
    return plan.conclude("embed.py would do this"), job.accelerator.is_main_process


def _begin_pass(run: OpenedRun, job: Job[Any]) -> Plan:
    plan = Plan(job.console)
    plan.tell("run", f"{run.folder}, {run.checkpoint_name} (epoch {run.model_config.epoch})", run=str(run.folder))
    plan.tell_machine(job.accelerator, Precision("no", "nothing is trained"))
    return plan


def _images_of(run: OpenedRun, settings: EvaluateSettings | EmbedSettings) -> Images:
    """What :func:`load_images_of` would load, without fetching anything."""
    find = partial(
        inventory.find_images, console=Console(quiet=True), cache_dir=run.config.cache_dir,
        val_fraction=run.config.settings.training.val_fraction, side=run.config.image_side,
    )  # fmt: skip
    plain, *limited = settings_at(run.config, settings.dataset, verify_images=settings.verify_images)
    images = find(plain)
    for asked in limited:
        with suppress(UserError):  # the limits don't fit: these are not the run's own
            found = find(asked)
            images = found if found.dataset is not None and run.trained_on(found.dataset) else images
    return images


def _tell_pass(
    plan: Plan,
    run: OpenedRun,
    settings: EvaluateSettings | EmbedSettings,
    accelerator: Accelerator,
    memory_needed: Callable[[Images, SkipMode, int], int],
    parts: Callable[[Dataset, Selection], Sequence[Part]],
    *,
    own: bool = False,
    mirrored: bool = False,
) -> None:
    """Add what one pass over a split of a run's images, or of another dataset's, would use, need and take.

    Args:
        parts: the samples whose features are read.
        own: whether only the run's own images will do.
    """
    with plan.console.working("Looking at the images"):
        images = _images_of(run, settings)
    if images.dataset is None:
        plan.problems.append(f"the run's images are {images.place}; get them first")
        return
    run.require_fitting(images.dataset, settings.dataset, own=own)
    samples = run.select(
        settings.split, images.dataset, Console(quiet=True), is_training_dataset=own or settings.dataset is None
    )
    plan.tell(
        "images", f"{images.name} {samples.name}: {len(samples.positions):,} ({images.place})", dataset=images.name,
        num_samples=len(samples.positions),
    )  # fmt: skip
    needed = memory_needed(images, run.model_config.skip_mode, len(samples.positions))
    plan.tell_room("memory", needed, machine.free_memory_bytes(), "close other programs")
    folder, names = run.config.cache_dir, array_names(run.needs_tap, mirrored)
    if folder is None:
        plan.tell_cache(CacheState(), None)
        return
    state = _cache_of(run, images.dataset, parts(images.dataset, samples), folder, names, accelerator.device)
    plan.tell_cache(state, folder)
    plan.tell_disks([DiskNeed("disk for the cache", folder, state.missing_bytes, "make room there")])
    backbone = run.model.backbone.to(accelerator.device)
    with plan.console.working("Measuring the speed"):
        extraction = speed_probe.extraction_rate(backbone, images.image_size, accelerator.device)
    seconds = state.missing_images / extraction / accelerator.num_processes
    plan.tell("expected time", f"about {duration(seconds)} to extract, then seconds", expected_seconds=seconds)


def _cache_of(
    run: OpenedRun, dataset: Dataset, parts: Sequence[Part], folder: Path, names: Sequence[str], device: torch.device
) -> CacheState:
    """What of the samples' features is in a run's cache."""
    look = partial(
        inventory.look_into_cache_of, folder, weights_digest=run.model.backbone.weights_digest, names=names,
        device=device,
    )  # fmt: skip
    if run.model_config.finetuned_layers:  # of whose features only these samples' are kept
        entries = {(split, positions.tobytes()): dataset.part(split, positions) for split, positions in parts}
        return sum((look(dataset=part, source_split=split) for (split, _), part in entries.items()), CacheState())
    splits = dict.fromkeys(split for split, _ in parts)
    return sum((look(dataset=dataset, source_split=split) for split in splits), CacheState())
