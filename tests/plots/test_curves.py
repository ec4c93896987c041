"""Learning curves and reliability diagrams show the figures that they were given."""

import numpy as np
import pytest
from drawn import assert_within_its_canvas
from matplotlib.patches import Rectangle

from alexnet_skip.plots.curves import learning_curves_figure, reliability_figure
from alexnet_skip.statistics import metrics


def history(epochs):
    return [
        {
            "epoch": e, "train_loss": 2 / e, "train_top1": 0.8 - 0.5 / e, "train_eval_loss": 1 / e,
            "train_eval_top1": 1 - 0.5 / e, "val_loss": 1.2 / e, "val_top1": 0.9 - 0.4 / e, "val_top3": 0.95 - 0.3 / e,
        }
        for e in range(1, epochs + 1)
    ]  # fmt: skip


def some_reliability():
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(300, 4)), rng.integers(0, 4, 300)
    return metrics.reliability_bins(metrics.softmax(logits), labels)


FIGURES = {
    "curves": lambda: learning_curves_figure(history(12), 9, "run"),
    "reliability": lambda: reliability_figure(*some_reliability(), "run"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_at_the_edges_and_no_warning_is_given(name, tmp_path):
    assert_within_its_canvas(FIGURES[name](), tmp_path / "a.png")


def curves(axes):
    """What is drawn in axes, by its name in the legend."""
    named = {text.get_text() for text in axes.get_legend().get_texts()}
    return {line.get_label(): list(line.get_ydata()) for line in axes.lines if line.get_label() in named}


def test_learning_curves_show_what_was_measured_alike_and_what_was_minimised_and_mark_the_best_epoch():
    figure = learning_curves_figure(history(12), 10, "run")
    loss, accuracy = figure.axes

    def of(name):
        return [entry[name] for entry in history(12)]

    assert curves(loss) == {
        "train, as minimised": of("train_loss"), "train": of("train_eval_loss"), "val": of("val_loss"),
    }  # fmt: skip
    assert curves(accuracy) == {
        "top-1 train, while training": of("train_top1"), "top-1 train": of("train_eval_top1"),
        "top-1 val": of("val_top1"), "top-3 val": of("val_top3"),
    }  # fmt: skip
    assert loss.get_title(loc="left") == "loss; best epoch 10: 0.120 on val"
    assert accuracy.get_title(loc="left") == "accuracy; best epoch 10: top-1 86.00 % on val"
    assert "label smoothing" in figure.get_supxlabel()


def test_a_run_from_before_training_images_were_measured_is_drawn():
    old = [{k: v for k, v in entry.items() if "eval" not in k and k != "val_top3"} for entry in history(3)]
    loss, accuracy = learning_curves_figure(old, 2, "run").axes
    assert set(curves(loss)) == {"train, as minimised", "val"}
    assert set(curves(accuracy)) == {"top-1 train, while training", "top-1 val"}


def test_one_epoch_and_no_validation_split_are_drawn():
    entry = {name: value for name, value in history(1)[0].items() if "val" not in name} | {"val_loss": None}
    loss, _ = learning_curves_figure([entry], 1, "run").axes
    (line,) = loss.lines
    assert line.get_marker() == "o"
    assert loss.get_title(loc="left") == "loss"


def test_a_history_of_nothing_is_refused():
    with pytest.raises(ValueError, match="no epoch"):
        learning_curves_figure([], None, "run")


def test_a_reliability_diagram_states_the_calibration_error_and_leaves_out_empty_bins(rng):
    logits, labels = 3 * rng.normal(size=(500, 4)), rng.integers(0, 4, 500)
    probabilities = metrics.softmax(logits)
    bins = metrics.reliability_bins(probabilities, labels, 20)
    above, below = reliability_figure(*bins, "run").axes
    error = metrics.expected_calibration_error(probabilities, labels, 20)
    assert above.get_title(loc="left") == f"expected calibration error {100 * error:.2f} % on 500 images"
    assert 0 < len(above.patches) == (bins.num_samples > 0).sum() < 20
    assert sum(bar.get_height() for bar in below.patches) == pytest.approx(1)


def test_the_second_stage_is_shaded_from_its_first_epoch_to_its_last():
    """Of a run that begins with another's model, whose history begins later, too."""
    history = [{"epoch": epoch, "train_loss": 1.0, "val_loss": 1.0, "val_top1": 0.5} for epoch in (4, 5, 6)]
    for axes in learning_curves_figure(history, 6, "a run", second_stage=5).axes:
        (shade,) = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        assert (shade.get_x(), shade.get_x() + shade.get_width()) == (4.5, 6.5)
    assert not any(axes.patches for axes in learning_curves_figure(history, 6, "a run").axes)
