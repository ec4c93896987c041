"""Confusion matrices and their differences show counts, shares and gains, with names where they can be read."""

import matplotlib as mpl
import numpy as np
import pytest
from drawn import assert_within_its_canvas, texts

from alexnet_skip.plots.confusion import (
    MAX_ANNOTATED_CLASSES,
    MAX_SHOWN_CLASSES,
    confusion_difference_figure,
    confusion_matrix_figure,
)
from alexnet_skip.plots.style import BLUE, INK, VERMILION

NAMES = ["cat", "dog", "ship"]
CONFUSION = np.array([[7, 0, 1], [2, 5, 1], [0, 0, 8]])
FIGURES = {
    "counts": lambda: confusion_matrix_figure(CONFUSION, NAMES, "a run with quite a long name, " * 3),
    "many classes": lambda: confusion_matrix_figure(
        np.arange(1600).reshape(40, 40), [f"a rather long name {i}" for i in range(40)], "many"
    ),
    "difference": lambda: confusion_difference_figure(CONFUSION, CONFUSION[:, [0, 2, 1]], NAMES, "b against a"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_at_the_edges_and_no_warning_is_given(name, tmp_path):
    assert_within_its_canvas(FIGURES[name](), tmp_path / "a.png")


def test_a_confusion_matrix_shows_its_counts_recall_and_title():
    figure = confusion_matrix_figure(CONFUSION, NAMES, "cifar10 test, run x")
    axes, bars = figure.axes
    shown = texts(axes)
    assert {"7", "5", "8", "2", "87.5 %"} <= set(shown)
    assert "0" not in shown
    assert [label.get_text() for label in axes.get_yticklabels()] == NAMES
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], [87.5, 62.5, 100])
    assert figure.get_suptitle() == "cifar10 test, run x"
    assert axes.get_title(loc="left") == "top-1 83.33 % of 24 images"


def test_counts_are_dark_on_light_cells_and_light_on_dark_ones():
    axes = confusion_matrix_figure(CONFUSION, NAMES, "t").axes[0]
    colours = {text.get_text(): text.get_color() for text in axes.texts}
    assert (colours["8"], colours["2"]) == ("white", INK)


@pytest.mark.parametrize("classes", [2, MAX_ANNOTATED_CLASSES, MAX_ANNOTATED_CLASSES + 1, 100])
def test_two_to_a_hundred_classes_are_drawn_with_numbers_where_they_can_be_read(classes):
    confusion = np.eye(classes, dtype=int) * 3
    figure = confusion_matrix_figure(confusion, [f"class {i}" for i in range(classes)], "many")
    assert bool(texts(figure.axes[0])) == (classes <= MAX_ANNOTATED_CLASSES)
    assert len(figure.axes[1].patches) == min(classes, MAX_SHOWN_CLASSES)


def test_a_class_without_images_is_drawn():
    figure = confusion_matrix_figure(np.array([[3, 1], [0, 0]]), ["cat", "dog"], "t")
    assert "0.0 %" in texts(figure.axes[0])


def test_a_difference_shows_gains_in_blue_and_losses_in_vermilion():
    a, b = np.array([[6, 4], [1, 9]]), np.array([[8, 2], [3, 7]])
    figure = confusion_difference_figure(a, b, ["cat", "dog"], "b against a")
    axes, bars = figure.axes
    assert texts(axes) == ["+2", "+20.0 pt", "−2", "+2", "−2", "−20.0 pt"]
    assert axes.get_title(loc="left") == "top-1 +0.00 points on 20 images"
    worse = confusion_difference_figure(b, np.array([[6, 4], [3, 7]]), ["cat", "dog"], "c against b").axes[0]
    assert worse.get_title(loc="left") == "top-1 −10.00 points on 20 images"
    # Fewer cats taken for dogs is better, as more cats recognised is.
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.2, 0.2], [-0.2, -0.2]])
    assert [mpl.colors.to_hex(bar.get_facecolor()).upper() for bar in bars.patches] == [BLUE, VERMILION]


def test_a_difference_of_different_samples_is_refused():
    with pytest.raises(ValueError, match="same images per class"):
        confusion_difference_figure(CONFUSION, 2 * CONFUSION, NAMES, "t")
