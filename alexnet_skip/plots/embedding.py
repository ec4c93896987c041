"""Figures of an embedding space: points in the colours of their classes, class means, explained variance."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator
from mpl_toolkits.mplot3d.axes3d import Axes3D

from alexnet_skip.plots.style import BLUE, INK, SMALL_SIZE, SOFT_INK, VERMILION, short_name, styled, titled_figure

# Found by a search over sRGB for the largest smallest difference (CIEDE2000) of ten colours that show on white and on
# black (L* from 40 to 82), with any kind of colour vision (Machado et al. 2009): 20.9 in full, 14.3 without a kind of
# cones; Petroff's ten (2021) come to 17.4 and 11.9. In an order that sets CIFAR-10's neighbours far apart.
TEN_COLOURS = (
    "#809f9f", "#ff4080", "#8000ff", "#ffbf80", "#00dfff", "#9f4080", "#008060", "#9f9f00", "#bf2000", "#9f80ff",
)  # fmt: skip

# Above this many classes means are not named and there is no legend: nobody could read them.
MAX_NAMED_CLASSES = 25
# Elevation and azimuth in degrees of each view.
VIEWS = {
    "from one side": (20, -60), "a quarter turn on": (20, 30), "half a turn on": (20, 120), "from above": (75, -60),
}  # fmt: skip

# The animation: the cloud, under a title and beside a legend.
TURN_INCHES, TURN_DPI = 5.6, 90
# Room for a bold letter of a class's name, in inches.
LETTER_INCHES = 0.7 * SMALL_SIZE / 72
# What axes of points are wide at least.
AXES_INCHES = 4.0
OUTLINE = [patheffects.withStroke(linewidth=2.5, foreground="white")]


@dataclass(frozen=True)
class Cloud:
    """Points of an embedding space.

    Attributes:
        scores: principal coordinates (N, K), K at least 2.
        labels: class of each (N,).
        ratio: explained variance along each axis (K,), as a fraction of the total.
        class_names: C names.
    """

    scores: np.ndarray
    labels: np.ndarray
    ratio: np.ndarray
    class_names: tuple[str, ...]

    def means(self) -> tuple[np.ndarray, np.ndarray]:
        """Classes that have points (M,) and their means (M, K)."""
        present = np.unique(self.labels)
        return present, np.stack([self.scores[self.labels == label].mean(axis=0) for label in present])

    def axis_label(self, axis: int) -> str:
        """What to write at an axis: its number and its share of the variance."""
        return f"PC{axis + 1} ({100 * self.ratio[axis]:.1f} % of variance)"


def class_colours(num_classes: int) -> np.ndarray:
    """A colour (C, 4) for each class; up to ten are told apart with any kind of colour vision."""
    if num_classes <= len(TEN_COLOURS):
        return mpl.colors.to_rgba_array(TEN_COLOURS[:num_classes])
    return mpl.colormaps["turbo"](np.linspace(0.03, 0.97, num_classes))


def draw_order(num_points: int) -> np.ndarray:
    """A fixed random order (N,): in the order of classes the last one would cover the others."""
    return np.random.default_rng(0).permutation(num_points)


@styled
def pca_2d_figure(cloud: Cloud, title: str) -> Figure:
    """The first two principal coordinates, with class means."""
    named = len(cloud.class_names) <= MAX_NAMED_CLASSES
    figure = titled_figure(8.2 if named else 7.0, 6.6, title)
    axes = figure.subplots()
    _draw_2d(axes, cloud)
    if named:
        figure.legend(handles=_legend(cloud.class_names), loc="outside right center", title="class")
    return figure


@styled
def pca_3d_figure(cloud: Cloud, title: str) -> Figure:
    """The first three principal coordinates from four sides, with class means."""
    named = len(cloud.class_names) <= MAX_NAMED_CLASSES
    figure = titled_figure(9.6 if named else 8.4, 8.2, title)
    for place, (name, angle) in enumerate(VIEWS.items(), start=1):
        _draw_3d(figure, (2, 2, place), cloud, angle).set_title(name)
    if named:
        figure.legend(handles=_legend(cloud.class_names), loc="outside right center", title="class")
    return figure


@styled
def comparison_figure(clouds: Sequence[Cloud], names: Sequence[str], notes: Sequence[str], title: str) -> Figure:
    """Embeddings of the same samples side by side: two coordinates above, three below.

    Args:
        names: what each is, one a cloud.
        notes: figures to write under each name.
    """
    named = len(clouds[0].class_names) <= MAX_NAMED_CLASSES
    figure = titled_figure(5.2 * len(clouds) + 1.4 * named, 9.6, title)
    for place, (cloud, name, note) in enumerate(zip(clouds, names, notes, strict=True)):
        axes = figure.add_subplot(2, len(clouds), place + 1)
        _draw_2d(axes, cloud)
        axes.set_title(f"{name}\n{note}")
        if cloud.scores.shape[1] > 2:
            _draw_3d(figure, (2, len(clouds), len(clouds) + place + 1), cloud, VIEWS["from one side"])
    if named:
        figure.legend(handles=_legend(clouds[0].class_names), loc="outside right center", title="class")
    return figure


@styled
def explained_variance_figure(ratio: np.ndarray, num_features: int, title: str) -> Figure:
    """Explained variance of each component, and of all up to it.

    Args:
        ratio: fractions of the total variance (K,), from the largest.
        num_features: dimensions of the space.
    """
    figure = titled_figure(7.0, 4.0, title)
    axes = figure.subplots()
    number = np.arange(1, len(ratio) + 1)
    axes.bar(number, 100 * ratio, width=0.85, color=BLUE, label="this component")
    axes.plot(number, 100 * np.cumsum(ratio), color=VERMILION, marker="o", markersize=2.5, label="all up to it")
    axes.set(xlabel="principal component", ylabel="of the whole variance, %", xlim=(0.3, len(ratio) + 0.7))
    axes.set_ylim(0, 105 * ratio.sum())
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(axis="y")
    axes.legend(loc="center right")
    marks = [k for k in (2, 3, len(ratio)) if k <= len(ratio)]
    shown = ", ".join(f"{100 * ratio[:k].sum():.1f} % in {k}" for k in dict.fromkeys(marks))
    axes.set_title(f"{shown} of {num_features:,} components")
    return figure


def _point_style(num_points: int, scale: float = 1.0) -> dict[str, Any]:
    """Small and pale where there are many."""
    crowd = np.clip(np.log10(max(num_points, 1)), 2, 5)
    return {"s": scale * 10 ** (2.3 - 0.4 * crowd), "alpha": float(1.1 - 0.16 * crowd), "linewidths": 0}


def _draw_2d(axes: Axes, cloud: Cloud) -> None:
    order, colours = draw_order(len(cloud.labels)), class_colours(len(cloud.class_names))
    x, y = cloud.scores[order, 0], cloud.scores[order, 1]
    axes.scatter(x, y, c=colours[cloud.labels[order]], **_point_style(len(order)))
    present, means = cloud.means()
    axes.scatter(
        means[:, 0], means[:, 1], s=90, c=colours[present], edgecolors="white", linewidths=1.6, zorder=4,
        path_effects=[patheffects.withStroke(linewidth=3, foreground=INK)],
    )  # fmt: skip
    axes.set(xlabel=cloud.axis_label(0), ylabel=cloud.axis_label(1))
    axes.set_aspect("equal", adjustable="datalim")
    if len(cloud.class_names) <= MAX_NAMED_CLASSES:
        names = [short_name(cloud.class_names[label]) for label in present]
        for name, place, mean in zip(names, _label_places(axes, means[:, :2], names), means, strict=True):
            axes.annotate(
                name, mean[:2], place, ha="center", va="center", fontsize=SMALL_SIZE,
                zorder=5, fontweight="bold", path_effects=OUTLINE,
                arrowprops={"arrowstyle": "-", "color": INK, "linewidth": 0.8, "shrinkA": 0, "shrinkB": 4},
            )  # fmt: skip


def _label_places(axes: Axes, means: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Where to write the names of class means (M, 2): outward from their centre, at distinct heights on each side, and
    within the axes.
    """
    low, high = np.array([axes.get_xlim(), axes.get_ylim()]).T
    unit = (high - low) * (0.30, 0.045)
    centre = means.mean(axis=0)
    places = means.copy()
    for side in (-1, 1):
        rows = np.flatnonzero(np.where(means[:, 0] >= centre[0], 1, -1) == side)
        if len(rows):
            rows = rows[np.argsort(means[rows, 1])]
            reach = np.abs(means[rows, 0] - centre[0]).max() + 0.4 * unit[0]
            places[rows, 0] = centre[0] + side * max(unit[0], reach)
            places[rows, 1] = _spread(means[rows, 1], low[1], high[1], unit[1])
    half = np.array([len(name) / 2 + 1 for name in names]) * LETTER_INCHES / AXES_INCHES * (high[0] - low[0])
    # Of a name that is wider than the axes, the beginning is seen.
    places[:, 0] = np.maximum(np.minimum(places[:, 0], high[0] - half), low[0] + half)
    return places


