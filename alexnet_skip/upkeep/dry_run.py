"""Know before you go (--dry-run): what a training would use, need and take, and whether it would start."""

from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import broadcast_object_list

from alexnet_skip.devices import launch
from alexnet_skip.devices.idle_card import tell_idle_card
from alexnet_skip.devices.precision import Precision
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network.weights import AlexNetWeights
from alexnet_skip.settings.records import PrecisionRecord, RunConfig, WeightsRecord, read_run_config
from alexnet_skip.settings.train import BATCH_SIZE, TrainSettings
from alexnet_skip.study.cells import cells_left, require_no_run
from alexnet_skip.study.run import all_cells, study_folder, with_snapshots
from alexnet_skip.system import machine
from alexnet_skip.system.console import Console, is_first_process
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.progress import duration
from alexnet_skip.training.parent import require_parent
from alexnet_skip.training.saving import require_way_on
from alexnet_skip.training.session import dataset_record, image_side
from alexnet_skip.upkeep import disk, inventory, memory
from alexnet_skip.upkeep.expected_time import expected_seconds
from alexnet_skip.upkeep.inventory import Images
from alexnet_skip.upkeep.lacking import coordinates_bytes, what_is_lacking
from alexnet_skip.upkeep.plan import DiskNeed, Plan
from alexnet_skip.upkeep.remaining import Remaining, what_is_left


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
            settings.data,
            Console(quiet=True),
            cache_dir,
            val_fraction=settings.training.val_fraction,
            side=image_side(settings),
        )
    sizes = ", ".join(f"{name} {count:,}" for name, count in images.sizes.items())
    plan.tell("images", f"{images.name} ({images.place}): {sizes}; {images.num_classes} classes", dataset=images.name)
    told, weights = inventory.find_weights(settings.weights)
    plan.tell("weights", told, weights_here=weights is not None, images_here=images.dataset is not None)

    # What of it is still to be done
    positions = _train_positions(images, settings.training.val_fraction)
    settings = settings.for_images(len(positions))
    with plan.console.working("Looking at what is done"):
        # As the main process finds it, whose disk has the runs: all must measure the same.
        found = what_is_left(settings, images) if accelerator.is_main_process else None
        (remaining,) = broadcast_object_list([found])
    _tell_steps(plan, settings, remaining, len(positions))

    # What it would compute first, and write
    lacking = what_is_lacking(settings, remaining, images, positions, weights, accelerator.device)
    plan.tell_cache(lacking.features, cache_dir)
    runs_dir, needs = settings.run.runs_dir, []
    if cache_dir:
        needed = lacking.features.missing_bytes + coordinates_bytes(settings, images, lacking)
        way_out = "choose another --cache-dir, --no-hflip, --limit-train or --no-cache"
        needs.append(DiskNeed("disk for the cache", cache_dir, needed, way_out))
    way_out = "choose another --runs-dir or fewer --snapshot-epochs"
    needs.append(DiskNeed("disk for the run", runs_dir, disk.runs_bytes(remaining, images.num_classes), way_out))
    plan.tell_disks(needs)
    _check_run_folder(plan, settings, images, weights)
    if settings.study.study:
        _check_study(plan, settings, images, weights, precision)

    # What it would take
    needed = _memory_bytes(settings, remaining, images, len(positions))
    plan.tell_room(
        "memory", needed, machine.free_memory_bytes(), "close other programs, or give a smaller --batch-size"
    )
    with plan.console.working("Measuring the speed"):
        parts = expected_seconds(settings, remaining, images, lacking, len(positions), accelerator)
    told = ", ".join(f"{name} {duration(seconds)}" for name, seconds in parts.items())
    told += f"; {len(remaining.runs)} run(s)"
    plan.tell("expected time", f"about {duration(sum(parts.values()))} ({told})", expected_seconds=parts)
    return plan.conclude("train.py would do this"), accelerator.is_main_process


def _train_positions(images: Images, val_fraction: float) -> np.ndarray:
    """The samples (N,) to train on; what is wrong with the split is said as the real run would."""
    total = images.sizes["train"]
    if "val" in images.sizes or not val_fraction:
        return np.arange(total)
    if images.dataset is None:
        return np.arange(total - round(total * val_fraction))
    dataset = images.dataset
    return train_val_positions(dataset.splits["train"].labels, val_fraction, dataset.class_names)[0]


