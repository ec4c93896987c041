"""Which images an embedding shows, which its axes are fitted on, and which runs can stand beside each other."""

from dataclasses import dataclass

import numpy as np

from alexnet_skip.images.dataset import Dataset
from alexnet_skip.images.splits import Selection, limit_positions
from alexnet_skip.runs.opened import OpenedRun
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

# Images that principal axes are fitted on, balanced over the classes: more change the leading ones little (the first
# variances of 10,000 and of 40,000 of CIFAR-10's features agree within 1 %) and cost in proportion.
FIT_ROWS = 10_000


@dataclass(frozen=True)
class FitImages:
    """Which images principal axes are fitted on: positions (M,) in a stored split, and both in words."""

    stored: str
    positions: np.ndarray
    words: str


def choose_points(samples: Selection, max_points: int | None, console: Console) -> np.ndarray:
    """Positions (N,) of the samples to embed, balanced over the classes.

    Raises:
        UserError: if there are fewer than three.
    """
    positions = samples.positions
    if max_points is not None and max_points < len(positions):
        positions = positions[limit_positions(samples.labels, max_points)]
        console.line(f"{len(positions):,} of {len(samples.positions):,} images are embedded (--max-points)")
    if len(positions) < 3:
        raise UserError(f"--split {samples.name} has {len(positions)} image(s); an embedding needs at least 3")
    return positions


def choose_fit(
    run: OpenedRun, dataset: Dataset, samples: Selection, positions: np.ndarray, fit: str, console: Console
) -> FitImages:
    """Choose the images that principal axes are fitted on: training images, or the embedded ones (``fit`` split)."""
    split = run.select("train", dataset, console, own=True) if fit == "train" else samples
    candidates = split.positions if fit == "train" else positions
    chosen = candidates[limit_positions(split.split.labels[candidates], min(FIT_ROWS, len(candidates)))]
    count = f"{len(chosen):,}" if len(chosen) == len(candidates) else f"{len(chosen):,} of {len(candidates):,}"
    return FitImages(split.stored, chosen, f"{count} {split.name} images")


def refuse_other_images(
    run: OpenedRun, other: OpenedRun, dataset: Dataset, samples: Selection, console: Console
) -> None:
    """Refuse to compare with a run that was trained on other images, or on those that are embedded.

    Raises:
        UserError: saying which.
    """
    name = f"--compare {other.folder.name}"
    if other.config.dataset.digest != run.config.dataset.digest:
        raise UserError(
            f"{name} was trained on other images than {run.folder.name}; give a run of the same dataset and limits"
        )
    if samples.name == "val" and samples.stored == "train":
        held_out = other.select("val", dataset, console, own=True)
        if not np.isin(samples.positions, held_out.positions).all():
            raise UserError(
                f"{name} was trained on some of the images that {run.folder.name} held out; swap the two runs, or give "
                "a run with the same --val-fraction"
            )
