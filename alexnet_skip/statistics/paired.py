"""Do two classifiers differ? Statistics of runs judged on the same samples: pure NumPy, always b against a."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

# Values held at once while resampling: 32 MB of float64 and as much of indices.
CHUNK_VALUES = 4_000_000
# Right and wrong have three differences; up to this many, drawing counts is cheaper than drawing samples.
MAX_MULTINOMIAL_VALUES = 64
# Rarer outcomes are left out of a sum of chances: they are a hundredth of the work and no part of any p-value shown.
NEGLIGIBLE_CHANCE = 1e-60


class McNemar(NamedTuple):
    """McNemar's exact test: samples that only b gets right, that only a gets right, and the two-sided p-value."""

    n01: int
    n10: int
    p: float


class Difference(NamedTuple):
    """A mean difference, b minus a, with the ends of its interval."""

    mean: float
    low: float
    high: float


class TwoProportions(NamedTuple):
    """Difference of two proportions, b minus a, with its z and two-sided p-value."""

    difference: float
    z: float
    p: float


def mcnemar_exact(correct_a: np.ndarray, correct_b: np.ndarray) -> McNemar:
    """McNemar's exact test of whether a and b are equally often right (McNemar 1947, binomial form).

    Of the samples that only one gets right, each is a's or b's with probability 1/2 if the two are equally good.

    Args:
        correct_a: bool (N,), which samples a gets right.
        correct_b: bool (N,), the same samples in the same order.

    Raises:
        ValueError: if the two are not of the same samples, or not bool.
    """
    _check_pair(correct_a, correct_b)
    if correct_a.dtype != bool or correct_b.dtype != bool:
        raise ValueError(f"correctness is bool, not {correct_a.dtype} and {correct_b.dtype}")
    n01, n10 = int((~correct_a & correct_b).sum()), int((correct_a & ~correct_b).sum())
    n, fewer = n01 + n10, min(n01, n10)
    # Logarithms of the binomial coefficients (n over 0) to (n over fewer), since 2**10000 is no float.
    steps = np.arange(1, fewer + 1)
    log_terms = np.concatenate(([0.0], np.cumsum(np.log((n - steps + 1) / steps)))) - n * math.log(2)
    log_tail = log_terms.max() + math.log(np.exp(log_terms - log_terms.max()).sum())
    return McNemar(n01, n10, min(1.0, 2 * math.exp(log_tail)))


def sign_flip_exact(differences: np.ndarray) -> float:
    """Two-sided p-value of the exact paired randomisation test that differences are symmetric around 0 (Fisher 1935).

    If a and b are equally good, each sample's difference could as well have had the other sign. Of differences −1, 0
    and 1 this is :func:`mcnemar_exact`; sums over several seeds make one test of all of them.

    Args:
        differences: whole numbers (N,), such as how many seeds of b get a sample right, less how many of a.

    Raises:
        ValueError: if there is no sample, or the differences are not whole numbers.
    """
    if differences.ndim != 1 or not len(differences) or differences.dtype.kind not in "iu":
        raise ValueError(f"differences are whole numbers (N,), not {differences.dtype} of shape {differences.shape}")
    total, counts = abs(int(differences.sum())), np.bincount(np.abs(differences.astype(np.int64)))
    # The sum's distribution, size by size: of n differences of one size, those that are positive are binomial.
    chances, reach = np.ones(1), 0
    for size, n in enumerate(counts):
        if size and n:
            log_choices = np.concatenate(([0.0], np.cumsum(np.log((n - np.arange(n)) / np.arange(1, n + 1)))))
            binomial = np.exp(log_choices - n * math.log(2))
            binomial = binomial[binomial > NEGLIGIBLE_CHANCE]
            of_size = np.zeros(2 * size * (len(binomial) - 1) + 1)
            of_size[:: 2 * size] = binomial
            chances, reach = np.convolve(chances, of_size), reach + int(size) * (len(binomial) - 1)
    # A sum of 0 counts everything twice.
    return min(1.0, 2 * float(chances[reach + total :].sum()))


