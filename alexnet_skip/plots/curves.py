"""Curves of a training, and of confidence against accuracy."""

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alexnet_skip.plots.style import BLUE, SOFT_INK, VERMILION, styled, titled_figure

# Up to this many epochs each one is marked; a single epoch would be no line at all.
MAX_MARKED_EPOCHS = 30
# Of one line of a note over a reliability diagram.
NOTE_LETTERS = 64


@styled
def learning_curves_figure(history: Sequence[Mapping[str, float | None]], best_epoch: int | None, title: str) -> Figure:
    """Loss and top-1 accuracy over epochs, train against val, with the best epoch marked.

    Args:
        history: one mapping per epoch with ``epoch``, ``train_loss``, ``train_top1`` and, where there is a validation
            split, ``val_loss`` and ``val_top1``, as in metrics.jsonl; absent or None values leave gaps.
        best_epoch: marked where it is in the history; None marks nothing.

    Raises:
        ValueError: if the history is empty.
    """
    if not history:
        raise ValueError("there is no epoch to draw")
    figure = titled_figure(9.0, 3.9, title)
    epochs = [entry["epoch"] for entry in history]
    marker = "o" if len(history) <= MAX_MARKED_EPOCHS else ""
    for axes, name, label in zip(figure.subplots(1, 2), ("loss", "top1"), ("loss", "top-1 accuracy"), strict=True):
        for split, colour, line in (("train", BLUE, "--"), ("val", VERMILION, "-")):
            values = np.array([entry.get(f"{split}_{name}") for entry in history], dtype=float)
            if np.isfinite(values).any():
                axes.plot(epochs, values, line, color=colour, marker=marker, markersize=3.5, label=split)
                if best_epoch in epochs and split == "val":
                    best = values[epochs.index(best_epoch)]
                    shown = f"{best:.3f}" if name == "loss" else f"{100 * best:.2f} %"
                    axes.plot(
                        [best_epoch],
                        [best],
                        "o",
                        color=colour,
                        markersize=8,
                        markerfacecolor="white",
                        markeredgewidth=2,
                    )
                    axes.axvline(best_epoch, color=SOFT_INK, linewidth=0.8, linestyle=":", zorder=0)
                    axes.set_title(f"{label}; best epoch {best_epoch}: {shown} on val")
        if not axes.get_title(loc="left"):
            axes.set_title(label)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(axis="y")
        axes.legend()
        if name == "top1":
            axes.yaxis.set_major_formatter(_per_cent)
    return figure


@styled
def reliability_figure(
    confidence: np.ndarray, accuracy: np.ndarray, num_samples: np.ndarray, title: str, note: str = ""
) -> Figure:
    """A reliability diagram: accuracy against confidence in equal bins, over how many samples each bin holds.

    Args:
        confidence: mean confidence of each bin (bins,).
        accuracy: accuracy of each bin (bins,).
        num_samples: samples in each bin (bins,); empty bins are not drawn.
        note: what it comes to, in words.
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
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="accuracy")
    told = f"expected calibration error {100 * error:.2f} % on {total:,} images"
    above.set_title(f"{told}\n{textwrap.fill(note, NOTE_LETTERS)}" if note else told)
    above.legend(loc="upper left")
    above.grid()
    below.bar(centres, num_samples / total, width=0.9 / bins, color=SOFT_INK)
    below.set(xlabel="confidence (highest probability)", ylabel="images")
    below.grid(axis="y")
    for axis in (above.xaxis, above.yaxis, below.yaxis):
        axis.set_major_formatter(_per_cent)
    return figure


def _per_cent(fraction: float, position: int | None = None) -> str:
    return f"{100 * fraction:g} %"
