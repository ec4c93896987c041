"""Metrics against scikit-learn and scipy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as oracle

from alexnet_skip import metrics


def sample(seed, n=200, classes=7):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[labels], labels


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
    probabilities = metrics.softmax(logits)
    loss = oracle.log_loss(labels, probabilities, labels=every)
    assert metrics.negative_log_likelihood(probabilities, labels) == pytest.approx(loss)
    for k in range(1, classes):
        if classes > 2:
            expected = oracle.top_k_accuracy_score(labels, logits, k=k, labels=every)
            assert metrics.topk_accuracy(logits, labels, k) == pytest.approx(expected)


@given(st.integers(0, 30))
def test_topk_is_monotone_in_k_and_top1_is_the_trace(seed):
    logits, labels = sample(seed)
    values = [metrics.topk_accuracy(logits, labels, k) for k in range(1, 8)]
    assert values == sorted(values)
    assert values[-1] == 1
    confusion = metrics.confusion_matrix(labels, logits.argmax(1), 7)
    assert values[0] == np.trace(confusion) / confusion.sum()


def test_ties_rank_the_lower_class_first_as_argmax_does():
    logits, labels = np.zeros((3, 4)), np.array([0, 1, 3])
    assert metrics.topk_accuracy(logits, labels, 1) == pytest.approx(1 / 3)
    assert metrics.topk_accuracy(logits, labels, 2) == pytest.approx(2 / 3)


@pytest.mark.parametrize("k", [0, 8])
def test_a_k_outside_the_classes_is_refused(k):
    with pytest.raises(ValueError, match=f"k={k} is not in 1 to 7"):
        metrics.topk_accuracy(*sample(0), k)


def test_scores_that_are_not_numbers_are_refused():
    logits, labels = sample(0)
    logits[3, 2] = np.nan
    with pytest.raises(ValueError, match="numbers"):
        metrics.topk_accuracy(logits, labels, 1)


@given(st.integers(0, 100), st.integers(1, 100))
def test_the_wilson_interval_equals_scipys(successes, n):
    successes = min(successes, n)
    expected = binomtest(successes, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(metrics.wilson_interval(successes, n), (expected.low, expected.high), atol=1e-9)


def test_calibration_error_of_a_calibrated_and_an_overconfident_classifier(rng):
    confidence = rng.uniform(0.5, 1, 40_000)
    probabilities = np.stack((confidence, 1 - confidence), axis=1)
    calibrated = (rng.uniform(size=len(confidence)) > confidence).astype(int)
    assert metrics.expected_calibration_error(probabilities, calibrated) < 0.02
    always_wrong = np.ones(len(confidence), dtype=int)
    expected = pytest.approx(confidence.mean())
    assert metrics.expected_calibration_error(probabilities, always_wrong) == expected


def test_the_strongest_confusions_come_first_without_zeros():
    confusion = np.array([[9, 2, 0], [5, 9, 0], [0, 0, 9]])
    assert metrics.most_confused_pairs(confusion, 5) == [(1, 0, 5), (0, 1, 2)]


def test_a_summary_is_complete_and_consistent():
    logits, labels = sample(1)
    names = list("abcdefg")
    summary = metrics.summarize(logits, labels, names, (1, 5))
    assert summary["num_samples"] == 200
    assert list(summary["topk"]) == ["1", "3", "5"]
    assert summary["top1_ci95"][0] < summary["top1"] < summary["top1_ci95"][1]
    assert list(summary["per_class"]) == names
    assert sum(v["support"] for v in summary["per_class"].values()) == 200
