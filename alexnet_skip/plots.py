"""Figures from arrays. Each function returns a Figure; none touches pyplot's global state."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

# Above this many classes numbers in cells can't be read.
MAX_ANNOTATED_CLASSES = 25


def confusion_matrix_figure(confusion: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """A confusion matrix: colour is the share of the true class, numbers are counts, recall stands at the right.

    Args:
        confusion: counts (C, C), rows true, columns predicted.
    """
    count = len(class_names)
    side = min(14.0, 3.2 + 0.6 * count)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.add_subplot()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, cmap="Blues", vmin=0, vmax=1)
    accuracy = np.trace(confusion) / max(1, confusion.sum())
    axes.set_title(f"{title}\ntop-1 {100 * accuracy:.2f} % of {confusion.sum():,} images", fontsize=11)
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    axes.set_xticks(range(count), class_names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), class_names)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    if count <= MAX_ANNOTATED_CLASSES:
        axes.set_xticks(np.arange(count + 1) - 0.5, minor=True)
        axes.set_yticks(np.arange(count + 1) - 0.5, minor=True)
        axes.grid(which="minor", color="white", linewidth=1.5)
        axes.tick_params(which="minor", length=0)
        for row in range(count):
            for column in range(count):
                if confusion[row, column]:
                    colour = "white" if share[row, column] > 0.55 else "#333333"
                    weight = "bold" if row == column else "normal"
                    axes.text(column, row, f"{confusion[row, column]}", ha="center", va="center", color=colour,
                              fontsize=9, fontweight=weight)  # fmt: skip
            axes.text(count - 0.35, row, f"{100 * share[row, row]:.1f} %", ha="left", va="center", fontsize=9)
        axes.text(count - 0.35, -0.75, "recall", ha="left", va="center", fontsize=9)
    figure.colorbar(image, ax=axes, label="share of the true class", shrink=0.75, pad=0.12)
    return figure


def save_figure(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write a figure as PNG, whole or not at all."""
    temporary = path.with_name(path.name + ".tmp")
    figure.savefig(temporary, format="png", dpi=dpi)
    os.replace(temporary, path)
