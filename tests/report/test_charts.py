"""Drawings put figures where they belong."""

import numpy as np
import pytest

from alexnet_skip.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, ForestScale, Series, line_chart


def places(points: str) -> np.ndarray:
    return np.array([[float(value) for value in pair.split(",")] for pair in points.split()])


def test_a_line_is_the_mean_and_its_band_the_range_of_seeds(rng):
    y = rng.random((3, 6))
    chart = line_chart("title", "epoch", [Series("a", 0, np.arange(1, 7), y)], 2)
    (line,) = chart.lines
    drawn, band = places(line.points), places(line.band)
    # y is linear in the ticks: two of them are enough to read every other place.
    low, high = chart.y_ticks[0], chart.y_ticks[-1]
    value = float(low.label) + (drawn[:, 1] - low.place) / (high.place - low.place) * (
        float(high.label) - float(low.label)
    )
    np.testing.assert_allclose(value, y.mean(axis=0), atol=0.005)
    assert len(band) == 12
    assert (band[:6, 1] <= drawn[:, 1] + 0.1).all()
    assert (band[6:][::-1, 1] >= drawn[:, 1] - 0.1).all()
    assert drawn[0, 0] == LEFT
    assert drawn[-1, 0] == WIDTH - RIGHT
    assert ((drawn[:, 1] >= TOP - 0.1) & (drawn[:, 1] <= HEIGHT - BOTTOM + 0.1)).all()


@pytest.mark.parametrize(("low", "high"), [(72.3, 86.0), (0.48, 0.88), (93.0, 98.0), (99.91, 99.98)])
def test_a_tick_says_where_it_stands(low, high):
    chart = line_chart("title", "epoch", [Series("a", 0, np.array([1, 2]), np.array([[low, high]]))], 0)
    told, places_of = (np.array(of) for of in zip(*((float(t.label), t.place) for t in chart.y_ticks), strict=True))
    straight = np.polynomial.Polynomial.fit(told, places_of, 1)
    np.testing.assert_allclose(straight(told), places_of, atol=0.2)


def test_one_seed_has_no_band_and_a_flat_line_of_one_epoch_has_a_place():
    chart = line_chart("title", "epoch", [Series("a", 0, np.array([1]), np.array([[0.5]]))], 2)
    assert chart.lines[0].band == ""
    assert np.isfinite(places(chart.lines[0].points)).all()


@pytest.mark.parametrize("y", [[76.0, 98.5], [99.9, 100.0], [100.0, 100.0]])
def test_an_axis_of_per_cents_ends_at_a_hundred_and_holds_its_line(y):
    chart = line_chart("title", "epoch", [Series("a", 0, np.array([1, 2]), np.array([y]))], 0, 100)
    assert max(float(tick.label) for tick in chart.y_ticks) <= 100
    heights = places(chart.lines[0].points)[:, 1]
    assert ((heights >= TOP - 0.1) & (heights <= HEIGHT - BOTTOM + 0.1)).all()


def test_a_forest_plot_has_zero_and_all_ends_within_it():
    scale = ForestScale([-0.004, 0.021])
    places = [scale.place(value) for value in (-0.4, 0.0, 2.1)]
    assert places == sorted(places)
    assert all(0 <= place <= 100 for place in places)
    (zero,) = [tick for tick in scale.ticks if tick.label == "0"]
    assert zero.place == scale.place(0.0)
    shown = scale.interval(0.01, -0.004, 0.021)
    assert shown.low < shown.mean < shown.high
    assert any(tick.label.startswith("−") for tick in scale.ticks)


@pytest.mark.parametrize("ends", [[0.0, 0.0], [0.01, 0.02], [-0.02, -0.01]])
def test_differences_on_one_side_of_zero_or_none_at_all_are_drawn(ends):
    scale = ForestScale(ends)
    assert 0 <= scale.place(0.0) <= 100
    assert all(0 <= scale.place(100 * end) <= 100 for end in ends)
