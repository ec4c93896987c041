"""Pictures of very many classes, or of very long names, stay as large as a screen, and say what they show."""

import inspect
import tracemalloc

import numpy as np
import pytest
from PIL import Image

from alexnet_skip.plots import embedding
from alexnet_skip.plots.confusion import (
    MAX_SHOWN_CLASSES,
    confusion_difference_figure,
    confusion_matrix_figure,
    confusion_table_figure,
    shown_classes,
)
from alexnet_skip.plots.style import MAX_NAME_LETTERS, MAX_SIDE_PX, save_figure, short_name, titled_figure

# A screen, or two.
SCREEN_PX = 2600
DOTS_PER_INCH = inspect.signature(save_figure).parameters["dpi"].default


def confused(classes, rng, errors=3000):
    """Counts (C, C) in which every class is mostly right."""
    matrix = 20 * np.eye(classes, dtype=np.int64)
    np.add.at(matrix, tuple(rng.integers(0, classes, (2, errors))), 1)
    return matrix


def names(classes):
    return [f"class {i}" for i in range(classes)]


def cloud(classes, name="class {}"):
    rng = np.random.default_rng(0)
    labels = np.arange(4 * classes) % classes
    found = tuple(name.format(i) for i in range(classes))
    return embedding.Cloud(rng.standard_normal((len(labels), 3)), labels, np.array([0.4, 0.2, 0.1]), found)


DRAWN = {
    "confusion": lambda m, n: confusion_matrix_figure(m, n, "a run"),
    "difference": lambda m, n: confusion_difference_figure(m, m[:, ::-1], n, "b against a"),
    "table": lambda m, n: confusion_table_figure(
        [[m] * 4] * 2, [["90"] * 4] * 2, ["low", "high"], ["a"] * 4, n, "a study"
    ),
}


@pytest.mark.parametrize("name", DRAWN)
@pytest.mark.parametrize("classes", [MAX_SHOWN_CLASSES + 1, 1000])
def test_a_matrix_of_many_classes_has_a_screens_size_and_says_how_many_it_shows(name, classes, rng):
    figure = DRAWN[name](confused(classes, rng), names(classes))
    assert max(figure.get_size_inches()) * DOTS_PER_INCH <= SCREEN_PX
    kind = "changed" if name == "difference" else "confused"
    caption = figure.get_supxlabel() if name == "table" else figure.axes[0].get_title(loc="left")
    assert f"the {MAX_SHOWN_CLASSES} most {kind} of {classes:,} classes" in caption
    assert len(figure.axes[0].get_yticks()) == MAX_SHOWN_CLASSES


def test_a_thousand_classes_are_drawn_in_little_memory(tmp_path, rng):
    matrix = confused(1000, rng)
    tracemalloc.start()
    figure = confusion_matrix_figure(matrix, names(1000), "a run")
    save_figure(figure, tmp_path / "a.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == tuple((figure.get_size_inches() * DOTS_PER_INCH).astype(int))
    # All cells at the size of the others would be a canvas of 870 MB.
    assert peak < 200e6


@pytest.mark.parametrize("name", DRAWN)
def test_up_to_fifty_classes_are_all_shown_and_nothing_is_said(name, rng):
    figure = DRAWN[name](confused(MAX_SHOWN_CLASSES, rng), names(MAX_SHOWN_CLASSES))
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == names(MAX_SHOWN_CLASSES)
    assert "most" not in figure.get_supxlabel() + figure.axes[0].get_title(loc="left")


def test_the_strongest_confusions_are_among_what_is_shown_with_their_own_shares(rng):
    matrix = 20 * np.eye(300, dtype=np.int64)
    pairs = rng.permutation(300)[:MAX_SHOWN_CLASSES].reshape(-1, 2)
    matrix[pairs[:, 0], pairs[:, 1]] = np.arange(5, 30)
    # Weaker ones everywhere: one image of each class is taken for the next.
    matrix[np.arange(300), (np.arange(300) + 1) % 300] += 1
    shown = shown_classes(matrix)
    np.testing.assert_array_equal(shown, np.sort(pairs.ravel()))
    axes, bars, *_ = confusion_matrix_figure(matrix, names(300), "a run").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [f"class {i}" for i in shown]
    share = matrix / matrix.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(axes.images[0].get_array(), share[np.ix_(shown, shown)])
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], 100 * np.diag(share)[shown])
    accuracy = 100 * np.trace(matrix) / matrix.sum()
    assert axes.get_title(loc="left").startswith(f"top-1 {accuracy:.2f} % of {matrix.sum():,} images\n")


def test_the_difference_of_many_classes_shows_where_it_lies_and_tells_all_of_it():
    a = 20 * np.eye(200, dtype=np.int64)
    b = a.copy()
    b[150, 150], b[150, 7] = 12, 8
    assert {7, 150} <= set(shown_classes(np.abs(b - a)))
    axes = confusion_difference_figure(a, b, names(200), "b against a").axes[0]
    assert axes.get_title(loc="left").startswith("top-1 −0.20 points on 4,000 images\n")
    place = [label.get_text() for label in axes.get_yticklabels()].index("class 150")
    assert axes.images[0].get_array()[place, place] == pytest.approx(-8 / 20)


def test_classes_that_are_never_confused_fill_the_picture_up():
    np.testing.assert_array_equal(shown_classes(np.eye(80, dtype=int)), np.arange(MAX_SHOWN_CLASSES))


@pytest.mark.parametrize(
    ("draw", "classes"),
    [(embedding.pca_2d_figure, 25), (embedding.pca_2d_figure, 1000), (embedding.pca_3d_figure, 25)],
)
def test_an_embedding_has_a_legend_of_few_classes_only_and_a_largest_size(draw, classes):
    figure = draw(cloud(classes, "a name of {} that is as long as a folder's may be" + "x" * 180), "a run")
    assert max(figure.get_size_inches()) * DOTS_PER_INCH <= SCREEN_PX
    assert len(figure.legends) == (classes == 25)
    for legend in figure.legends:
        assert max(len(text.get_text()) for text in legend.get_texts()) == MAX_NAME_LETTERS


def test_long_names_lose_their_middle_and_others_nothing(tmp_path):
    assert short_name("x" * MAX_NAME_LETTERS) == "x" * MAX_NAME_LETTERS
    long = "begin" + "x" * 200 + "end"
    assert len(short_name(long)) == MAX_NAME_LETTERS
    assert short_name(long)[:5] + short_name(long)[-3:] == "beginend"
    save_figure(confusion_matrix_figure(np.eye(3, dtype=int), [long, "a", "b"], "a run"), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert max(image.size) <= 1200


def test_no_picture_gets_longer_than_the_largest_side(tmp_path):
    save_figure(titled_figure(100, 2, "wide"), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.size == (MAX_SIDE_PX, MAX_SIDE_PX * 2 // 100)
