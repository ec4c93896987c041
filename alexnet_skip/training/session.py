"""What every run of one command shares: the devices, the images, the weights and who is held out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import accelerate
import numpy as np
import torch
from accelerate import Accelerator

import alexnet_skip
from alexnet_skip.devices import launch
from alexnet_skip.devices.agreement import require_agreement
from alexnet_skip.devices.idle_card import tell_idle_card
from alexnet_skip.devices.precision import Precision
from alexnet_skip.images.dataset import Dataset
from alexnet_skip.images.loading import load_images
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.weights import AlexNetWeights, load_weights
from alexnet_skip.settings.command_line import flat, to_dict
from alexnet_skip.settings.train import BATCH_SIZE, RECIPES, TrainingSettings, TrainSettings
from alexnet_skip.system.console import Console


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
    def num_val(self) -> int:
        """How many images are held out, of train or in a split of their own."""
        return len(self.dataset.splits["val"].labels) if "val" in self.dataset.splits else len(self.val_positions)


# What processes on several machines may have under another name, or show differently; what lies there must be the same.
MAY_DIFFER = frozenset(
    ("dataset", "data_dir", "data_archive", "data_url", "weights", "cache_dir", "runs_dir", "quiet", "resume")
)


def open_session(settings: TrainSettings) -> Session:
    """Start Accelerate and load images and weights; one process may download, the others find what it got."""
    options = settings.training
    accelerator, precision = launch.start(
        options.mixed_precision, settings.run.runs_dir,
        force_precision=options.force_precision, batch_size=options.batch_size or BATCH_SIZE,
    )  # fmt: skip
    console = Console(settings.run.quiet, accelerator.is_main_process)
    console.line(
        f"Device {accelerator.device}, {accelerator.num_processes} process(es) of {torch.get_num_threads()} thread(s), "
        f"precision {precision.mixed_precision} ({precision.reason})"
    )
    tell_idle_card(console)
    with accelerator.main_process_first():
        weights = load_weights(settings.weights, console=console)
        dataset = load_images(settings.data, console)
    val_fraction = 0.0 if "val" in dataset.splits else settings.training.val_fraction
    positions, val_positions = train_val_positions(dataset.splits["train"].labels, val_fraction, dataset.class_names)
    require_agreement(accelerator, _what_decides(settings, precision, dataset, weights))
    backbone = FrozenAlexNet(weights.state).to(accelerator.device)
    session = Session(accelerator, precision, console, dataset, weights, backbone, positions, val_positions)
    held_out = f"{session.num_val:,} held out{_idle_fraction(settings, dataset)}"
    console.line(f"{dataset.name}: {len(positions):,} images to train on, {held_out}; {weights.source}")
    return session


def _idle_fraction(settings: TrainSettings, dataset: Dataset) -> str:
    """What to say of a ``--val-fraction`` that was given, and has no effect."""
    given = settings.training.val_fraction
    usual = RECIPES[settings.recipe].get("val_fraction", TrainingSettings.val_fraction)
    idle = "val" in dataset.splits and given != usual
    return f" (--val-fraction {given} is not used: the folder has val/)" if idle else ""


def _what_decides(
    settings: TrainSettings, precision: Precision, dataset: Dataset, weights: AlexNetWeights
) -> dict[str, Any]:
    """What a run's result depends on, by the names that users know."""
    options = {name: value for name, value in flat(to_dict(settings)).items() if name not in MAY_DIFFER}
    resumed = settings.checkpoints.resume
    return {
        "the classes": list(dataset.class_names),
        **{f"the number of {n} images": len(split.labels) for n, split in dataset.splits.items()},
        **{f"the {n} images (SHA-256)": split.digest for n, split in dataset.splits.items()},
        "the weights (SHA-256)": weights.sha256,
        "the head's precision": precision.mixed_precision,
        "the run of --resume": Path(resumed).name if resumed else None,
        **{f"--{name.replace('_', '-')}": value for name, value in options.items()},
        **{f"the version of {module.__name__}": module.__version__ for module in (torch, accelerate, np, alexnet_skip)},
    }


def fit_to_images(settings: TrainSettings, session: Session) -> TrainSettings:
    """Settings as they are for as many images as there are to train on."""
    fitted = settings.for_images(len(session.positions))
    size, rate = fitted.training.batch_size, fitted.training.lr
    if rate != settings.training.lr:
        session.console.line(f"So few images are trained in smaller steps: --batch-size {size} --lr {rate:.2g}")
    return fitted