def _spread(heights: np.ndarray, low: float, high: float, unit: float) -> np.ndarray:
    """Ascending heights (M,) moved until they are a unit apart, or as far as there is room for, and within the ends."""
    steps, unit = np.arange(len(heights)), min(unit, (high - low) / len(heights))
    apart = np.maximum.accumulate(heights - unit * steps) + unit * steps
    apart += heights.mean() - apart.mean()
    return np.clip(apart, low + unit * (steps + 0.5), high - unit * (steps[::-1] + 0.5))


def _draw_3d(figure: Figure, place: tuple[int, int, int], cloud: Cloud, angle: tuple[int, int]) -> Axes3D:
    # computed_zorder: class means stay in front of all points, wherever they lie.
    axes = figure.add_subplot(*place, projection="3d", computed_zorder=False)
    assert isinstance(axes, Axes3D)
    order, colours = draw_order(len(cloud.labels)), class_colours(len(cloud.class_names))
    # Not depthshade: it would sort and recolour all points at every drawing; the order is mixed anyway.
    axes.scatter(
        *cloud.scores[order, :3].T, c=colours[cloud.labels[order]], depthshade=False,
        **_point_style(len(order), scale=0.5),
    )  # fmt: skip
    present, means = cloud.means()
    axes.scatter(
        *means[:, :3].T, s=45, c=colours[present], edgecolors="white", linewidths=1.2, depthshade=False, zorder=5
    )
    axes.view_init(*angle)
    axes.set_box_aspect((1, 1, 1), zoom=1.12)
    # Outliers may lie outside the box; the others should fill it.
    half = np.quantile(np.abs(cloud.scores[:, :3]), 0.998) or 1.0
    for axis, name in enumerate("xyz"):
        label = f"PC{axis + 1} ({100 * cloud.ratio[axis]:.1f} %)"
        axes.set(**{f"{name}lim": (-half, half)})
        getattr(axes, f"set_{name}label")(label, fontsize=SMALL_SIZE, labelpad=-8)
        getattr(axes, f"{name}axis").set_pane_color((1, 1, 1, 0))
        getattr(axes, f"{name}axis").set_major_locator(MaxNLocator(5))
    axes.tick_params(labelsize=6, pad=-3, colors=SOFT_INK)
    return axes


def _legend(class_names: Sequence[str]) -> list[Line2D]:
    colours = class_colours(len(class_names))
    return [
        Line2D([], [], linestyle="", marker="o", markersize=7, color=colour, label=short_name(name))
        for name, colour in zip(class_names, colours, strict=True)
    ]


@styled
def turn_background(class_names: Sequence[str], title: str, height: float) -> Figure:
    """What stands around the animated cloud: title and legend; below and left of them, ``TURN_INCHES`` by the given
    height stay free.
    """
    named = len(class_names) <= MAX_NAMED_CLASSES
    figure = titled_figure(TURN_INCHES + 1.4 * named, height + 0.8, title)
    figure.set_dpi(TURN_DPI)
    if named:
        figure.legend(handles=_legend(class_names), loc="outside right center", title="class")
    return figure