def paired_bootstrap_interval(
    values_a: np.ndarray, values_b: np.ndarray, seed: int, resamples: int = 10_000, confidence: float = 0.95
) -> Difference:
    """Mean of values_b − values_a over samples, with its percentile bootstrap interval (Efron 1979).

    Args:
        values_a: (N,), such as 0/1 for wrong and right, or a loss.
        values_b: (N,), the same samples in the same order.
        seed: of the resampling; the same seed gives the same interval.

    Raises:
        ValueError: if the two are not of the same samples, or a value is not finite.
    """
    _check_pair(values_a, values_b)
    differences = values_b.astype(np.float64) - values_a.astype(np.float64)
    if not np.isfinite(differences).all():
        raise ValueError("values to compare must be finite")
    n = len(differences)
    rng = np.random.default_rng(seed)
    distinct, counts = np.unique(differences, return_counts=True)
    if len(distinct) <= MAX_MULTINOMIAL_VALUES:
        # How often each distinct value is drawn is multinomial: the same bootstrap without N indices per resample.
        means = rng.multinomial(n, counts / n, size=resamples) @ distinct / n
    else:
        rows = max(1, CHUNK_VALUES // n)
        sizes = [min(rows, resamples - done) for done in range(0, resamples, rows)]
        means = np.concatenate([differences[rng.integers(0, n, (size, n))].mean(axis=1) for size in sizes])
    low, high = np.quantile(means, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Difference(float(differences.mean()), float(low), float(high))


def holm(p_values: Sequence[float] | np.ndarray) -> np.ndarray:
    """Holm's step-down correction (Holm 1979): adjusted p-values (N,) in the order given.

    Rejecting where the adjusted value is at most α keeps the chance of any false rejection at α.

    Raises:
        ValueError: if a p-value is not in 0..1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"p-values are from 0 to 1, got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def cohen_kappa(predictions_a: np.ndarray, predictions_b: np.ndarray) -> float:
    """Agreement of two classifiers beyond chance (Cohen 1960); 1 where both always say the same one class.

    Args:
        predictions_a: predicted classes (N,).
        predictions_b: (N,), the same samples in the same order.

    Raises:
        ValueError: if the two are not of the same samples.
    """
    _check_pair(predictions_a, predictions_b)
    _, codes = np.unique(np.concatenate((predictions_a, predictions_b)), return_inverse=True)
    a, b = np.split(codes, 2)
    n, classes = len(a), codes.max() + 1
    # Whole numbers until the one division, so that chance agreement of exactly 1 is seen as such.
    by_chance = int(np.bincount(a, minlength=classes) @ np.bincount(b, minlength=classes))
    return 1.0 if by_chance == n * n else (n * int((a == b).sum()) - by_chance) / (n * n - by_chance)


def two_proportion_test(successes_a: int, n_a: int, successes_b: int, n_b: int) -> TwoProportions:
    """The pooled z test of two proportions from separate samples, for figures whose predictions are not at hand.

    Two runs judged on the same samples are correlated: then :func:`mcnemar_exact` is the test, where it can be had.

    Raises:
        ValueError: if successes are not in 0..n, or n is below 1.
    """
    for successes, n in ((successes_a, n_a), (successes_b, n_b)):
        if n < 1 or not 0 <= successes <= n:
            raise ValueError(f"{successes} successes of {n} are no proportion")
    difference = successes_b / n_b - successes_a / n_a
    pooled = (successes_a + successes_b) / (n_a + n_b)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n_a + 1 / n_b))
    z = difference / error if error else 0.0
    return TwoProportions(difference, z, math.erfc(abs(z) / math.sqrt(2)))


def _check_pair(a: np.ndarray, b: np.ndarray) -> None:
    if a.ndim != 1 or a.shape != b.shape or not len(a):
        raise ValueError(f"shapes {a.shape} and {b.shape} are not of the same samples, (N,) each with N at least 1")
