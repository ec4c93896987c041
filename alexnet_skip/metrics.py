"""Figures of a classifier from its logits and the true labels: pure NumPy."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any

import numpy as np


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, C) of logits (N, C), in float64."""
    shifted = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    exponentials = np.exp(shifted)
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def topk_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Fraction of samples whose label is among the k highest scores.

    Equal scores rank by class index, the lower first, so that top-1 agrees with ``argmax``.

    Args:
        scores: (N, C), any monotone score.
        labels: (N,).

    Raises:
        ValueError: if k is not in 1..C, there is no sample, or a score is not a number.
    """
    num_classes = scores.shape[1]
    if not 1 <= k <= num_classes:
        raise ValueError(f"k={k} is not in 1 to {num_classes}, the number of classes")
    if len(scores) == 0 or np.isnan(scores).any():
        raise ValueError("top-k accuracy needs at least one sample and scores that are numbers")
    of_label = scores[np.arange(len(labels)), labels][:, None]
    lower_index = np.arange(num_classes) < labels[:, None]
    rank = (scores > of_label).sum(axis=1) + ((scores == of_label) & lower_index).sum(axis=1)
    return float((rank < k).mean())


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (C, C): rows are true classes, columns are predictions."""
    pairs = labels.astype(np.int64) * num_classes + predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def precision_recall_f1_support(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per-class figures, each (C,); 0 where undefined, as scikit-learn with ``zero_division=0``."""
    hits, predicted, support = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    zeros = np.zeros(len(hits))
    precision = np.divide(hits, predicted, out=zeros.copy(), where=predicted > 0)
    recall = np.divide(hits, support, out=zeros.copy(), where=support > 0)
    f1 = np.divide(2 * hits, predicted + support, out=zeros.copy(), where=predicted + support > 0)
    return precision, recall, f1, support


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927)."""
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean −log p of the true classes, nats; probabilities are clipped to float64's smallest normal number."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Expected calibration error with equal-width confidence bins (Guo et al. 2017)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    place = np.minimum((confidence * bins).astype(int), bins - 1)
    gap = np.bincount(place, confidence, bins) - np.bincount(place, correct, bins)
    return float(np.abs(gap).sum() / len(labels))


def most_confused_pairs(confusion: np.ndarray, n: int) -> list[tuple[int, int, int]]:
    """The n largest counts off the diagonal as (true class, predicted class, count), largest first, without zeros."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:n]
    pairs = [(int(i // len(wrong)), int(i % len(wrong)), int(wrong.flat[i])) for i in order]
    return [pair for pair in pairs if pair[2] > 0]


def summarize(
    logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str], topk: Sequence[int]
) -> dict[str, Any]:
    """Every figure of an evaluation, ready for JSON: fractions, not per cent.

    Args:
        logits: (N, C).
        labels: (N,).
        topk: the k's to report besides 1 and 3.
    """
    num_classes = len(class_names)
    probabilities = softmax(logits)
    confusion = confusion_matrix(labels, logits.argmax(axis=1), num_classes)
    ks = sorted({1, min(3, num_classes), *topk})
    accuracies = {str(k): topk_accuracy(logits, labels, k) for k in ks}
    figures = zip(*precision_recall_f1_support(confusion), strict=True)
    return {
        "num_samples": len(labels),
        "top1": accuracies["1"],
        "top3": accuracies[str(min(3, num_classes))],
        "topk": accuracies,
        "top1_ci95": list(wilson_interval(int(np.trace(confusion)), len(labels))),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, (p, r, f, s) in zip(class_names, figures, strict=True)
        },
        "confusion_matrix": confusion.tolist(),
    }
