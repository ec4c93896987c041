"""Which images an embedding shows, which its axes are fitted on, and which runs can stand beside each other."""

from dataclasses import dataclass

import numpy as np

from alexnet_skip.devices.launch import Job
from alexnet_skip.images.dataset import Dataset
from alexnet_skip.images.splits import Selection, limit_positions
from alexnet_skip.runs.opened import OpenedRun
from alexnet_skip.settings.embed import EmbedSettings
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

# Images that principal axes are fitted on, balanced over the classes: more change the leading ones little (the first
# variances of 10,000 and of 40,000 of CIFAR-10's features agree within 1 %) and cost in proportion.
FIT_ROWS = 10_000


@dataclass(frozen=True)
class Points:
    """The images that an embedding shows.

    Attributes:
        samples: the split that they are chosen from.
        positions: themselves (N,) in the stored split.
        elsewhere: what other images than the run's own are called in the names of folders.
    """

    dataset: Dataset
    samples: Selection
    positions: np.ndarray
    elsewhere: str = ""

    @property
    def labels(self) -> np.ndarray:
        """True classes (N,)."""
        return self.samples.split.labels[self.positions]


@dataclass(frozen=True)
class FitImages:
    """Which images principal axes are fitted on: positions (M,) in a stored split, and both in words."""

    source_split: str
    positions: np.ndarray
    words: str


def choose_points(dataset: Dataset, samples: Selection, job: Job[EmbedSettings], elsewhere: str = "") -> Points:
    """The samples to embed: all of a split, or as many as asked for, balanced over the classes.

    Args:
        elsewhere: what they are called where they are not the run's own.

    Raises:
        UserError: if there are fewer than three.
    """
    positions, max_points = samples.positions, job.settings.max_points
    if max_points is not None and max_points < len(positions):
        positions = positions[limit_positions(samples.labels, max_points)]
        job.console.line(f"{len(positions):,} of {len(samples.positions):,} images are embedded (--max-points)")
    if len(positions) < 3:
        raise UserError(f"--split {samples.name} has {len(positions)} image(s); an embedding needs at least 3")
    return Points(dataset, samples, positions, elsewhere)


def choose_fit(run: OpenedRun, points: Points, job: Job[EmbedSettings]) -> FitImages:
    """Choose the images that principal axes are fitted on: training images, or the embedded ones (``--fit split``)."""
    on_train = job.settings.fit == "train"
    split = run.select("train", points.dataset, job.console, is_training_dataset=True) if on_train else points.samples
    candidates = split.positions if on_train else points.positions
    chosen = candidates[limit_positions(split.split.labels[candidates], min(FIT_ROWS, len(candidates)))]
    count = f"{len(chosen):,}" if len(chosen) == len(candidates) else f"{len(chosen):,} of {len(candidates):,}"
    return FitImages(split.source_split, chosen, f"{count} {split.name} images")


def refuse_other_images(run: OpenedRun, other: OpenedRun, points: Points, console: Console) -> None:
    """Refuse to compare with a run that was trained on other images, or on those that are embedded.

    Raises:
        UserError: saying which.
    """
    name = f"--compare {other.folder.name}"
    if other.config.dataset.digest != run.config.dataset.digest:
        raise UserError(
            f"{name} was trained on other images than {run.folder.name}; give a run of the same dataset and limits"
        )
    if points.samples.name == "val" and points.samples.source_split == "train":
        held_out = other.select("val", points.dataset, console, is_training_dataset=True)
        if not np.isin(points.samples.positions, held_out.positions).all():
            raise UserError(
                f"{name} was trained on some of the images that {run.folder.name} held out; swap the two runs, or give "
                "a run with the same --val-fraction"
            )
