"""Figures of confusion matrices: one classifier's, and what a second one changes."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Colormap, Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from alexnet_skip.plots.style import (
    BLUE,
    INK,
    SHARES,
    SMALL_SIZE,
    SOFT_INK,
    VERMILION,
    WORSE_BETTER,
    minus,
    short_name,
    styled,
    titled_figure,
)

# Above this many classes a matrix shows only the most confused ones: others' names could not be read, and a picture of
# 1,000 classes would have 200 million pixels.
MAX_SHOWN_CLASSES = 50

# Above this many classes numbers in cells can't be read.
MAX_ANNOTATED_CLASSES = 25
# Most cells off the diagonal hold a few per cent; a linear scale would show them all as white.
SHARE_GAMMA = 0.6


def shown_classes(confusion: np.ndarray) -> np.ndarray:
    """The classes to show of a matrix (C, C), ascending: all, or the :data:`MAX_SHOWN_CLASSES` most confused.

    Those are the classes of the largest cells off the diagonal; where there are too few such cells, the first others.
    """
    if len(confusion) <= MAX_SHOWN_CLASSES:
        return np.arange(len(confusion))
    wrong = confusion - np.diag(np.diag(confusion))
    largest = np.maximum(wrong.max(axis=0), wrong.max(axis=1))
    return np.sort(np.argsort(-largest, kind="stable")[:MAX_SHOWN_CLASSES])


def _which(shown: np.ndarray, count: int, kind: str) -> str:
    return "" if len(shown) == count else f"the {len(shown)} {kind} of {count:,} classes"


def _cells(confusion: np.ndarray, shown: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Counts of the classes that are shown, and their shares of all images of the true class."""
    rows = confusion[shown]
    counts = rows[:, shown]
    return counts, counts / np.maximum(rows.sum(axis=1, keepdims=True), 1)


@styled
def confusion_matrix_figure(confusion: np.ndarray, class_names: Sequence[str], title: str) -> Figure:
    """A confusion matrix: colour is the share of the true class, numbers are images, bars are recall.

    Args:
        confusion: counts (C, C), rows true, columns predicted.
        class_names: C names. Of many classes only the most confused are shown, and that is said.
    """
    shown = shown_classes(confusion)
    counts, share = _cells(confusion, shown)
    recall = np.diag(share)
    figure, axes, bars = _matrix_figure(
        share, SHARES, PowerNorm(SHARE_GAMMA, 0, 1), np.where(counts > 0, np.char.mod("%d", counts), ""),
        [f"{100 * value:.1f} %" for value in recall], [class_names[label] for label in shown], title,
        "share of the true class", "images; on the diagonal, recall below",
    )  # fmt: skip
    accuracy = np.trace(confusion) / max(1, confusion.sum())
    lines = [f"top-1 {100 * accuracy:.2f} % of {confusion.sum():,} images"]
    axes.set_title("\n".join(filter(None, [*lines, _which(shown, len(confusion), "most confused")])))
    bars.barh(range(len(recall)), 100 * recall, height=0.6, color=BLUE)
    bars.set(xlim=(0, 100), xticks=(0, 50, 100), title="recall, %")
    return figure


