"""The report's table as a figure: one confusion matrix per cell."""

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

from alexnet_skip.plots.confusion import SHARE_GAMMA
from alexnet_skip.plots.style import INK, SHARES, SOFT_INK, styled, titled_figure

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
        class_names: C names, written at the edges.
    """
    height, width = len(row_names), len(column_names)
    figure = titled_figure(0.9 + MATRIX_INCHES * width, 1.2 + (MATRIX_INCHES + 0.35) * height, title)
    panels = figure.subplots(height, width, sharex=True, sharey=True, squeeze=False)
    count = len(class_names)
    letters = min(7.0, 52 * MATRIX_INCHES / count)
    for row, column in np.ndindex(height, width):
        axes, confusion = panels[row, column], confusions[row][column]
        share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
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
                axes.text(
                    predicted,
                    true,
                    f"{confusion[true, predicted]:d}",
                    ha="center",
                    va="center",
                    fontsize=5,
                    color=colour,
                )
        if column == 0:
            axes.set_ylabel(f"{row_names[row]}\ntrue class", fontsize=8.5)
    figure.supxlabel("predicted class; colour: share of the true class", fontsize=8.5, color=SOFT_INK)
    return figure