def _tell_steps(plan: Plan, settings: TrainSettings, remaining: Remaining, num_train: int) -> None:
    """Add runs, epochs and steps that are left."""
    if settings.study.study:
        told = (
            f"{len(remaining.runs)} of {remaining.num_runs} are left to train, {len(remaining.judged)} models to judge"
        )
        plan.tell("study", told, runs=remaining.num_runs, runs_left=len(remaining.runs))
    options, second = settings.training, settings.finetuning
    steps, epochs = -(-num_train // options.batch_size), sum(run.epochs for run in remaining.runs)
    plan.tell(
        "steps", f"{steps:,} an epoch of {options.batch_size} images, {epochs} epochs{_in_all(remaining)}",
        steps_per_epoch=steps, batch_size=options.batch_size, epochs=epochs,
    )  # fmt: skip
    if second.finetune:
        epochs = sum(run.finetune_epochs for run in remaining.runs)
        plan.tell(
            "stage 2", f"{second.finetune} convolution(s) learn for {epochs} epochs more{_in_all(remaining)} of "
            f"{-(-num_train // second.finetune_batch_size):,} steps", finetune_epochs=epochs,
        )  # fmt: skip


def _in_all(remaining: Remaining) -> str:
    return f" in all {len(remaining.runs)} runs" if len(remaining.runs) > 1 else ""


def _memory_bytes(settings: TrainSettings, remaining: Remaining, images: Images, num_train: int) -> int:
    """What the largest of the runs takes, or the evaluation of a study."""
    num_val = images.num_val(num_train)
    needs = [memory.training_bytes(run.settings, images, num_train, num_val) for run in remaining.runs]
    if remaining.judged:
        num_judged = images.sizes.get(images.judged_split[0], num_val)
        variants = settings.study.study_variants
        needs += [memory.evaluation_bytes(images, mode, num_judged) for mode in variants]
    return max(needs, default=memory.PROCESS_BYTES)


def _check_run_folder(plan: Plan, settings: TrainSettings, images: Images, weights: AlexNetWeights | None) -> None:
    runs_dir, name = settings.run.runs_dir, settings.run.name
    if not machine.writable(runs_dir):
        plan.problems.append(f"--runs-dir {runs_dir} can't be written; choose another folder")
    resumed, parent = settings.checkpoints.resume, settings.finetuning.finetune_from
    if before := resumed or parent:
        run = Path(before)
        config = read_run_config(run)
        found, digest = config.dataset, weights.sha256 if weights else config.weights_digest
        if images.dataset is not None:
            found = dataset_record(images.dataset)
        try:
            if resumed is None:
                require_parent(run, found, digest)
            else:
                require_way_on(run, settings.run.snapshot_epochs)
                config.require_same(found, digest, f"--resume {run}")
        except UserError as error:
            plan.problems.append(str(error))
    if name and (runs_dir / name).exists() and not settings.study.study and settings.checkpoints.resume is None:
        plan.problems.append(
            f"--name {name}: {runs_dir / name} exists already; choose another name or remove that folder"
        )


def _check_study(
    plan: Plan, settings: TrainSettings, images: Images, weights: AlexNetWeights | None, precision: Precision
) -> None:
    if images.judged_split == ("val", "train") and not settings.training.val_fraction:
        plan.problems.append(
            f"--val-fraction is 0 and {images.name} has no test split: nothing is left to judge a study on; give a "
            "part to hold out, such as --val-fraction 0.2"
        )
    folder = study_folder(settings, images.name)
    try:
        require_no_run(folder)
        if images.dataset is not None and weights is not None:
            now = RunConfig(
                with_snapshots(settings), dataset_record(images.dataset),
                weights=WeightsRecord(settings.weights, weights.sha256),
                precision=PrecisionRecord(precision.mixed_precision, precision.reason),
            )  # fmt: skip
            cells_left(folder, all_cells(settings), now)
    except UserError as error:
        plan.problems.append(str(error))
