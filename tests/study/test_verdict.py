"""From predictions to a verdict: what is claimed is there, and what is not there is rarely claimed."""

import dataclasses
from statistics import NormalDist

import numpy as np
import pytest

from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.statistics import paired
from alexnet_skip.study import verdict

WHERE = "cifar10 (test, n = 10,000)"


def predictions(labels, right, rng, num_classes=4):
    """Predictions that are right exactly where ``right`` says so."""
    said = np.where(right, labels, (labels + rng.integers(1, num_classes, len(labels))) % num_classes)
    return Predictions(np.eye(num_classes)[said] * 3, labels, np.arange(len(labels)), "digest")


def sides(rng, gain=0.0, seeds=1, n=2000, seed_spread=0.0, base=0.8):
    """Two sides whose accuracies differ by ``gain``; some samples are hard for all, and seeds differ."""
    labels, hard = rng.integers(0, 4, n), rng.normal(size=n)
    both = []
    for extra in (0.0, gain):
        side = []
        for _ in range(seeds):
            level = base + extra + seed_spread * rng.normal()
            side.append(predictions(labels, hard + 0.5 * rng.normal(size=n) < np.sqrt(1.25) * _quantile(level), rng))
        both.append(side)
    return both


def _quantile(probability):

    return NormalDist().inv_cdf(min(max(probability, 1e-6), 1 - 1e-6))


def test_one_seed_is_compared_as_the_paired_statistics_say(rng):
    (a,), (b,) = sides(rng, gain=0.03)
    result = verdict.compare([a], [b], topk=(1, 2))
    assert result.differences[1] == paired.paired_bootstrap_interval(a.correct, b.correct, verdict.BOOTSTRAP_SEED)
    assert result.mcnemar == (paired.mcnemar_exact(a.correct, b.correct),)
    assert result.p == pytest.approx(result.mcnemar[0].p)
    assert result.over_seeds is None
    assert result.differences[1].mean == pytest.approx(result.top1_b[0] - result.top1_a[0])
    support = np.bincount(a.labels)
    assert result.recall_gains @ support / len(a.labels) == pytest.approx(result.differences[1].mean)
    assert a.correct[result.only_a].all()
    assert not b.correct[result.only_a].any()
    assert (len(result.only_b), len(result.only_a)) == (result.mcnemar[0].n01, result.mcnemar[0].n10)


def test_several_seeds_are_averaged_and_only_unanimous_samples_are_named(rng):
    a, b = sides(rng, gain=0.03, seeds=3)
    result = verdict.compare(a, b)
    each = [other.correct.mean() - one.correct.mean() for one, other in zip(a, b, strict=True)]
    assert result.differences[1].mean == pytest.approx(np.mean(each)) == pytest.approx(result.over_seeds.mean)
    assert result.confusion_a.sum() == 3 * 2000
    assert np.trace(result.confusion_b) == pytest.approx(3 * 2000 * np.mean(result.top1_b))
    assert all(one.correct[result.only_a].all() for one in a)
    assert not any(one.correct[result.only_a].any() for one in b)


def test_a_difference_that_is_not_there_is_rarely_claimed_and_a_large_one_nearly_always(rng):
    claims = []
    for gain in (0.0, 0.06):
        results = [verdict.compare(*sides(rng, gain, seeds=3, n=600), topk=(1,)) for _ in range(60)]
        claims.append(np.mean([verdict.is_claimed(result, result.p) for result in results]))
    assert claims[0] <= 0.05
    assert claims[1] >= 0.6


def test_seeds_that_differ_more_than_the_sides_forbid_a_claim(rng):
    labels = rng.integers(0, 4, 4000)
    levels = ((0.80, 0.80), (0.81, 0.90))
    a, b = ([predictions(labels, rng.random(4000) < level, rng) for level in side] for side in levels)
    result = verdict.compare(a, b)
    assert result.p < 0.001
    assert not verdict.is_claimed(result, result.p)
    assert verdict.verdict(result, result.p, WHERE, "skip (conv)").endswith("no difference can be claimed.")


@pytest.mark.parametrize(
    ("gain", "p", "text"),
    [
        (0.004, 0.012, "changes top-1 by +0.4 points [+0.1, +0.7], p = 0.012: it helps, a little."),
        (-0.02, 0.0001, "changes top-1 by −2.0 points [−2.3, −1.7], p < 0.001: it hurts."),
        (0.004, 0.3, "changes top-1 by +0.4 points [+0.1, +0.7], p = 0.300: no difference can be claimed."),
        (0.0001, 0.9, "changes top-1 by +0.01 points [−0.29, +0.31], p = 0.900: no difference can be claimed."),
    ],
)
def test_the_verdict_is_one_plain_sentence(rng, gain, p, text):
    result = verdict.compare(*sides(rng))
    difference = paired.Difference(gain, gain - 0.003, gain + 0.003)
    result = dataclasses.replace(result, differences={1: difference})
    assert verdict.verdict(result, p, WHERE, "skip (conv)") == f"On {WHERE} skip (conv) {text}"


def test_a_run_with_itself_is_identical(rng):
    (a,), _ = sides(rng)
    result = verdict.compare([a], [a])
    assert (result.identical, result.p, result.kappa, result.differences[1]) == (True, 1.0, 1.0, (0, 0, 0))
    assert verdict.verdict(result, 1.0, WHERE, "it") == f"On {WHERE} it changes nothing: the predictions are identical."


def test_other_samples_and_unpaired_seeds_are_refused(rng):
    (a,), (b,) = sides(rng)
    other = Predictions(b.logits, b.labels, b.index[::-1], b.digest)
    with pytest.raises(ValueError, match="same samples"):
        verdict.compare([a], [other])
    with pytest.raises(ValueError, match="2 and 1 sets"):
        verdict.compare([a, a], [b])
