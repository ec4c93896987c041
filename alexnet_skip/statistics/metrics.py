"""Figures of a classifier from its logits and the true labels: pure NumPy, rows of matrices are true classes."""

from collections.abc import Sequence
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np

# Bounds of the search for a temperature; a result at a bound means that the labels do not determine it.
MIN_TEMPERATURE, MAX_TEMPERATURE = 1e-3, 1e3
# A model whose mean confidence is less than this from its accuracy is neither over- nor under-confident.
EVEN_GAP = 0.01


class ReliabilityBins(NamedTuple):
    """What a reliability diagram shows, one entry (bins,) per bin of confidence; 0 where a bin is empty."""

    confidence: np.ndarray
    accuracy: np.ndarray
    num_samples: np.ndarray


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities (N, C) of logits (N, C), in float64.

    Raises:
        ValueError: if a logit is infinite or not a number.
    """
    if not np.isfinite(logits).all():
        raise ValueError(f"logits of sample {np.argwhere(~np.isfinite(logits))[0, 0]} are not finite")
    exponentials = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def usual_topk(num_classes: int) -> tuple[int, ...]:
    """The k's of the top-k accuracies that are told unasked: 1, and 3 where there are as many classes."""
    return tuple(k for k in (1, 3) if k <= num_classes)


def topk_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Fraction of samples whose label is among the k highest scores.

    Equal scores rank by class index, the lower first, so that top-1 agrees with ``argmax``.

    Args:
        scores: (N, C), logits, probabilities or any monotone score.
        labels: true classes (N,).

    Raises:
        ValueError: if k is not in 1..C, there is no sample, a label is not in 0..C-1, or a score is not a number.
    """
    return float(topk_correct(scores, labels, k).mean())


def topk_correct(scores: np.ndarray, labels: np.ndarray, k: int) -> np.ndarray:
    """Whether each sample's label is among its k highest scores, bool (N,); see :func:`topk_accuracy`."""
    _check_samples(scores, labels)
    num_classes = scores.shape[1]
    if k < 1:
        raise ValueError(f"k={k} is below 1; give 1 to {num_classes}")
    if k > num_classes:
        raise ValueError(f"k={k} exceeds the {num_classes} classes: every label would count; give 1 to {num_classes}")
    of_label = scores[np.arange(len(labels)), labels][:, None]
    ahead_in_ties = np.arange(num_classes) < labels[:, None]
    rank = (scores > of_label).sum(axis=1) + ((scores == of_label) & ahead_in_ties).sum(axis=1)
    return rank < k


def _check_samples(scores: np.ndarray, labels: np.ndarray) -> None:
    if scores.ndim != 2 or labels.shape != scores.shape[:1]:
        raise ValueError(f"scores of shape {scores.shape} and labels of shape {labels.shape} are not (N, C) and (N,)")
    if len(labels) == 0:
        raise ValueError("there is no sample to measure")
    _check_classes("labels", labels, scores.shape[1])
    if np.isnan(scores).any():
        raise ValueError(f"scores of sample {np.argwhere(np.isnan(scores))[0, 0]} are not numbers")


def _check_classes(what: str, values: np.ndarray, num_classes: int) -> None:
    if values.size and (values.min() < 0 or values.max() >= num_classes):
        raise ValueError(
            f"{what} range from {values.min()} to {values.max()}; {num_classes} classes are 0 to {num_classes - 1}"
        )


def confusion_matrix(labels: np.ndarray, predictions: np.ndarray, num_classes: int) -> np.ndarray:
    """Counts (C, C): rows are true classes, columns are predictions.

    Args:
        labels: true classes (N,).
        predictions: predicted classes (N,).

    Raises:
        ValueError: if the lengths differ or a class is not in 0..C-1.
    """
    if labels.shape != predictions.shape:
        raise ValueError(f"labels of shape {labels.shape} and predictions of shape {predictions.shape} do not pair up")
    _check_classes("labels", labels, num_classes)
    _check_classes("predictions", predictions, num_classes)
    pairs = labels.astype(np.int64) * num_classes + predictions
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def precision_recall_f1_support(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Per-class figures, each (C,); 0 where undefined, as scikit-learn with ``zero_division=0``."""
    hits, predicted, support = np.diag(confusion), confusion.sum(axis=0), confusion.sum(axis=1)
    precision = hits / np.maximum(predicted, 1)
    recall = hits / np.maximum(support, 1)
    f1 = 2 * hits / np.maximum(predicted + support, 1)
    return precision, recall, f1, support


def macro_f1(confusion: np.ndarray) -> float:
    """Mean F1 of the classes that there are images or predictions of, each class alike; scikit-learn's ``macro``."""
    f1 = precision_recall_f1_support(confusion)[2]
    return float(f1[confusion.sum(axis=0) + confusion.sum(axis=1) > 0].mean())


def balanced_accuracy(confusion: np.ndarray) -> float:
    """Mean recall of the classes that there are images of, each class alike (scikit-learn)."""
    _, recall, _, support = precision_recall_f1_support(confusion)
    return float(recall[support > 0].mean())


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson's score interval of a proportion (Wilson 1927), which stays in [0, 1] and works at its ends.

    Raises:
        ValueError: if n is below 1 or successes are not in 0..n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} successes of {n} are no proportion")
    z = NormalDist().inv_cdf(0.5 + confidence / 2)
    p = successes / n
    centre = p + z * z / (2 * n)
    half = z * float(np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)))
    scale = 1 + z * z / n
    return max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale)


