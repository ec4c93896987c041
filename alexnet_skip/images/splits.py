"""Which samples: held out of training, limited, or chosen by the name of a split."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alexnet_skip.images.dataset import Dataset, Split
from alexnet_skip.settings.train import TrainingSettings
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

# The validation split does not depend on --seed, so that runs with different seeds are compared on the same images.
SPLIT_SEED = 0


def train_val_positions(
    labels: np.ndarray, val_fraction: float, class_names: Sequence[str] | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split positions into train and val, each class in the same proportion; the same for every seed.

    Args:
        class_names: what to call a class that is too small; its number without them.

    Raises:
        UserError: if a class would be left empty on one side.
    """
    if val_fraction == 0:
        return np.arange(len(labels)), np.arange(0)
    rng = np.random.default_rng(SPLIT_SEED)
    held_out = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = round(len(members) * val_fraction)
        if not 0 < count < len(members):
            # Nobody gave the fraction that is usual.
            usual = val_fraction == TrainingSettings.val_fraction
            cause = f"holding {val_fraction} of each class out" if usual else f"--val-fraction {val_fraction}"
            name = class_names[label] if class_names is not None else label
            raise UserError(
                f"{cause} leaves class {name} with {count} of {len(members)} images in val; each class needs at "
                f"least one on both sides: add images to {name}, or train with another --val-fraction (0: on all)"
            )
        held_out.append(members[:count])
    val = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), val), val


def limit_positions(labels: np.ndarray, limit: int) -> np.ndarray:
    """Positions of ``limit`` samples, as balanced over the classes as they allow, sorted."""
    rng = np.random.default_rng(SPLIT_SEED)
    order = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    # The first of every class, then the second of every class, and so on.
    return np.sort(order[np.argsort(rank[order], kind="stable")][:limit])


def proportional_positions(labels: np.ndarray, count: int) -> np.ndarray:
    """Positions of ``count`` samples, each class in the same proportion as among all, sorted; the same every time."""
    order = np.random.default_rng(SPLIT_SEED).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    # One out of the middle of each of as many equal pieces: no class gets one more than its part rounded up.
    return np.sort(order[(2 * np.arange(count) + 1) * len(labels) // (2 * count)])


@dataclass(frozen=True)
class Selection:
    """Chosen samples of a dataset.

    Attributes:
        name: of the split as the user knows it.
        source_split: name of the stored split that holds it, where ``split`` comes from.
        positions: the samples (N,) in that one.
    """

    name: str
    source_split: str
    split: Split
    positions: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """True classes (N,)."""
        return self.split.labels[self.positions]

    @property
    def index(self) -> np.ndarray:
        """Stable sample ids (N,)."""
        return self.split.index[self.positions]

    @property
    def files(self) -> tuple[str, ...]:
        """Their files (N,) within the dataset's folder; none where there are no files."""
        return self.split.files_at(self.positions)


def choose_split(
    wanted: str, dataset: Dataset, val_fraction: float, console: Console, *, own: bool = True
) -> Selection:
    """Choose samples.

    Args:
        wanted: ``test``, ``val`` or ``train``; a dataset without a test split gives val, and that is said.
        val_fraction: the part of train that the run held out.
        own: whether the dataset is the run's, whose val has chosen its best epoch.

    Raises:
        UserError: if the run held nothing out and the dataset has no such split.
    """
    if wanted == "test" and "test" not in dataset.splits and ("val" in dataset.splits or val_fraction):
        part = "val" if own or "val" in dataset.splits else f"{100 * val_fraction:g} % of train"
        console.line(f"{dataset.name} has no test split: taking {part}{', which chose the best epoch' if own else ''}")
        wanted = "val"
    if wanted in dataset.splits and wanted != "train":
        split = dataset.splits[wanted]
        return Selection(wanted, wanted, split, np.arange(len(split.labels)))
    split = dataset.splits["train"]
    fraction = 0.0 if "val" in dataset.splits else val_fraction
    positions, held_out = train_val_positions(split.labels, fraction, dataset.class_names)
    if wanted == "train":
        return Selection("train", "train", split, positions)
    if not len(held_out):
        raise UserError(
            f"--split is {wanted}, but {dataset.name} has no such split and the run held nothing out "
            "(--val-fraction 0); use --split train, or give images to judge it on, in a folder test beside train"
        )
    return Selection("val", "train", split, held_out)
