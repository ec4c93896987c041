"""Learning curves and reliability diagrams show the figures that they were given."""

import numpy as np
import pytest
from drawn import assert_within_its_canvas

from alexnet_skip.plots.curves import learning_curves_figure, reliability_figure
from alexnet_skip.statistics import metrics


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
    "curves": lambda: learning_curves_figure(history(12), 9, "run"),
    "reliability": lambda: reliability_figure(*some_reliability(), "run"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_nothing_is_cut_off_at_the_edges_and_no_warning_is_given(name, tmp_path):
    assert_within_its_canvas(FIGURES[name](), tmp_path / "a.png")


def test_learning_curves_show_both_splits_and_mark_the_best_epoch():
    figure = learning_curves_figure(history(12), 10, "run")
    loss, top1 = figure.axes
    lines = {line.get_label(): line for line in top1.lines}
    np.testing.assert_allclose(lines["val"].get_ydata(), [entry["val_top1"] for entry in history(12)])
    np.testing.assert_allclose(lines["train"].get_ydata(), [entry["train_top1"] for entry in history(12)])
    assert loss.get_title(loc="left") == "loss; best epoch 10: 0.120 on val"
    assert top1.get_title(loc="left") == "top-1 accuracy; best epoch 10: 86.00 % on val"


def test_one_epoch_and_no_validation_split_are_drawn():
    entry = history(1)[0] | {"val_loss": None, "val_top1": None}
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
