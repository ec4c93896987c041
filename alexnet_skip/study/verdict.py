"""Does b differ from a? From two sets of predictions of the same samples to one verdict, with one seed or several."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.statistics.metrics import confusion_matrix, topk_correct
from alexnet_skip.statistics.paired import (
    Difference,
    McNemar,
    cohen_kappa,
    mcnemar_exact,
    mean_difference_interval,
    paired_bootstrap_interval,
    sign_flip_exact,
)

# Of the resampling: the same predictions always give the same interval.
BOOTSTRAP_SEED = 0
SIGNIFICANCE = 0.05
# Below this many points of top-1 a difference that is there is called a little.
LITTLE_POINTS = 1.0


@dataclass(frozen=True)
class Comparison:
    """b against a on the same N samples, each with the same S seeds.

    Attributes:
        identical: whether every logit is equal.
        top1_a, top1_b: top-1 accuracy of each seed.
        differences: of top-k accuracy by k, mean over seeds, with the interval over samples.
        over_seeds: difference of top-1 with Student's interval over seeds; None with one seed.
        mcnemar: of each seed.
        p: of the exact paired test of all seeds together; McNemar's with one seed.
        kappa, agreement: Cohen's kappa and the share of equal predictions, means over seeds.
        confusion_a, confusion_b: (C, C), summed over seeds.
        only_a, only_b: samples that a alone gets right with every seed and b with none, and the other way round.
    """

    num_samples: int
    identical: bool
    top1_a: tuple[float, ...]
    top1_b: tuple[float, ...]
    differences: dict[int, Difference]
    over_seeds: Difference | None
    mcnemar: tuple[McNemar, ...]
    p: float
    kappa: float
    agreement: float
    confusion_a: np.ndarray
    confusion_b: np.ndarray
    only_a: np.ndarray
    only_b: np.ndarray

    @property
    def recall_gains(self) -> np.ndarray:
        """Gain of each class's recall (C,), mean over seeds."""
        support = np.maximum(self.confusion_a.sum(axis=1), 1)
        return (np.diag(self.confusion_b) - np.diag(self.confusion_a)) / support


def compare(a: Sequence[Predictions], b: Sequence[Predictions], topk: Sequence[int] = (1, 3)) -> Comparison:
    """Compare predictions of the same samples, one set per seed, in the same order of seeds.

    Args:
        topk: the k's to compare at; 1 always is.

    Raises:
        ValueError: if the seeds are not as many, or there is none, or samples differ.
    """
    if not a or len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} sets of predictions can't be paired by seed")
    if not all(one.same_samples(a[0]) for one in (*a, *b)):
        raise ValueError("predictions to compare must be of the same samples")
    labels, num_classes = a[0].labels, a[0].logits.shape[1]
    right_a, right_b = (np.stack([one.correct for one in side]) for side in (a, b))  # (S, N) each
    differences = {}
    for k in sorted({1, *topk}):
        # Whole numbers, so that equal differences are equal.
        hits_a, hits_b = (np.sum([topk_correct(p.logits, labels, k) for p in side], axis=0) for side in (a, b))
        summed = paired_bootstrap_interval(hits_a, hits_b, BOOTSTRAP_SEED)
        differences[k] = Difference(*(value / len(a) for value in summed))
    top1_a, top1_b = right_a.mean(axis=1), right_b.mean(axis=1)
    pairs = list(zip(a, b, strict=True))
    return Comparison(
        num_samples=len(labels),
        identical=all(np.array_equal(one.logits, other.logits) for one, other in pairs),
        top1_a=tuple(top1_a.tolist()),
        top1_b=tuple(top1_b.tolist()),
        differences=differences,
        over_seeds=mean_difference_interval(top1_a, top1_b) if len(a) > 1 else None,
        mcnemar=tuple(mcnemar_exact(one.correct, other.correct) for one, other in pairs),
        p=sign_flip_exact(right_b.sum(axis=0) - right_a.sum(axis=0)),
        kappa=float(np.mean([cohen_kappa(one.predicted, other.predicted) for one, other in pairs])),
        agreement=float(np.mean([(one.predicted == other.predicted).mean() for one, other in pairs])),
        confusion_a=sum_of_confusions(a, num_classes),
        confusion_b=sum_of_confusions(b, num_classes),
        only_a=np.flatnonzero(right_a.all(axis=0) & ~right_b.any(axis=0)),
        only_b=np.flatnonzero(right_b.all(axis=0) & ~right_a.any(axis=0)),
    )


