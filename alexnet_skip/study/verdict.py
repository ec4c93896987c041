"""Does b differ from a? From predictions of the same samples to a verdict on two models or, with seeds, two methods."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.statistics.metrics import confusion_matrix, topk_correct
from alexnet_skip.statistics.paired import (
    Difference,
    McNemar,
    cohen_kappa,
    holm,
    mcnemar_exact,
    paired_bootstrap_interval,
    sign_flip_exact,
)
from alexnet_skip.statistics.seeds import MethodDifference, method_differences

# Of the resampling: the same predictions always give the same interval.
BOOTSTRAP_SEED = 0
SIGNIFICANCE = 0.05
# Below this many points of top-1 a difference that is there is called a little.
LITTLE_POINTS = 1.0


@dataclass(frozen=True)
class Comparison:
    """b against a on the same N samples, each with the same S seeds, as one of several compared with a.

    Attributes:
        num_pairs: how many are compared with a: what p-values are corrected for.
        identical: whether every logit is equal.
        top1_a, top1_b: top-1 accuracy of each seed.
        differences: of top-k accuracy by k, mean over seeds, with the interval over samples.
        mcnemar: of each seed.
        p, p_holm: of the exact paired test over samples of all seeds together; McNemar's with one seed.
        method: what holds for other seeds too; None with one seed.
        kappa, agreement: Cohen's kappa and the share of equal predictions, means over seeds.
        confusion_a, confusion_b: (C, C), summed over seeds.
        only_a, only_b: samples that a alone gets right with every seed and b with none, and the other way round.
    """

    num_samples: int
    num_pairs: int
    identical: bool
    top1_a: tuple[float, ...]
    top1_b: tuple[float, ...]
    differences: dict[int, Difference]
    mcnemar: tuple[McNemar, ...]
    p: float
    p_holm: float
    method: MethodDifference | None
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

    @property
    def models_differ(self) -> bool:
        """Whether these very models differ in top-1, whatever the reason: beyond the choice of samples."""
        return self.p_holm <= SIGNIFICANCE

    @property
    def claimed(self) -> bool:
        """Whether a difference can be claimed of the methods."""
        return is_claimed(self.p_holm, self.method)


def is_claimed(p_holm: float, method: MethodDifference | None) -> bool:
    """Whether a difference can be claimed of the methods, where the models differ: beyond the choice of seeds too.

    Args:
        p_holm: of the models, over samples.
        method: None with one seed, which can say nothing of a method.
    """
    return p_holm <= SIGNIFICANCE and method is not None and method.p_holm <= SIGNIFICANCE


def compare(sides: Sequence[Sequence[Predictions]], topk: Sequence[int] = (1, 3)) -> list[Comparison]:
    """Compare every side with the first: predictions of the same samples, one set per seed, in one order of seeds.

    Args:
        topk: the k's to compare at; 1 always is.

    Raises:
        ValueError: if there are not two sides, the seeds are not as many, or there is none, or samples differ.
    """
    if len(sides) < 2 or not sides[0] or len({len(side) for side in sides}) > 1:
        counts = " and ".join(str(len(side)) for side in sides)
        raise ValueError(f"{counts} sets of predictions can't be paired by seed")
    if not all(one.same_samples(sides[0][0]) for side in sides for one in side):
        raise ValueError("predictions to compare must be of the same samples")
    right = np.stack([[one.correct for one in side] for side in sides])  # (M, S, N)
    hits = right.sum(axis=1)
    p_values = [sign_flip_exact(of_side - hits[0]) for of_side in hits[1:]]
    shares, num_samples = right.mean(axis=1), right.shape[2]
    methods: Sequence[MethodDifference | None] = [None] * len(p_values)
    if right.shape[1] > 1:
        methods = method_differences(right.mean(axis=2), shares @ shares.T / num_samples, num_samples)
    return [
        _compare_pair(sides[0], side, topk, len(p_values), p, p_holm, method)
        for side, p, p_holm, method in zip(sides[1:], p_values, holm(p_values).tolist(), methods, strict=True)
    ]


def _compare_pair(
    a: Sequence[Predictions],
    b: Sequence[Predictions],
    topk: Sequence[int],
    num_pairs: int,
    p: float,
    p_holm: float,
    method: MethodDifference | None,
) -> Comparison:
    labels, num_classes = a[0].labels, a[0].logits.shape[1]
    right_a, right_b = (np.stack([one.correct for one in side]) for side in (a, b))  # (S, N) each
    differences = {}
    for k in sorted({1, *topk}):
        # Whole numbers, so that equal differences are equal.
        hits_a, hits_b = (np.sum([topk_correct(one.logits, labels, k) for one in side], axis=0) for side in (a, b))
        summed = paired_bootstrap_interval(hits_a, hits_b, BOOTSTRAP_SEED)
        differences[k] = Difference(*(value / len(a) for value in summed))
    pairs = list(zip(a, b, strict=True))
    return Comparison(
        num_samples=len(labels),
        num_pairs=num_pairs,
        identical=all(np.array_equal(one.logits, other.logits) for one, other in pairs),
        top1_a=tuple(right_a.mean(axis=1).tolist()),
        top1_b=tuple(right_b.mean(axis=1).tolist()),
        differences=differences,
        mcnemar=tuple(mcnemar_exact(one.correct, other.correct) for one, other in pairs),
        p=p,
        p_holm=p_holm,
        method=method,
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


# With seeds_differ these models differ, but so do the seeds, and nothing can be claimed of the method.
Conclusion = Literal["identical", "models_open", "models_differ", "open", "seeds_differ", "helps", "hurts"]


def conclusion(comparison: Comparison) -> Conclusion:
    """What may be said: of two models where there is one seed, of the method where there are several."""
    if comparison.identical:
        return "identical"
    if comparison.method is None:
        return "models_differ" if comparison.models_differ else "models_open"
    if not comparison.claimed:
        return "seeds_differ" if comparison.models_differ else "open"
    return "helps" if comparison.method.mean > 0 else "hurts"


def verdict(comparison: Comparison, where: str, subject: str, *, same_skip: bool = False) -> str:
    """The plain sentence that a comparison ends with.

    Args:
        where: dataset and split, such as ``cifar10 (test, n = 10,000)``.
        subject: what is held against what, such as ``skip (conv)``.
        same_skip: both sides have the same form of the skip, or both none: the skip can't be why they differ.
    """
    said = conclusion(comparison)
    top1, method, count = comparison.differences[1], comparison.method, comparison.num_pairs
    apart = f"{points(top1)}, {p_text(comparison.p_holm)}"
    corrected = f"p corrected for {count} comparisons" if count > 1 else ""
    if method is None:
        # Two models, and nothing of what made them different: no word here may sound like a cause.
        if said == "identical":
            return f"On {where}, {subject}: the predictions of these two models are identical."
        apart += f" ({corrected})" if corrected else ""
        text = f"On {where}, {subject}: these two models differ in top-1 by {apart}"
        if said == "models_open":
            return f"{text}, which may be chance: no difference can be claimed."
        return f"{text}; one run each can't say {'why' if same_skip else 'that the skip is why'}."
    if said == "identical":
        return f"On {where} {subject} changes nothing: the predictions are identical."
    text = f"On {where} {subject} changes top-1 by {apart}"
    seeds = "; ".join(filter(None, (f"{len(comparison.top1_a)} each", corrected)))
    wider = interval(method.interval(), _digits(method.mean))
    text += f" for these models; {wider}, {p_text(method.p_holm)} for other seeds too ({seeds})"
    if said in ("open", "seeds_differ"):
        differ = "these models differ, but the seeds do too; " if said == "seeds_differ" else ""
        return f"{text}: {differ}no difference can be claimed."
    return f"{text}: it {said}{', a little' if abs(100 * method.mean) < LITTLE_POINTS else ''}."


def points(difference: Difference) -> str:
    """A difference of fractions in points with its interval: "+0.4 points [+0.1, +0.7]"."""
    digits = _digits(difference.mean)
    return f"{signed(difference.mean, digits)} points {interval(difference, digits)}"


def _digits(fraction: float) -> int:
    """Digits behind the point that keep a difference from being shown as none."""
    return 1 if abs(fraction) >= 0.0005 else 2


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
