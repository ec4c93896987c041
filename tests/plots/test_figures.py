"""Figures say what they should, fit their canvas, and are written whole."""

import warnings

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from alexnet_skip.plots import curves, gallery
from alexnet_skip.plots.confusion import (
    MAX_ANNOTATED_CLASSES,
    MAX_SHOWN_CLASSES,
    confusion_difference_figure,
    confusion_matrix_figure,
)
from alexnet_skip.plots.style import BLUE, INK, VERMILION, save_figure, titled_figure
from alexnet_skip.statistics import metrics

NAMES = ["cat", "dog", "ship"]
CONFUSION = np.array([[7, 0, 1], [2, 5, 1], [0, 0, 8]])


def texts(axes):
    return [text.get_text() for text in axes.texts if text.get_text()]


def history(epochs):
    return [
        {"epoch": e, "train_loss": 1 / e, "train_top1": 1 - 0.5 / e, "val_loss": 1.2 / e, "val_top1": 0.9 - 0.4 / e}
        for e in range(1, epochs + 1)
    ]


def some_reliability():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(300, 4)), rng.integers(0, 4, 300)
    return metrics.reliability_bins(metrics.softmax(logits), labels)


FIGURES = {
    "confusion": lambda: confusion_matrix_figure(CONFUSION, NAMES, "a run with quite a long name, " * 3),
    "many classes": lambda: confusion_matrix_figure(
        np.arange(1600).reshape(40, 40), [f"a rather long name {i}" for i in range(40)], "many"
    ),
    "difference": lambda: confusion_difference_figure(CONFUSION, CONFUSION[:, [0, 2, 1]], NAMES, "b against a"),
    "curves": lambda: curves.learning_curves_figure(history(12), 9, "run"),
    "reliability": lambda: curves.reliability_figure(*some_reliability(), "run"),
    "gallery": lambda: gallery.image_grid_figure(
        np.zeros((5, 32, 32, 3), np.uint8), ["a caption that is too long for one line, 99.9 %"] * 5, "mistakes", 4
    ),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_at_the_edges_and_no_warning_is_given(name, tmp_path):
    save_figure(FIGURES[name](), tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pixels = np.array(image.convert("L"))
    assert min(pixels.shape) > 250
    edges = np.concatenate((pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]))
    assert (edges == 255).all(), f"{name} reaches the edge of its canvas"
    assert (pixels < 100).any(), f"{name} is empty"


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
    # Fewer cats taken for dogs is better, as more cats recognised is.
    np.testing.assert_allclose(axes.images[0].get_array(), [[0.2, 0.2], [-0.2, -0.2]])
    assert [mpl.colors.to_hex(bar.get_facecolor()).upper() for bar in bars.patches] == [BLUE, VERMILION]


def test_a_difference_of_different_samples_is_refused():
    with pytest.raises(ValueError, match="same images per class"):
        confusion_difference_figure(CONFUSION, 2 * CONFUSION, NAMES, "t")


def test_learning_curves_show_both_splits_and_mark_the_best_epoch():
    figure = curves.learning_curves_figure(history(12), 10, "run")
    loss, top1 = figure.axes
    lines = {line.get_label(): line for line in top1.lines}
    np.testing.assert_allclose(lines["val"].get_ydata(), [entry["val_top1"] for entry in history(12)])
    np.testing.assert_allclose(lines["train"].get_ydata(), [entry["train_top1"] for entry in history(12)])
    assert loss.get_title(loc="left") == "loss; best epoch 10: 0.120 on val"
    assert top1.get_title(loc="left") == "top-1 accuracy; best epoch 10: 86.00 % on val"


def test_one_epoch_and_no_validation_split_are_drawn():
    entry = history(1)[0] | {"val_loss": None, "val_top1": None}
    loss, _ = curves.learning_curves_figure([entry], 1, "run").axes
    (line,) = loss.lines
    assert line.get_marker() == "o"
    assert loss.get_title(loc="left") == "loss"


def test_a_history_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no epoch"):
        curves.learning_curves_figure([], None, "run")


def test_a_reliability_diagram_states_the_calibration_error_and_leaves_out_empty_bins(rng):
    logits, labels = 3 * rng.normal(size=(500, 4)), rng.integers(0, 4, 500)
    probabilities = metrics.softmax(logits)
    bins = metrics.reliability_bins(probabilities, labels, 20)
    above, below = curves.reliability_figure(*bins, "run").axes
    error = metrics.expected_calibration_error(probabilities, labels, 20)
    assert above.get_title(loc="left") == f"expected calibration error {100 * error:.2f} % on 500 images"
    assert 0 < len(above.patches) == (bins.num_samples > 0).sum() < 20
    assert sum(bar.get_height() for bar in below.patches) == pytest.approx(1)


def test_a_gallery_holds_every_image_with_its_caption(rng):
    images = rng.integers(0, 256, (5, 8, 16, 3), dtype=np.uint8)
    captions = ["cat → dog 99 %", "a caption that needs to be wrapped 98.1 %", "two\nlines", "$5 and $6", ""]
    axes = gallery.image_grid_figure(images, captions, "mistakes", columns=3).axes[0]
    for drawn, image in zip(axes.images, images, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), image)
    extents = [image.get_extent() for image in axes.images]
    assert len({(left, top) for left, _, _, top in extents}) == 5
    assert len({top for *_, top in extents}) == 2
    assert all((right - left) == pytest.approx(2 * (top - bottom)) for left, right, bottom, top in extents)
    written = [text.get_text() for text in axes.texts]
    assert [text.replace("\n", " ").replace("\u00a0", " ") for text in written] == [
        c.replace("\n", " ") for c in captions
    ]
    assert max(len(line) for text in written for line in text.splitlines()) <= 20


def test_a_gallery_of_nothing_says_so_and_captions_must_fit():
    none = np.zeros((0, 8, 8, 3), np.uint8)
    assert texts(gallery.image_grid_figure(none, [], "mistakes").axes[0]) == ["none"]
    with pytest.raises(ValueError, match="1 captions for 0 images"):
        gallery.image_grid_figure(none, ["a"], "mistakes")


def test_dollar_signs_and_letters_without_a_font_are_no_error(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = confusion_matrix_figure(CONFUSION, ["$x_", "a$\\frac$", "\U000f0000"], "$5 and $6_")
        save_figure(figure, tmp_path / "a.png")


def test_the_users_matplotlib_settings_neither_matter_nor_change():
    with mpl.rc_context({"font.size": 30, "text.color": "red", "axes.facecolor": "black"}):
        before = dict(mpl.rcParams)
        ours = confusion_matrix_figure(CONFUSION, NAMES, "t")
        assert dict(mpl.rcParams) == before
    assert ours.axes[0].get_facecolor() == (1, 1, 1, 1)
    assert ours.axes[0].title.get_fontsize() < 15


def test_a_figure_that_fails_to_draw_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = titled_figure(4, 3, "t")

    def fail(file, **_):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