@styled
def confusion_difference_figure(
    confusion_a: np.ndarray, confusion_b: np.ndarray, class_names: Sequence[str], title: str
) -> Figure:
    """What b changes of a's confusion matrix: blue cells are better, vermilion ones worse, bars are gains of recall.

    Args:
        confusion_a: counts (C, C), rows true, columns predicted.
        confusion_b: counts (C, C) of the same samples.
        class_names: C names. Of many classes only those that change most are shown, and that is said.

    Raises:
        ValueError: if the rows do not have the same sums: then the samples are not the same.
    """
    if not np.array_equal(confusion_a.sum(axis=1), confusion_b.sum(axis=1)):
        raise ValueError("confusion matrices to compare must have the same images per class")
    everywhere = confusion_b.astype(np.int64) - confusion_a
    shown = shown_classes(np.abs(everywhere))
    change = everywhere[np.ix_(shown, shown)]
    share = _cells(confusion_b, shown)[1] - _cells(confusion_a, shown)[1]
    gains = 100 * np.diag(share)
    # On the diagonal more is better, elsewhere less.
    better = np.where(np.eye(len(share), dtype=bool), share, -share)
    limit = max(0.01, float(np.abs(better).max()))
    figure, axes, bars = _matrix_figure(
        better, WORSE_BETTER, Normalize(-limit, limit), np.where(change != 0, np.char.mod("%+d", change), ""),
        [f"{gain:+.1f} pt" for gain in gains], [class_names[label] for label in shown], title,
        "blue better, vermilion worse", "images more or fewer; on the diagonal, points of recall below",
    )  # fmt: skip
    points = 100 * np.trace(everywhere) / max(1, confusion_a.sum())
    lines = [f"top-1 {minus(f'{points:+.2f}')} points on {confusion_a.sum():,} images"]
    axes.set_title("\n".join(filter(None, [*lines, _which(shown, len(everywhere), "most changed")])))
    bars.barh(range(len(gains)), gains, height=0.6, color=np.where(gains < 0, VERMILION, BLUE).tolist())
    bars.axvline(0, color=SOFT_INK, linewidth=0.8)
    widest = 1.1 * max(1.0, float(np.abs(gains).max()))
    bars.set(xlim=(-widest, widest), title="recall, points")
    bars.xaxis.set_major_locator(MaxNLocator(2, symmetric=True))
    return figure


def _matrix_figure(
    values: np.ndarray,
    colours: Colormap,
    scale: Normalize,
    texts: np.ndarray,
    below_diagonal: Sequence[str],
    class_names: Sequence[str],
    title: str,
    colour_meaning: str,
    number_meaning: str,
) -> tuple[Figure, Axes, Axes]:
    """A matrix (C, C) in colours, with texts in its cells where they can be read, and axes for bars at its right."""
    class_names = [short_name(name) for name in class_names]
    count = len(class_names)
    cell_inches = float(np.clip(12 / count, 0.11, 0.6))
    letters = float(np.clip(40 * cell_inches, 4.5, 9.5))
    label_inches = max(len(name) for name in class_names) * letters * 0.6 / 72
    side, bar_side = max(3.0, count * cell_inches), 1.0
    readable = count <= MAX_ANNOTATED_CLASSES
    width = side + bar_side + label_inches + (0.7 if readable else 1.7)
    explained = (f"numbers: {number_meaning}", f"colour: {colour_meaning}") if readable else ()
    # A letter of this size is 0.6 of it wide on average.
    below = [line for text in explained for line in textwrap.wrap(text, int((side + 0.6) * 12))]
    height = side + (0.75 if readable else 1) * label_inches + 1.15 + 0.17 * len(below)
    figure = titled_figure(width, height, title)
    # Not of equal aspect: then bars and rows stay aligned, and the figure's size makes the cells square enough.
    axes, bars = figure.subplots(1, 2, width_ratios=(side, bar_side), sharey=True)
    image = axes.imshow(values, cmap=colours, norm=scale, aspect="auto")
    turned: dict[str, Any] = {"rotation": 45 if readable else 90, "ha": "right", "rotation_mode": "anchor"}
    axes.set_xticks(range(count), class_names, fontsize=letters, va="top" if readable else "center", **turned)
    axes.set_yticks(range(count), class_names, fontsize=letters)
    axes.set(xlabel="\n".join(("predicted class", *below)), ylabel="true class")
    axes.spines[:].set_visible(False)
    bars.spines["left"].set_visible(False)
    bars.tick_params(axis="x", labelsize=SMALL_SIZE)
    if readable:
        _annotate(axes, image.to_rgba(values), texts, below_diagonal, letters)
    else:
        figure.colorbar(image, ax=bars, shrink=0.5, label=colour_meaning)
    axes.tick_params(which="both", length=0)
    bars.tick_params(axis="y", which="both", left=False, labelleft=False)
    return figure, axes, bars


