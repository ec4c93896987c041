"""Metrics against scikit-learn and scipy, and simulations where there is no oracle."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binomtest
from sklearn import metrics as oracle

from alexnet_skip.statistics import metrics

# The same examples on every machine and every run.
steady = settings(deadline=None, derandomize=True, max_examples=40)


def sample(seed, n=200, classes=7):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels], labels


@steady
@given(st.integers(0, 50), st.integers(2, 9))
def test_figures_equal_scikit_learns(seed, classes):
    logits, labels = sample(seed, classes=classes)
    every = np.arange(classes)
    predictions = logits.argmax(1)
    confusion = metrics.confusion_matrix(labels, predictions, classes)
    np.testing.assert_array_equal(confusion, oracle.confusion_matrix(labels, predictions, labels=every))
    ours = metrics.precision_recall_f1_support(confusion)
    theirs = oracle.precision_recall_fscore_support(labels, predictions, labels=every, zero_division=0)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b)
    assert metrics.macro_f1(confusion) == pytest.approx(oracle.f1_score(labels, predictions, average="macro"))
    balanced = oracle.balanced_accuracy_score(labels, predictions)
    assert metrics.balanced_accuracy(confusion) == pytest.approx(balanced)
    probabilities = metrics.softmax(logits)
    loss = oracle.log_loss(labels, probabilities, labels=every)
    assert metrics.negative_log_likelihood(probabilities, labels) == pytest.approx(loss)
    for k in range(1, classes):
        if classes > 2:
            expected = oracle.top_k_accuracy_score(labels, logits, k=k, labels=every)
            assert metrics.topk_accuracy(logits, labels, k) == pytest.approx(expected)


def test_a_class_without_samples_or_predictions_has_figures_of_zero():
    labels, predictions = np.array([0, 0, 1]), np.array([0, 2, 2])
    ours = metrics.precision_recall_f1_support(metrics.confusion_matrix(labels, predictions, 4))
    theirs = oracle.precision_recall_fscore_support(labels, predictions, labels=np.arange(4), zero_division=0)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b)


# scikit-learn says that a class was predicted of which there are no images.
@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
@pytest.mark.parametrize("predictions", [[0, 2, 2], [0, 0, 1], [2, 2, 2]])
def test_means_over_classes_leave_out_those_without_images_as_scikit_learn_does(predictions):
    labels, predictions = np.array([0, 0, 1]), np.array(predictions)
    confusion = metrics.confusion_matrix(labels, predictions, 5)
    assert metrics.macro_f1(confusion) == pytest.approx(oracle.f1_score(labels, predictions, average="macro"))
    expected = oracle.balanced_accuracy_score(labels, predictions)
    assert metrics.balanced_accuracy(confusion) == pytest.approx(expected)


def test_rows_are_true_classes():
    assert metrics.confusion_matrix(np.array([0]), np.array([1]), 2).tolist() == [[0, 1], [0, 0]]


@steady
@given(st.integers(0, 30))
def test_topk_is_monotone_in_k_and_top1_is_the_trace(seed):
    logits, labels = sample(seed)
    values = [metrics.topk_accuracy(logits, labels, k) for k in range(1, 8)]
    assert values == sorted(values)
    assert values[-1] == 1
    confusion = metrics.confusion_matrix(labels, logits.argmax(1), 7)
    assert values[0] == np.trace(confusion) / confusion.sum()


@steady
@given(st.integers(0, 30), st.integers(1, 5))
def test_ties_rank_the_lower_class_first_as_a_stable_sort_does(seed, k):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 3, (50, 5)), rng.integers(0, 5, 50)
    ranked = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    assert metrics.topk_accuracy(scores, labels, k) == (ranked == labels[:, None]).any(axis=1).mean()


def test_a_k_outside_the_classes_is_refused():
    with pytest.raises(ValueError, match="k=12 exceeds the 7 classes: every label would count; give 1 to 7"):
        metrics.topk_accuracy(*sample(0), 12)
    with pytest.raises(ValueError, match="k=0 is below 1; give 1 to 7"):
        metrics.topk_accuracy(*sample(0), 0)


def test_scores_that_are_not_numbers_are_refused_and_the_sample_named():
    logits, labels = sample(0)
    logits[3, 2] = np.nan
    with pytest.raises(ValueError, match="sample 3 are not numbers"):
        metrics.topk_accuracy(logits, labels, 1)
    logits[3, 2] = np.inf
    with pytest.raises(ValueError, match="sample 3 are not finite"):
        metrics.summarize(logits, labels, list("abcdefg"))


@pytest.mark.parametrize("wrong", [-1, 7])
def test_labels_outside_the_classes_are_refused(wrong):
    logits, labels = sample(0)
    labels[5] = wrong
    with pytest.raises(ValueError, match=r"labels range from .* 7 classes are 0 to 6"):
        metrics.topk_accuracy(logits, labels, 1)
    with pytest.raises(ValueError, match="labels range from"):
        metrics.confusion_matrix(labels, logits.argmax(1), 7)
    with pytest.raises(ValueError, match="predictions range from"):
        metrics.confusion_matrix(logits.argmax(1), labels, 7)


def test_samples_that_do_not_pair_up_or_are_missing_are_refused():
    logits, labels = sample(0)
    with pytest.raises(ValueError, match=r"not \(N, C\) and \(N,\)"):
        metrics.topk_accuracy(logits, labels[:-1], 1)
    with pytest.raises(ValueError, match="do not pair up"):
        metrics.confusion_matrix(labels, labels[:-1], 7)
    with pytest.raises(ValueError, match="no sample"):
        metrics.summarize(logits[:0], labels[:0], list("abcdefg"))


@steady
@given(st.integers(0, 100), st.integers(1, 100), st.sampled_from([0.9, 0.95, 0.99]))
def test_the_wilson_interval_equals_scipys(successes, n, confidence):
    successes = min(successes, n)
    expected = binomtest(successes, n).proportion_ci(confidence, method="wilson")
    ours = metrics.wilson_interval(successes, n, confidence)
    np.testing.assert_allclose(ours, (expected.low, expected.high), atol=1e-9)


def test_the_wilson_interval_covers_as_it_promises(rng):
    drawn = rng.binomial(500, 0.84, 4000)
    intervals = np.array([metrics.wilson_interval(int(x), 500) for x in drawn])
    assert 0.93 <= ((intervals[:, 0] <= 0.84) & (intervals[:, 1] >= 0.84)).mean() <= 0.97


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_a_proportion_that_is_none_is_refused(successes, n):
    with pytest.raises(ValueError, match="no proportion"):
        metrics.wilson_interval(successes, n)


def test_calibration_error_of_a_calibrated_and_an_overconfident_classifier(rng):
    confidence = rng.uniform(0.5, 1, 40_000)
    probabilities = np.stack((confidence, 1 - confidence), axis=1)
    calibrated = (rng.uniform(size=len(confidence)) > confidence).astype(int)
    assert metrics.expected_calibration_error(probabilities, calibrated) < 0.02
    always_wrong = np.ones(len(confidence), dtype=int)
    expected = pytest.approx(confidence.mean())
    assert metrics.expected_calibration_error(probabilities, always_wrong) == expected


@steady
@given(st.integers(0, 30), st.integers(1, 20))
def test_reliability_bins_are_those_of_the_definition(seed, bins):
    logits, labels = sample(seed, n=60, classes=4)
    probabilities = metrics.softmax(logits)
    ours = metrics.reliability_bins(probabilities, labels, bins)
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    error = 0.0
    for m in range(bins):
        inside = (confidence > m / bins) & (confidence <= (m + 1) / bins)
        assert ours.num_samples[m] == inside.sum()
        if inside.any():
            assert ours.confidence[m] == pytest.approx(confidence[inside].mean())
            assert ours.accuracy[m] == pytest.approx(correct[inside].mean())
            error += abs(correct[inside].mean() - confidence[inside].mean()) * inside.mean()
    assert metrics.expected_calibration_error(probabilities, labels, bins) == pytest.approx(error)


@steady
@given(st.integers(0, 30), st.floats(0.05, 20))
def test_the_temperature_minimises_the_likelihoods_loss(seed, scale):
    logits, labels = sample(seed)
    logits = logits * scale

    def loss(log_temperature):
        return metrics.negative_log_likelihood(metrics.softmax(logits / np.exp(log_temperature)), labels)

    expected = minimize_scalar(loss, bounds=(-7, 7), method="bounded", options={"xatol": 1e-6})
    assert np.log(metrics.fit_temperature(logits, labels)) == pytest.approx(expected.x, abs=1e-3)


def test_the_temperature_undoes_a_known_overconfidence(rng):
    logits = rng.normal(size=(40_000, 5)) * 2
    labels = (metrics.softmax(logits).cumsum(1) < rng.uniform(size=(len(logits), 1))).sum(1)
    assert metrics.fit_temperature(3 * logits, labels) == pytest.approx(3, rel=0.03)


def test_the_temperature_stays_within_its_bounds_where_labels_do_not_determine_it():
    logits = 4.0 * np.eye(3)
    assert metrics.fit_temperature(logits, np.array([0, 1, 2])) == pytest.approx(metrics.MIN_TEMPERATURE)
    assert metrics.fit_temperature(-logits, np.array([0, 1, 2])) == pytest.approx(metrics.MAX_TEMPERATURE)


def test_the_strongest_confusions_come_first_without_zeros():
    confusion = np.array([[9, 2, 0], [5, 9, 0], [0, 0, 9]])
    assert metrics.most_confused_pairs(confusion, 5) == [(1, 0, 5), (0, 1, 2)]
    assert metrics.most_confused_pairs(confusion, 1) == [(1, 0, 5)]


def test_a_summary_is_complete_consistent_and_ready_for_json():
    logits, labels = sample(1)
    names = list("abcdefg")
    summary = metrics.summarize(logits.astype(np.float32), labels, names, (1, 5))
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    assert summary["num_samples"] == 200
    assert list(summary["topk"]) == list(summary["topk_ci95"]) == ["1", "3", "5"]
    assert (summary["top1"], summary["top3"]) == (summary["topk"]["1"], summary["topk"]["3"])
    assert summary["top1_ci95"] == summary["topk_ci95"]["1"]
    for k, (low, high) in summary["topk_ci95"].items():
        assert low < summary["topk"][k] < high
    assert list(summary["per_class"]) == names
    assert sum(v["support"] for v in summary["per_class"].values()) == 200
    assert np.trace(summary["confusion_matrix"]) / 200 == summary["top1"]


def test_two_classes_have_no_top3():
    summary = metrics.summarize(*sample(1, classes=2), ["cat", "dog"], (1,))
    assert "top3" not in summary
    assert list(summary["topk"]) == ["1"]


def test_names_that_are_not_one_per_class_are_refused():
    with pytest.raises(ValueError, match="6 different class names for logits of 7 classes"):
        metrics.summarize(*sample(0), [*list("abcdef"), "a"])
