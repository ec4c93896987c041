"""Images beside where models look in them."""

from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from alexnet_skip.plots.style import BLUE, INK, SMALL_SIZE, SOFT_INK, VERMILION, short_name, styled, titled_figure

# Images are enlarged to what the network sees.
SIDE_PX = 224
IMAGE_INCHES, GAP_INCHES, LINE_INCHES = 1.25, 0.12, 0.19
# Between one model's maps and the next one's.
MODEL_GAP_INCHES = 0.22
# How much of the heat's colour covers the image where the heat is 1.
COVER = 0.75


@dataclass(frozen=True)
class Look:
    """Where one model looks in N images.

    Attributes:
        name: of the model.
        maps: heat from 0 to 1 (N, h, w) of each layer, by what it is called.
        said: what the model says of each image.
        right: whether that is right (N,).
    """

    name: str
    maps: dict[str, np.ndarray]
    said: Sequence[str]
    right: np.ndarray


def heated(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W, 3) in grey, under the colours of a map of heat (h, w): bright yellow is hottest."""
    grey = np.asarray(Image.fromarray(image).convert("L"), np.float64)[:, :, None] / 255
    smooth = Image.fromarray(heat.astype(np.float32)).resize(image.shape[1::-1], Image.Resampling.BILINEAR)
    values = np.clip(np.asarray(smooth), 0, 1)
    cover = COVER * values[:, :, None]
    colours = np.asarray(mpl.colormaps["inferno"](values))[:, :, :3]
    return np.round(255 * ((1 - cover) * grey + cover * colours)).astype(np.uint8)


def enlarged(image: np.ndarray) -> np.ndarray:
    """An image uint8 (H, W, 3) at the size that the network sees."""
    return np.asarray(Image.fromarray(image).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR))


@styled
def heatmaps_figure(images: np.ndarray, truths: Sequence[str], looks: Sequence[Look], title: str) -> Figure:
    """A row for each image: itself over its true class, then the maps of each model over what that says.

    Args:
        images: uint8 (N, H, W, 3).
        truths: names of their true classes.
    """
    step, row_inches = IMAGE_INCHES + GAP_INCHES, IMAGE_INCHES + 1.5 * LINE_INCHES
    lefts: list[list[float]] = []
    width = step + MODEL_GAP_INCHES
    for look in looks:
        lefts.append([width + step * number for number in range(len(look.maps))])
        width += step * len(look.maps) + MODEL_GAP_INCHES
    head = 2.4 * LINE_INCHES
    figure = titled_figure(width + 0.3, len(images) * row_inches + head + 0.6, title)
    # One pair of axes in inches for all: one for each would take seconds.
    axes = figure.add_subplot()
    for look, places in zip(looks, lefts, strict=True):
        axes.text(places[0], head, look.name, va="top", fontweight="bold", color=INK)
        for left, layer in zip(places, look.maps, strict=True):
            axes.text(left, head - 1.2 * LINE_INCHES, layer, va="top", fontsize=SMALL_SIZE, color=SOFT_INK)
    for row, (image, truth) in enumerate(zip(images, truths, strict=True)):
        large, top = enlarged(image), -row * row_inches
        _place(axes, large, 0, top)
        under = top - IMAGE_INCHES - 0.04
        axes.text(0, under, short_name(truth), va="top", fontsize=SMALL_SIZE, fontweight="bold")
        for look, places in zip(looks, lefts, strict=True):
            right = bool(look.right[row])
            told = f"{look.said[row]}, {'right' if right else 'wrong'}"
            axes.text(places[0], under, told, va="top", fontsize=SMALL_SIZE, color=BLUE if right else VERMILION)
            for left, heat in zip(places, look.maps.values(), strict=True):
                _place(axes, heated(large, heat[row]), left, top)
    axes.set(xlim=(-0.05, width), ylim=(-len(images) * row_inches, head + 0.02), aspect="equal", anchor="NW")
    axes.set_axis_off()
    return figure


def _place(axes: Axes, image: np.ndarray, left: float, top: float) -> None:
    axes.imshow(image, extent=(left, left + IMAGE_INCHES, top - IMAGE_INCHES, top), interpolation="antialiased")
