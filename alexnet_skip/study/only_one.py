"""Images that one side gets right with every seed and another with none: the clearest, and what is told of them."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Contested:
    """An image that one side alone gets right.

    Attributes:
        row: of the predictions.
        label: its true class.
        chance: of the true class, by the side that is right.
        taken_for: what most seeds of the other side say.
        other_chance: of that, by the other side.
    """

    row: int
    label: int
    chance: float
    taken_for: int
    other_chance: float


def clearest(
    rows: np.ndarray, labels: np.ndarray, right: Sequence[np.ndarray], wrong: Sequence[np.ndarray], most: int
) -> list[Contested]:
    """Of the images that one side alone gets right those whose true class gains most over the other side.

    Args:
        rows: of these images.
        labels: true classes (N,) of all images.
        right, wrong: probabilities (N, C) of both sides, by seed; told are their means.
    """
    of_right, of_wrong = np.mean(right, axis=0), np.mean(wrong, axis=0)
    gain = of_right[rows, labels[rows]] - of_wrong[rows, labels[rows]]
    found = []
    for row in rows[np.argsort(-gain, kind="stable")[:most]].tolist():
        label = int(labels[row])
        # Not the mean's largest: that could well be the true class, which none of the seeds says.
        taken_for = Counter(int(one[row].argmax()) for one in wrong).most_common(1)[0][0]
        told = float(of_right[row, label]), float(of_wrong[row, taken_for])
        found.append(Contested(row, label, told[0], taken_for, told[1]))
    return found