def negative_log_likelihood(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Mean −log p of the true classes, nats; probabilities are clipped to float64's smallest normal number."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(chosen, np.finfo(np.float64).tiny)).mean())


def reliability_bins(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> ReliabilityBins:
    """Mean confidence and accuracy in equal-width bins (m/bins, (m+1)/bins] of confidence (Guo et al. 2017)."""
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = np.maximum(count, 1)
    return ReliabilityBins(
        np.bincount(place, confidence, bins) / filled, np.bincount(place, correct, bins) / filled, count
    )


def expected_calibration_error(probabilities: np.ndarray, labels: np.ndarray, bins: int = 15) -> float:
    """Mean distance between confidence and accuracy over the bins of :func:`reliability_bins` (Guo et al. 2017)."""
    confidence, accuracy, count = reliability_bins(probabilities, labels, bins)
    return float((np.abs(confidence - accuracy) * count).sum() / count.sum())


def confidence_gap(bins: ReliabilityBins) -> float:
    """Mean confidence less accuracy: above 0 of a model that is surer than right."""
    return float(((bins.confidence - bins.accuracy) * bins.num_samples).sum() / bins.num_samples.sum())


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature T at which softmax(logits / T) gives the labels the highest likelihood (Guo et al. 2017).

    The likelihood is log-concave in 1/T, so its slope has one root, found by bisection over log T. Fit it on a
    validation split, never on the samples it is judged on.

    Args:
        logits: (N, C).
        labels: true classes (N,).

    Returns:
        T, within ``MIN_TEMPERATURE`` (every label has the highest logit) and ``MAX_TEMPERATURE`` (worse than chance).
    """
    _check_samples(logits, labels)
    logits = logits.astype(np.float64)
    of_label = logits[np.arange(len(labels)), labels].mean()
    low, high = np.log(MIN_TEMPERATURE), np.log(MAX_TEMPERATURE)
    # 34 halvings of log(1e6) leave 1e-9.
    for _ in range(34):
        middle = (low + high) / 2
        expected = (softmax(logits * np.exp(-middle)) * logits).sum(axis=1).mean()
        low, high = (low, middle) if expected <= of_label else (middle, high)
    return float(np.exp((low + high) / 2))


def is_determined(temperature: float) -> bool:
    """Whether labels determine a temperature that :func:`fit_temperature` has found, which lies at a bound if not."""
    return 1.01 * MIN_TEMPERATURE < temperature < MAX_TEMPERATURE / 1.01


def most_confused_pairs(confusion: np.ndarray, n: int) -> list[tuple[int, int, int]]:
    """The n largest counts off the diagonal as (true class, predicted class, count), largest first, without zeros."""
    wrong = confusion - np.diag(np.diag(confusion))
    order = np.argsort(-wrong, axis=None, kind="stable")[:n]
    pairs = [(int(i // len(wrong)), int(i % len(wrong)), int(wrong.flat[i])) for i in order]
    return [pair for pair in pairs if pair[2] > 0]


def summarize(
    logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str], topk: Sequence[int] = ()
) -> dict[str, Any]:
    """Every figure of an evaluation, ready for JSON: fractions, not per cent; NLL in nats.

    Args:
        logits: (N, C).
        labels: true classes (N,).
        class_names: C different names.
        topk: the k's to report beside :func:`usual_topk`.

    Raises:
        ValueError: if the shapes, the names or a k do not fit, there is no sample, or a logit is not finite.
    """
    num_classes = logits.shape[1]
    if len(set(class_names)) != num_classes:
        raise ValueError(f"{len(set(class_names))} different class names for logits of {num_classes} classes")
    n = len(labels)
    asked = sorted({*usual_topk(num_classes), *topk})
    hits = {k: int(topk_correct(logits, labels, k).sum()) for k in asked}
    intervals = {str(k): list(wilson_interval(count, n)) for k, count in hits.items()}
    probabilities = softmax(logits)
    confusion = confusion_matrix(labels, logits.argmax(axis=1), num_classes)
    per_class = zip(class_names, *precision_recall_f1_support(confusion), strict=True)
    return {
        "num_samples": n,
        "top1": hits[1] / n,
        **({"top3": hits[3] / n} if 3 in hits else {}),
        "topk": {str(k): count / n for k, count in hits.items()},
        "top1_ci95": intervals["1"],
        "topk_ci95": intervals,
        "macro_f1": macro_f1(confusion),
        "balanced_accuracy": balanced_accuracy(confusion),
        "nll": negative_log_likelihood(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels),
        "per_class": {
            name: {"precision": float(p), "recall": float(r), "f1": float(f), "support": int(s)}
            for name, p, r, f, s in per_class
        },
        "confusion_matrix": confusion.tolist(),
    }