def _annotate(axes: Axes, rgba: np.ndarray, texts: np.ndarray, below_diagonal: Sequence[str], letters: float) -> None:
    edges = np.arange(len(texts) + 1) - 0.5
    axes.set_xticks(edges, minor=True)
    axes.set_yticks(edges, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    # Rec. 709 weights: how light a cell looks decides the colour of its text.
    light = rgba[..., :3] @ (0.2126, 0.7152, 0.0722) > 0.5
    for row, column in np.ndindex(texts.shape):
        lines = [(texts[row, column], 0.0, letters, "normal")]
        if row == column:
            lines = [(lines[0][0], 0.35, letters, "bold"), (below_diagonal[row], -0.85, 0.75 * letters, "normal")]
        for text, shift, size, weight in lines:
            axes.annotate(
                minus(text), (column, row), (0, shift * letters), textcoords="offset points", ha="center",
                va="center", fontsize=size, fontweight=weight, color=INK if light[row, column] else "white",
            )  # fmt: skip


MATRIX_INCHES = 2.75
# Above this many classes counts would be smaller than can be read.
MAX_COUNTED_CLASSES = 10


@styled
def confusion_table_figure(
    confusions: Sequence[Sequence[np.ndarray]],
    captions: Sequence[Sequence[str]],
    row_names: Sequence[str],
    column_names: Sequence[str],
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """Confusion matrices in rows and columns, each under its figures; colour is the share of the true class.

    Args:
        confusions: counts (C, C) by row and column, rows of each true, columns predicted.
        captions: what stands over each matrix.
        class_names: C names, written at the edges. Of many classes only the most confused are shown, the same in each
            matrix, and that is said.
    """
    shown = shown_classes(np.sum([confusion for row in confusions for confusion in row], axis=0))
    which = _which(shown, len(class_names), "most confused")
    class_names = [short_name(class_names[label]) for label in shown]
    height, width = len(row_names), len(column_names)
    figure = titled_figure(0.9 + MATRIX_INCHES * width, 1.2 + (MATRIX_INCHES + 0.35) * height, title)
    panels = figure.subplots(height, width, sharex=True, sharey=True, squeeze=False)
    count = len(class_names)
    letters = min(7.0, 52 * MATRIX_INCHES / count)
    for row, column in np.ndindex(height, width):
        axes = panels[row, column]
        confusion, share = _cells(confusions[row][column], shown)
        axes.imshow(share, cmap=SHARES, norm=PowerNorm(SHARE_GAMMA, 0, 1))
        above = f"{column_names[column]}\n{captions[row][column]}" if row == 0 else captions[row][column]
        axes.set_title(above, fontsize=8.5, color=INK)
        axes.tick_params(length=0, labelsize=letters)
        axes.set_xticks(range(count), class_names, rotation=90)
        axes.set_yticks(range(count), class_names)
        axes.spines[:].set_visible(False)
        if count <= MAX_COUNTED_CLASSES:
            for true, predicted in np.argwhere(confusion > 0):
                colour = "white" if share[true, predicted] > 0.5 else INK
                number = f"{confusion[true, predicted]:d}"
                axes.text(predicted, true, number, ha="center", va="center", fontsize=5, color=colour)
        if column == 0:
            axes.set_ylabel(f"{row_names[row]}\ntrue class", fontsize=8.5)
    numbers = "numbers: images" if count <= MAX_COUNTED_CLASSES else ""
    meaning = "; ".join(filter(None, ["predicted class", numbers, "colour: share of the true class", which]))
    figure.supxlabel(meaning, fontsize=8.5, color=SOFT_INK)
    return figure
