"""Curves of a training, and of confidence against accuracy."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alexnet_skip.plots.style import BLUE, SMALL_SIZE, SOFT_INK, VERMILION, styled, titled_figure

# Up to this many epochs each one is marked; a single epoch would be no line at all.
MAX_MARKED_EPOCHS = 30
# A legend that can be read where it lies over what is drawn.
OVER_LINES: dict[str, Any] = {"frameon": True, "framealpha": 0.85, "edgecolor": "white"}


# Of each panel: figure of metrics.jsonl, name in the legend, colour, kind of line. What is minimised can't be compared
# with the rest, and stays in the background.
LOSSES = (
    ("train_loss", "train, as minimised", SOFT_INK, ":"),
    ("train_eval_loss", "train", BLUE, "--"),
    ("val_loss", "val", VERMILION, "-"),
)
ACCURACIES = (
    ("train_top1", "top-1 train, while training", SOFT_INK, ":"),
    ("train_eval_top1", "top-1 train", BLUE, "--"),
    ("val_top1", "top-1 val", VERMILION, "-"),
    ("val_top3", "top-3 val", VERMILION, "-."),
)
EXPLANATION = (
    "Train and val: plain cross-entropy and accuracy of the model at the end of the epoch, on images trained on and "
    "held out. Dotted: over the epoch's steps, with dropout and label smoothing where they are used."
)


@styled
def learning_curves_figure(history: Sequence[Mapping[str, float | None]], best_epoch: int | None, title: str) -> Figure:
    """Loss and accuracy over epochs, train against val, with the best epoch marked.

    Args:
        history: one mapping per epoch, as in metrics.jsonl: ``epoch``, and figures of :data:`LOSSES` and
            :data:`ACCURACIES`; absent or None values leave gaps.
        best_epoch: marked where it is in the history; None marks nothing.

    Raises:
        ValueError: if the history is empty.
    """
    if not history:
        raise ValueError("there is no epoch to draw")
    figure = titled_figure(9.6, 4.6, title)
    loss, accuracy = figure.subplots(1, 2)
    _draw_curves(loss, history, LOSSES)
    _draw_curves(accuracy, history, ACCURACIES)
    accuracy.yaxis.set_major_formatter(_per_cent)
    for axes, name, label in ((loss, "val_loss", "loss"), (accuracy, "val_top1", "accuracy")):
        best = next((entry.get(name) for entry in history if entry["epoch"] == best_epoch), None)
        axes.set_title(label)
        if best is not None and best_epoch is not None:
            shown = f"{best:.3f}" if name == "val_loss" else f"top-1 {100 * best:.2f} %"
            axes.set_title(f"{label}; best epoch {best_epoch}: {shown} on val")
            axes.axvline(best_epoch, color=SOFT_INK, linewidth=0.8, linestyle=":", zorder=0)
            axes.plot(
                [best_epoch], [best], "o", color=VERMILION, markersize=8, markerfacecolor="white", markeredgewidth=2
            )
    figure.supxlabel(textwrap.fill(EXPLANATION, 110), fontsize=SMALL_SIZE, color=SOFT_INK)
    return figure


def _draw_curves(
    axes: Axes, history: Sequence[Mapping[str, float | None]], curves: Sequence[tuple[str, str, str, str]]
) -> None:
    epochs = np.array([entry["epoch"] for entry in history], dtype=float)
    marker = "o" if len(history) <= MAX_MARKED_EPOCHS else ""
    for name, label, colour, line in curves:
        values = np.array([entry.get(name) for entry in history], dtype=float)
        if np.isfinite(values).any():
            axes.plot(epochs, values, line, color=colour, marker=marker, markersize=3.5, label=label)
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    axes.legend(fontsize=SMALL_SIZE, **OVER_LINES)


@styled
def reliability_figure(confidence: np.ndarray, accuracy: np.ndarray, num_samples: np.ndarray, title: str) -> Figure:
    """A reliability diagram: accuracy against confidence in equal bins, over how many samples each bin holds.

    Args:
        confidence: mean confidence of each bin (bins,).
        accuracy: accuracy of each bin (bins,).
        num_samples: samples in each bin (bins,); empty bins are not drawn.
    """
    filled = num_samples > 0
    bins, total = len(num_samples), max(1, num_samples.sum())
    error = (np.abs(confidence - accuracy) * num_samples).sum() / total
    figure = titled_figure(5.4, 5.9, title)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    centres = (np.arange(bins) + 0.5) / bins
    above.plot([0, 1], [0, 1], "--", color=SOFT_INK, linewidth=1, label="perfect calibration")
    above.bar(centres[filled], accuracy[filled], width=0.9 / bins, color=BLUE, alpha=0.35, label="accuracy in the bin")
    # A bin of few images says little: its point is small.
    sizes = 12 + 200 * num_samples[filled] / total
    above.scatter(
        confidence[filled], accuracy[filled], sizes, color=BLUE, zorder=3, clip_on=False, label="at its mean confidence"
    )
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy of the bin")
    above.set_title(f"expected calibration error {100 * error:.2f} % on {total:,} images")
    above.legend(loc="best", **OVER_LINES)
    above.grid()
    below.bar(centres, num_samples / total, width=0.9 / bins, color=SOFT_INK)
    below.set(xlabel="confidence (highest probability)", ylabel="part of all images")
    below.grid(axis="y")
    for axis in (above.xaxis, above.yaxis, below.yaxis):
        axis.set_major_formatter(_per_cent)
    return figure


def _per_cent(fraction: float, position: int | None = None) -> str:
    return f"{100 * fraction:g} %"
