"""Images beside what a model says of them: galleries, and the contact sheet of a user's own."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alexnet_skip.plots.style import (
    BLUE,
    GRID,
    INK,
    SMALL_SIZE,
    SOFT_INK,
    styled,
    titled_figure,
)

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


@styled
def image_grid_figure(images: np.ndarray, captions: Sequence[str], title: str, columns: int = 8) -> Figure:
    """A gallery: images in rows, each over its caption.

    Args:
        images: uint8 (N, H, W, 3).
        captions: N texts; long ones are wrapped.
        columns: images in a row.

    Raises:
        ValueError: if captions are not one per image.
    """
    if len(captions) != len(images):
        raise ValueError(f"{len(captions)} captions for {len(images)} images")
    columns = max(1, min(columns, len(images)))
    rows = -(-len(images) // columns)
    # A no-break space keeps a number and its per cent sign together.
    lines = [caption.replace(" %", "\u00a0%").splitlines() for caption in captions]
    wrapped = ["\n".join(textwrap.fill(line, 20) for line in caption) for caption in lines]
    aspect = images.shape[1] / images.shape[2] if len(images) else 1.0
    image_inches, line_inches = 1.15, 1.25 * SMALL_SIZE / 72
    cell_width, num_lines = 1.3, max((text.count("\n") + 1 for text in wrapped), default=1)
    cell_height = image_inches * aspect + num_lines * line_inches + 0.12
    figure = titled_figure(max(4.0, columns * cell_width + 0.3), max(1, rows) * cell_height + 0.6, title)
    # One pair of axes in inches for all images: one for each would take seconds.
    axes = figure.add_subplot()
    for place, (image, text) in enumerate(zip(images, wrapped, strict=True)):
        left, top = place % columns * cell_width, -(place // columns) * cell_height
        bottom = top - image_inches * aspect
        smooth = "nearest" if image.shape[1] <= 64 else "antialiased"
        axes.imshow(image, extent=(left, left + image_inches, bottom, top), interpolation=smooth)
        axes.text(left, bottom - 0.04, text, ha="left", va="top", fontsize=SMALL_SIZE)
    axes.set(xlim=(-0.1, columns * cell_width), ylim=(-max(1, rows) * cell_height, 0), aspect="equal", anchor="NW")
    axes.set_axis_off()
    if not len(images):
        axes.text(0, 0, "none", va="top", color=SOFT_INK)
    return figure


# Images of one gallery; two rows can be taken in at a glance.
GALLERY = 16
SAMPLE_SEED = 0


def sample(count: int) -> np.ndarray:
    """Up to ``GALLERY`` positions of ``count``, the same in every run, so that runs can be compared."""
    return np.sort(np.random.default_rng(SAMPLE_SEED).permutation(count)[:GALLERY])


def confident_mistakes(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Up to ``GALLERY`` positions of wrong predictions, the most confident first."""
    wrong = np.flatnonzero(probabilities.argmax(axis=1) != labels)
    return wrong[np.argsort(-probabilities[wrong].max(axis=1), kind="stable")[:GALLERY]]


def gallery(
    images: np.ndarray,
    probabilities: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    title: str,
) -> Figure:
    """Images over what the model says of them, and the truth where that is something else."""
    captions = []
    for values, label in zip(probabilities, labels, strict=True):
        says = int(values.argmax())
        caption = f"{class_names[says]} {100 * values[says]:.0f} %"
        captions.append(f"✓ {caption}" if says == label else f"✗ {caption}\n   is: {class_names[label]}")
    return image_grid_figure(images, captions, title)
