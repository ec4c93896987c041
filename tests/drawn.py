"""What tests look for in figures."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from alexnet_skip.plots.style import save_figure


def texts(axes: Axes) -> list[str]:
    """All that is written in axes."""
    return [text.get_text() for text in axes.texts if text.get_text()]


def assert_within_its_canvas(figure: Figure, path: Path) -> None:
    """Save a figure there: it is not empty, and nothing of it reaches an edge."""
    save_figure(figure, path)
    with Image.open(path) as image:
        pixels = np.array(image.convert("L"))
    assert min(pixels.shape) > 250
    edges = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    assert (edges == 255).all(), "the figure reaches the edge of its canvas"
    assert (pixels < 100).any(), "the figure is empty"
