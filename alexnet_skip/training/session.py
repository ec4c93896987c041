"""What every run of one command shares: the devices, the images, the weights and who is held out."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator

from alexnet_skip.devices import launch
from alexnet_skip.devices.agreement import in_common, require_agreement
from alexnet_skip.devices.idle_card import tell_idle_card
from alexnet_skip.devices.precision import Precision
from alexnet_skip.images.loading import load_images
from alexnet_skip.images.split import Dataset
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.weights import AlexNetWeights, load_weights
from alexnet_skip.runs.predictions import published_digest
from alexnet_skip.settings.dataset_record import DatasetRecord
from alexnet_skip.settings.records import is_published, read_run_config
from alexnet_skip.settings.train import BATCH_SIZE, TrainSettings
from alexnet_skip.system.console import Console, is_first_process
from alexnet_skip.training.class_weights import tell_class_sizes


@dataclass(frozen=True)
class Session:
    """What every run of one command shares.

    Attributes:
        positions: samples of the train split to train on (N,).
        val_positions: those held out (M,); none where the dataset has a val split of its own.
    """

    accelerator: Accelerator
    precision: Precision
    console: Console
    dataset: Dataset
    weights: AlexNetWeights
    backbone: FrozenAlexNet
    positions: np.ndarray
    val_positions: np.ndarray

    @property
    def num_classes(self) -> int:
        """How many classes the dataset has."""
        return len(self.dataset.class_names)

    @property
    def class_counts(self) -> np.ndarray:
        """Images to train on of each class (C,)."""
        return np.bincount(self.dataset.splits["train"].labels[self.positions], minlength=self.num_classes)

    @property
    def num_val(self) -> int:
        """How many images are held out, of train or in a split of their own."""
        return len(self.dataset.splits["val"].labels) if "val" in self.dataset.splits else len(self.val_positions)


def open_session(settings: TrainSettings) -> Session:
    """Start Accelerate and load images and weights; one process may download, the others find what it got."""
    options = settings.training
    with Console(settings.quiet, is_first_process()).working("Starting Accelerate"):
        accelerator, precision = launch.start(
            options.mixed_precision, settings.run.runs_dir,
            force_precision=options.force_precision, batch_size=options.batch_size or BATCH_SIZE,
        )  # fmt: skip
    console = launch.open_console(settings.quiet, accelerator)
    console.line(
        f"Device {accelerator.device}, {accelerator.num_processes} process(es) of {torch.get_num_threads()} thread(s), "
        f"precision {precision.mixed_precision} ({precision.reason})"
    )
    tell_idle_card(console)
    with accelerator.main_process_first():
        weights = load_weights(settings.weights, console=console)
        cache_dir = settings.cache.cache_dir if settings.cache.cache else None
        dataset = load_images(
            settings.data, console, cache_dir, val_fraction=options.val_fraction, side=image_side(settings)
        )
        trained_on = {name: dataset.splits[name] for name in ("train", "val") if name in dataset.splits}
    val_fraction = 0.0 if "val" in dataset.splits else settings.training.val_fraction
    positions, val_positions = train_val_positions(dataset.splits["train"].labels, val_fraction, dataset.class_names)
    decides = replace(dataset, splits=trained_on)
    require_agreement(accelerator, lambda: _what_decides(settings, precision, decides, weights))
    backbone = FrozenAlexNet(weights.state).to(accelerator.device)
    session = Session(accelerator, precision, console, dataset, weights, backbone, positions, val_positions)
    held_out = f"{session.num_val:,} held out{_idle_fraction(settings, dataset)}"
    console.line(f"{dataset.name}: {len(positions):,} images to train on, {held_out}; {weights.source}")
    weighted = options.class_weights == "balanced"
    tell_class_sizes(session.class_counts, dataset.class_names, weighted, console)
    return session


def _idle_fraction(settings: TrainSettings, dataset: Dataset) -> str:
    """What to say of a ``--val-fraction`` that was given, and has no effect."""
    given = settings.training.val_fraction
    usual = TrainSettings.of_recipe(settings.recipe).training.val_fraction
    idle = "val" in dataset.splits and settings.data.train_on is None and given != usual
    return f" (--val-fraction {given} is not used: the folder has val/)" if idle else ""


def _what_decides(
    settings: TrainSettings, precision: Precision, dataset: Dataset, weights: AlexNetWeights
) -> dict[str, Any]:
    """What a run's result depends on, by the names that users know."""
    resumed = settings.checkpoints.resume
    own = {
        "the weights (SHA-256)": weights.sha256,
        "the head's precision": precision.mixed_precision,
        "the run of --resume": Path(resumed).name if resumed else None,
        "the model of --finetune-from (SHA-256)": parent_digest(settings),
    }
    # What is decided before what was asked for: "auto" alone does not say which.
    return own | in_common(settings, dataset)


def image_side(settings: TrainSettings) -> int | None:
    """The side that folders are read at: that of the run to go on with, or to begin with; None for a new one."""
    before = settings.checkpoints.resume or settings.finetuning.finetune_from
    return read_run_config(Path(before)).image_side if before else None


def dataset_record(dataset: Dataset) -> DatasetRecord:
    """What a run's config says of its images."""
    splits = dataset.splits
    val = splits["val"].digest if "val" in splits else ""
    return DatasetRecord(dataset.name, dataset.source, dataset.class_names, splits["train"].digest, tuple(splits), val)


def parent_digest(settings: TrainSettings) -> str | None:
    """SHA-256 of the model that a new run begins with, if it is there; of one that goes on, its config tells."""
    parent = settings.finetuning.finetune_from
    if parent is None or settings.checkpoints.resume is not None or not is_published(Path(parent) / "model"):
        return None
    return published_digest(Path(parent), "best")


def fit_to_images(settings: TrainSettings, session: Session) -> TrainSettings:
    """Settings as they are for as many images as there are to train on."""
    fitted = settings.for_images(len(session.positions))
    size, rate = fitted.training.batch_size, fitted.training.lr
    if rate != settings.training.lr:
        session.console.line(f"So few images are trained in smaller steps: --batch-size {size} --lr {rate:.2g}")
    second = fitted.finetuning
    if second.finetune_lr != settings.finetuning.finetune_lr:
        size, rate = second.finetune_batch_size, second.finetune_lr
        session.console.line(
            f"So few images are fine-tuned in smaller steps: --finetune-batch-size {size} --finetune-lr {rate:.2g}"
        )
    return fitted