def sum_of_confusions(predictions: Sequence[Predictions], num_classes: int) -> np.ndarray:
    """Confusion matrices (C, C) of several seeds, added up."""
    return np.sum([confusion_matrix(one.labels, one.predicted, num_classes) for one in predictions], axis=0)


def is_claimed(comparison: Comparison, adjusted_p: float) -> bool:
    """Whether a difference of top-1 can be claimed: beyond the choice of samples and, with several seeds, of seeds."""
    seeds = comparison.over_seeds
    return adjusted_p <= SIGNIFICANCE and (seeds is None or seeds.low > 0 or seeds.high < 0)


def verdict(comparison: Comparison, adjusted_p: float, where: str, subject: str) -> str:
    """The plain sentence that a comparison ends with.

    Args:
        adjusted_p: the p-value, corrected for the number of pairs.
        where: dataset and split, such as ``cifar10 (test, n = 10,000)``.
        subject: what changes the accuracy, such as ``skip (conv)``.
    """
    if comparison.identical:
        return f"On {where} {subject} changes nothing: the predictions are identical."
    top1, seeds = comparison.differences[1], comparison.over_seeds
    text = f"On {where} {subject} changes top-1 by {points(top1)}, {p_text(adjusted_p)}"
    if seeds is not None:
        text += f" (over {len(comparison.top1_a)} seeds {interval(seeds)})"
    if not is_claimed(comparison, adjusted_p):
        if seeds is not None and adjusted_p <= SIGNIFICANCE:
            return f"{text}: these models differ, but the seeds do too; no difference can be claimed."
        return f"{text}: no difference can be claimed."
    word = "it helps" if top1.mean > 0 else "it hurts"
    return f"{text}: {word}{', a little' if abs(100 * top1.mean) < LITTLE_POINTS else ''}."


def points(difference: Difference) -> str:
    """A difference of fractions in points with its interval: "+0.4 points [+0.1, +0.7]"."""
    digits = 1 if abs(difference.mean) >= 0.0005 else 2
    return f"{signed(difference.mean, digits)} points {interval(difference, digits)}"


def interval(difference: Difference, digits: int = 1) -> str:
    """An interval of a difference of fractions, in points: "[+0.1, +0.7]"."""
    return f"[{signed(difference.low, digits)}, {signed(difference.high, digits)}]"


def signed(fraction: float, digits: int = 1) -> str:
    """A fraction in points with its sign, and a true minus."""
    rounded = round(100 * fraction, digits) + 0.0  # no minus before a zero
    return f"{rounded:+.{digits}f}".replace("-", "−")


def p_text(p: float) -> str:
    """A p-value for people: "p = 0.012", "p < 0.001"."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def as_json(comparison: Comparison, adjusted_p: float, class_names: Sequence[str]) -> dict[str, Any]:
    """Every figure of a comparison, ready for JSON: fractions, not per cent; differences are b less a."""
    return {
        "num_samples": comparison.num_samples,
        "identical": comparison.identical,
        "top1_a": comparison.top1_a,
        "top1_b": comparison.top1_b,
        "top1_difference": comparison.differences[1]._asdict(),
        "topk_difference": {str(k): value._asdict() for k, value in comparison.differences.items()},
        "over_seeds": comparison.over_seeds._asdict() if comparison.over_seeds else None,
        "mcnemar": [test._asdict() for test in comparison.mcnemar],
        "p": comparison.p,
        "p_holm": adjusted_p,
        "claimed": is_claimed(comparison, adjusted_p) and not comparison.identical,
        "kappa": comparison.kappa,
        "agreement": comparison.agreement,
        "recall_gains": dict(zip(class_names, comparison.recall_gains.tolist(), strict=True)),
    }
