"""Geometry of the page's drawings: figures in, places in an SVG out. The templates hold what is drawn with them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.ticker import MaxNLocator

# A chart's viewBox, and the margins around its frame.
WIDTH, HEIGHT = 360, 240
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 38


@dataclass(frozen=True)
class Tick:
    """A place on an axis, in the unit of the drawing, and what is written there."""

    place: float
    label: str


@dataclass(frozen=True)
class Line:
    """One line of a chart.

    Attributes:
        name: in the legend.
        style: which colour, dashes and marker.
        points: an SVG's list of points.
        band: a closed one around the line; empty without.
        ends: places of the line's last point.
    """

    name: str
    style: int
    points: str
    band: str
    ends: tuple[float, float]


@dataclass(frozen=True)
class Chart:
    """A chart of lines over x."""

    title: str
    x_label: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    lines: list[Line]


@dataclass(frozen=True)
class Series:
    """What a line is drawn from: y (S, N) of S seeds over x (N,); drawn are the mean, and the range as a band."""

    name: str
    style: int
    x: np.ndarray
    y: np.ndarray


def line_chart(title: str, x_label: str, series: Sequence[Series], digits: int, largest: float = math.inf) -> Chart:
    """A chart of the means of several series, each with a band over its seeds.

    Args:
        digits: behind the point, at the ticks of y; more where these are not round.
        largest: that y can be; the axis ends there.
    """
    x_low, x_high = min(one.x.min() for one in series), max(one.x.max() for one in series)
    y_low, y_high = min(one.y.min() for one in series), max(one.y.max() for one in series)
    y_places = [place for place in ticks(float(y_low), float(y_high), 5) if place <= largest]
    digits = next(
        d for d in range(digits, digits + 9) if np.allclose(np.round(y_places, d), y_places, rtol=0, atol=1e-9)
    )
    y_low, y_high = min(y_low, y_places[0]), max(y_high, y_places[-1])
    across = _Scale(float(x_low), float(x_high), LEFT, WIDTH - RIGHT)
    up = _Scale(float(y_low), float(y_high), HEIGHT - BOTTOM, TOP)
    lines = []
    for one in series:
        x, mean, low, high = across(one.x), *(up(f(one.y, axis=0)) for f in (np.mean, np.min, np.max))
        band = _points(np.r_[x, x[::-1]], np.r_[high, low[::-1]]) if len(one.y) > 1 else ""
        lines.append(Line(one.name, one.style, _points(x, mean), band, (round(x[-1], 1), round(mean[-1], 1))))
    x_places = [place for place in ticks(float(x_low), float(x_high), 6, whole=True) if x_low <= place <= x_high]
    return Chart(
        title, x_label,
        [Tick(round(float(across(np.array(place))), 1), f"{place:g}") for place in x_places],
        [Tick(round(float(up(np.array(place))), 1), f"{place:.{digits}f}") for place in y_places],
        lines,
    )  # fmt: skip


def ticks(low: float, high: float, most: int, *, whole: bool = False) -> list[float]:
    """Round places that enclose a range, at most so many and one more."""
    if low == high:
        low, high = low - 1, high + 1
    return [float(place) for place in MaxNLocator(most, integer=whole).tick_values(low, high)]


class _Scale:
    """Values of a range to places of another."""

    def __init__(self, low: float, high: float, start: float, end: float) -> None:
        self.low, self.start = low, start
        self.slope = (end - start) / (high - low) if high > low else 0.0

    def __call__(self, values: np.ndarray) -> np.ndarray:
        return self.start + (values - self.low) * self.slope


def _points(x: np.ndarray, y: np.ndarray) -> str:
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


@dataclass(frozen=True)
class Interval:
    """A difference with its ends, as places in per cent of a forest plot's width."""

    mean: float
    low: float
    high: float


class ForestScale:
    """Places of differences in a forest plot, in per cent of its width; 0 is always among them.

    Args:
        values: all that must lie within, as fractions.
    """

    def __init__(self, values: Sequence[float]) -> None:
        shown = [100 * value for value in values]
        self.places = ticks(min([0.0, *shown]), max([0.0, *shown]), 6)
        low, high = self.places[0], self.places[-1]
        self._scale = _Scale(low, high, 2, 98)

    def place(self, points: float) -> float:
        """Of a difference in points."""
        return round(float(self._scale(np.array(points))), 2)

    def interval(self, mean: float, low: float, high: float) -> Interval:
        """Of a difference of fractions."""
        return Interval(self.place(100 * mean), self.place(100 * low), self.place(100 * high))

    @property
    def ticks(self) -> list[Tick]:
        """Places of round differences, in points."""
        return [Tick(self.place(value), f"{value:+g}".replace("-", "−").replace("+0", "0") if value else "0")
                for value in self.places]  # fmt: skip
