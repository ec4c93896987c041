"""Classes of very different size: said in one line, and weighed in the loss where that is asked for."""

from collections.abc import Sequence

import numpy as np

from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

# A class with less than this part of the average number of images is told.
SMALL = 1 / 3


def balanced_weights(counts: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    """Weights (C,) of the classes, so that each counts as much as any other; over the images they average to 1.

    N / (C · images of the class), scikit-learn's ``compute_class_weight("balanced")`` (King and Zeng 2001).

    Args:
        counts: images to train on of each class (C,).

    Raises:
        UserError: if there are none of a class, which no weight makes up for.
    """
    if not counts.all():
        empty = class_names[int(counts.argmin())]
        raise UserError(
            f"--class-weights is balanced, but there is no image of {empty} to train on; add some, give a larger "
            "--limit-train or --train-on, or leave --class-weights out"
        )
    return counts.sum() / (len(counts) * counts)


def tell_class_sizes(counts: np.ndarray, class_names: Sequence[str], weighted: bool, console: Console) -> None:
    """Say in one line which weights are used, or that they could be where a class is small.

    Args:
        counts: images to train on of each class (C,).
        weighted: whether ``--class-weights balanced`` is given.

    Raises:
        UserError: as :func:`balanced_weights`.
    """
    small, large = int(counts.argmin()), int(counts.argmax())
    if weighted:
        weights = balanced_weights(counts, class_names)
        console.line(
            f"Classes weigh alike in the training loss: {weights[large]:.2f} for an image of {class_names[large]} "
            f"({counts[large]:,}) to {weights[small]:.2f} for one of {class_names[small]} ({counts[small]:,})"
        )
    elif not counts.all():
        console.line(
            f"{class_names[small]}{_others(counts == 0)}: no image to train on, so nothing can be learnt of it; add "
            "some, or give a larger --limit-train or --train-on",
            style="yellow",
        )
    elif counts[small] < SMALL * counts.mean():
        others = _others(counts < SMALL * counts.mean())
        console.line(
            f"{class_names[small]}{others}: {counts[small]:,} images to train on, under a third of the average class "
            f"({counts.mean():,.0f}); --class-weights balanced makes them count as much as the others",
            style="yellow",
        )


def _others(few: np.ndarray) -> str:
    """How many classes there are beside the one that is named, of those that are meant (C,)."""
    return f" and {few.sum() - 1} more" if few.sum() > 1 else ""
