"""Figure of predictions on images of one's own: each image over its most probable classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alexnet_skip.plots.style import BLUE, GRID, INK, SMALL_SIZE, SOFT_INK, styled, titled_figure

# One page that can still be read; the first ones are shown.
MAX_SHEET_IMAGES = 40

MAX_COLUMNS = 5

# Longest side of an image on the sheet: its 1.6 inches at 130 dots per inch.
THUMBNAIL_PX = 208

IMAGE_INCHES, CELL_INCHES, LINE_INCHES = 1.6, 1.9, 0.2

MAX_NAME_LETTERS = 24


@styled
def contact_sheet_figure(
    images: Sequence[np.ndarray], names: Sequence[str], tops: Sequence[Sequence[tuple[str, float]]], title: str
) -> Figure:
    """A contact sheet: images of any shape, their file names, and bars of their most probable classes.

    Args:
        images: uint8 (H, W, 3) each; those of the first ``MAX_SHEET_IMAGES`` names.
        names: one per image or more: what is beyond the images is only counted.
        tops: classes and probabilities of each image, the best first, equally many for all.
    """
    count = len(images)
    columns = min(MAX_COLUMNS, max(1, count))
    rows = -(-count // columns)
    height = IMAGE_INCHES + LINE_INCHES * (1.2 + len(tops[0])) + 0.25
    if count < len(names):
        title = f"{title}: the first {count}"
    figure = titled_figure(max(4.0, columns * CELL_INCHES + 0.3), rows * height + 0.6, title)
    # One pair of axes in inches for all: one for each would take seconds.
    axes = figure.add_subplot()
    for place, (image, name, top) in enumerate(zip(images, names, tops, strict=False)):
        left, above = place % columns * CELL_INCHES, -(place // columns) * height
        # Shrunk to fit its square, standing on the square's floor, never distorted.
        scale = IMAGE_INCHES / max(image.shape[:2])
        width, tall = image.shape[1] * scale, image.shape[0] * scale
        floor = above - IMAGE_INCHES
        smooth = "nearest" if max(image.shape[:2]) <= 64 else "antialiased"
        axes.imshow(image, extent=(left, left + width, floor, floor + tall), interpolation=smooth)
        y = floor - 0.06
        shown = name if len(name) <= MAX_NAME_LETTERS else name[: MAX_NAME_LETTERS - 9] + "…" + name[-8:]
        axes.text(left, y, shown, va="top", fontsize=SMALL_SIZE, color=SOFT_INK)
        for rank, (label, probability) in enumerate(top):
            y = floor - 0.06 - LINE_INCHES * (1.1 + rank)
            box: dict[str, Any] = {"height": LINE_INCHES * 0.82, "align": "edge"}
            axes.barh(y - LINE_INCHES * 0.82, IMAGE_INCHES, left=left, color=GRID, **box)
            axes.barh(y - LINE_INCHES * 0.82, IMAGE_INCHES * probability, left=left, color=BLUE, alpha=0.45, **box)
            middle = y - LINE_INCHES * 0.42
            weight = "bold" if rank == 0 else "normal"
            text: dict[str, Any] = {"va": "center", "fontsize": SMALL_SIZE, "color": INK, "fontweight": weight}
            axes.text(left + 0.05, middle, label, clip_on=True, **text)
            axes.text(left + IMAGE_INCHES - 0.05, middle, f"{100 * probability:.1f}\u00a0%", ha="right", **text)
    axes.set(xlim=(-0.1, columns * CELL_INCHES), ylim=(-max(1, rows) * height, 0.02), aspect="equal", anchor="NW")
    axes.set_axis_off()
    return figure
