"""Figures of embeddings say what they show, hide no class behind another, and can be read by everybody."""

import itertools

import numpy as np
import pytest
from matplotlib.colors import to_rgba_array
from matplotlib.text import Text
from numpy.testing import assert_allclose
from PIL import Image

from alexnet_skip.plots import embedding as plots
from alexnet_skip.plots.embedding import Cloud, class_colours, draw_order
from alexnet_skip.plots.style import save_figure


def cloud(classes: int = 10, n: int = 300, components: int = 5) -> Cloud:
    rng = np.random.default_rng(0)
    labels = np.arange(n) % classes
    scores = rng.standard_normal((n, components)) * 5 + rng.standard_normal((classes, components))[labels] * 4
    return Cloud(scores, labels, 0.3 * 0.7 ** np.arange(components), tuple(f"class {i}" for i in range(classes)))


FIGURES = {
    "2-D": lambda: plots.pca_2d_figure(cloud(), "features of some images; a run with quite a long name, " * 3),
    "2-D of many classes": lambda: plots.pca_2d_figure(cloud(100), "many"),
    "2-D of two classes": lambda: plots.pca_2d_figure(cloud(2, n=5, components=2), "few"),
    "3-D": lambda: plots.pca_3d_figure(cloud(), "features"),
    "explained variance": lambda: plots.explained_variance_figure(cloud().ratio, 9216, "features"),
    "comparison": lambda: plots.comparison_figure([cloud()] * 2, ["plain", "skip"], ["kNN 50 %"] * 2, "both"),
    "comparison in two dimensions": lambda: plots.comparison_figure(
        [cloud(components=2)] * 2, ["plain", "skip"], ["kNN 50 %"] * 2, "both"
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_at_the_edges_and_no_warning_is_given(name, tmp_path):
    save_figure(FIGURES[name](), tmp_path / "a.png", dpi=60)
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.array(image.convert("L"))
    edges = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    assert (edges == 255).all(), f"{name} reaches the edge of its canvas"
    assert (pixels < 100).any(), f"{name} is empty"


def test_axes_tell_their_share_of_the_variance_and_means_have_names():
    figure = plots.pca_2d_figure(cloud(3), "a title")
    axes = figure.axes[0]
    assert axes.get_xlabel() == "PC1 (30.0 % of variance)"
    assert axes.get_ylabel() == "PC2 (21.0 % of variance)"
    assert {text.get_text() for text in axes.texts} == {"class 0", "class 1", "class 2"}
    assert figure.get_suptitle() == "a title"


def test_class_means_are_where_their_points_are():
    points = cloud(3)
    axes = plots.pca_2d_figure(points, "").axes[0]
    drawn = np.asarray(axes.collections[1].get_offsets())
    assert_allclose(drawn, [points.scores[points.labels == label, :2].mean(axis=0) for label in range(3)])
    assert_allclose([text.xy for text in axes.texts], drawn)


def test_points_are_drawn_in_their_colours_but_not_class_after_class():
    labels = np.repeat(np.arange(10), 50)
    points = Cloud(
        np.random.default_rng(0).standard_normal((500, 2)), labels, np.array([0.5, 0.2]), tuple("abcdefghij")
    )
    drawn = plots.pca_2d_figure(points, "").axes[0].collections[0]
    order = draw_order(500)
    assert_allclose(np.asarray(drawn.get_offsets()), points.scores[order])
    assert_allclose(drawn.get_facecolors()[:, :3], class_colours(10)[labels[order], :3])
    assert len(set(labels[order][-20:])) > 5


@pytest.mark.parametrize("name", ["short", "a name as long as a folder's may be, and then some"])
def test_names_of_class_means_stay_within_the_axes(name):
    rng = np.random.default_rng(0)
    # Means near the edges, and many at one height.
    means = np.concatenate(
        (np.c_[np.linspace(-9, 9, 12), np.full(12, 9)], np.c_[np.full(12, 9), np.linspace(-9, 9, 12)])
    )
    labels = np.arange(240) % 24
    points = Cloud(
        means[labels] + rng.normal(size=(240, 2)) / 9, labels, np.ones(2) / 2, tuple(f"{name} {i}" for i in range(24))
    )
    figure = plots.pca_2d_figure(points, "edges")
    figure.draw_without_rendering()
    axes = figure.axes[0]
    inside = axes.get_window_extent()
    for text in axes.texts:
        # Not the annotation's own, which holds its arrow.
        box = Text.get_window_extent(text)
        assert inside.x0 <= box.x0 < box.x1 <= inside.x1, text.get_text()
        assert inside.y0 <= box.y0 < box.y1 <= inside.y1, text.get_text()


def test_explained_variance_has_one_axis_for_bars_and_line():
    ratio = cloud().ratio
    (axes,) = plots.explained_variance_figure(ratio, 9216, "a").axes
    assert_allclose([bar.get_height() for bar in axes.patches], 100 * ratio)
    assert_allclose(axes.lines[0].get_ydata(), 100 * np.cumsum(ratio))
    assert axes.get_ylim()[1] >= 100 * ratio.sum()


def test_an_absent_class_has_no_mean():
    points = Cloud(np.eye(4), np.array([0, 0, 2, 2]), np.full(4, 0.25), ("a", "b", "c"))
    assert points.means()[0].tolist() == [0, 2]
    assert {text.get_text() for text in plots.pca_2d_figure(points, "").axes[0].texts} == {"a", "c"}


# Machado, Oliveira and Fernandes (2009), severity 1: what linear RGB becomes without red, green or blue cones.
DEFICIENCIES = {
    "none": np.eye(3),
    "protanopia": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]],
    "deuteranopia": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]],
    "tritanopia": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]],
}


def lab(colours: np.ndarray, deficiency: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of sRGB colours (C, 3) as seen with a deficiency."""
    linear = np.where(colours <= 0.04045, colours / 12.92, ((colours + 0.055) / 1.055) ** 2.4)
    linear = np.clip(linear @ np.asarray(deficiency).T, 0, 1)
    xyz = linear @ np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]).T
    f = np.cbrt(xyz / (0.9505, 1.0, 1.089))
    return np.stack([116 * f[:, 1] - 16, 500 * (f[:, 0] - f[:, 1]), 200 * (f[:, 1] - f[:, 2])], axis=1)


# What CIFAR-10's classes lie beside in feature space, or were once drawn in nearly the same colour as.
NEIGHBOURS = (("cat", "dog"), ("dog", "horse"), ("deer", "horse"), ("cat", "ship"), ("airplane", "ship"),
              ("automobile", "truck"))  # fmt: skip
CIFAR10 = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_neighbours_among_the_classes_differ_most(deficiency):
    seen = dict(zip(CIFAR10, lab(class_colours(10)[:, :3], DEFICIENCIES[deficiency]), strict=True))
    assert min(np.linalg.norm(seen[a] - seen[b]) for a, b in NEIGHBOURS) > 35


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_ten_colours_are_told_apart_with_any_kind_of_colour_vision(deficiency):
    seen = lab(class_colours(10)[:, :3], DEFICIENCIES[deficiency])
    nearest = min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))
    # A difference of 2.3 is just noticeable side by side; matplotlib's own ten colours come down to 3.6.
    assert nearest > 15


def test_many_classes_still_have_colours_of_their_own():
    assert len(np.unique(class_colours(100), axis=0)) == 100
    assert_allclose(class_colours(3), to_rgba_array(plots.TEN_COLOURS[:3]))
