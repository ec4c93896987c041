"""From predictions to a verdict: what is claimed is there, and what is not there is rarely claimed."""

import dataclasses
from statistics import NormalDist

import numpy as np
import pytest

from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.statistics import paired
from alexnet_skip.statistics.seeds import MethodDifference
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
    (result,) = verdict.compare([[a], [b]], topk=(1, 2))
    assert result.differences[1] == paired.paired_bootstrap_interval(a.correct, b.correct, verdict.BOOTSTRAP_SEED)
    assert result.mcnemar == (paired.mcnemar_exact(a.correct, b.correct),)
    assert result.p == result.p_holm == pytest.approx(result.mcnemar[0].p)
    assert result.method is None
    assert result.differences[1].mean == pytest.approx(result.top1_b[0] - result.top1_a[0])
    support = np.bincount(a.labels)
    assert result.recall_gains @ support / len(a.labels) == pytest.approx(result.differences[1].mean)
    assert a.correct[result.only_a].all()
    assert not b.correct[result.only_a].any()
    assert (len(result.only_b), len(result.only_a)) == (result.mcnemar[0].n01, result.mcnemar[0].n10)


def test_several_seeds_are_averaged_and_only_unanimous_samples_are_named(rng):
    a, b = sides(rng, gain=0.03, seeds=3)
    (result,) = verdict.compare([a, b])
    each = [other.correct.mean() - one.correct.mean() for one, other in zip(a, b, strict=True)]
    assert result.differences[1].mean == pytest.approx(np.mean(each)) == pytest.approx(result.method.mean)
    assert result.confusion_a.sum() == 3 * 2000
    assert np.trace(result.confusion_b) == pytest.approx(3 * 2000 * np.mean(result.top1_b))
    assert all(one.correct[result.only_a].all() for one in a)
    assert not any(one.correct[result.only_a].any() for one in b)


def test_every_side_is_compared_with_the_first_and_p_values_are_corrected_for_their_number(rng):
    a, b = sides(rng, gain=0.01, seeds=3)
    _, c = sides(rng, gain=0.0, seeds=3)
    c = [predictions(b[0].labels, one.correct, rng) for one in c]
    alone = [verdict.compare([a, other])[0] for other in (b, c)]
    together = verdict.compare([a, b, c])
    assert [one.p for one in together] == [one.p for one in alone] == [one.p_holm for one in alone]
    assert [one.p_holm for one in together] == paired.holm([one.p for one in alone]).tolist()
    assert [one.num_pairs for one in together] == [2, 2]
    for k in range(2):
        expected = paired.holm([one.method.p for one in together])[k]
        assert together[k].method.p_holm == pytest.approx(expected)
        assert together[k].method.degrees > alone[k].method.degrees  # six seeds' spread, then nine's


def test_a_large_difference_is_nearly_always_claimed(rng):
    results = [verdict.compare(sides(rng, 0.06, seeds=3, n=600), topk=(1,))[0] for _ in range(60)]
    assert np.mean([result.claimed for result in results]) >= 0.6


def test_seeds_that_differ_more_than_the_sides_forbid_a_claim(rng):
    labels = rng.integers(0, 4, 4000)
    levels = ((0.80, 0.80), (0.81, 0.90))
    a, b = ([predictions(labels, rng.random(4000) < level, rng) for level in side] for side in levels)
    (result,) = verdict.compare([a, b])
    assert result.p < 0.001
    assert (result.models_differ, result.claimed) == (True, False)
    sentence = verdict.verdict(result, WHERE, "skip (conv)")
    assert sentence.endswith(": these models differ, but the seeds do too; no difference can be claimed.")


def test_samples_that_differ_more_than_the_sides_forbid_a_claim(rng):
    """All seeds of a method agree on every sample: what is left is which samples there are."""
    labels = rng.integers(0, 4, 4000)
    a, b = (3 * [predictions(labels, np.roll(np.arange(4000) < 3200, by), rng)] for by in (0, 300))
    b = [predictions(labels, one.correct | (np.arange(4000) == 3900), rng) for one in b]
    (result,) = verdict.compare([a, b])
    assert result.method.mean > 0
    assert np.var(result.top1_b) == 0
    assert (result.models_differ, result.claimed) == (False, False)


def test_a_handful_of_samples_is_too_few_for_a_claim_whatever_students_test_says(rng):
    labels = rng.integers(0, 4, 4000)
    a, b = (3 * [predictions(labels, np.arange(4000) < right, rng)] for right in (3200, 3205))
    (result,) = verdict.compare([a, b])
    assert result.p == pytest.approx(2 / 2**5)
    assert result.method.p_holm < verdict.SIGNIFICANCE
    assert not result.claimed


MODEL, METHOD = (0.001, 0.2), (None, 0.001, 0.2)


@pytest.mark.parametrize("p_model", MODEL)
@pytest.mark.parametrize("p_method", METHOD)
def test_a_claim_of_a_method_needs_samples_and_seeds(p_model, p_method):
    method = None if p_method is None else MethodDifference(0.01, 0.003, 8, p_method / 3, p_method)
    assert verdict.is_claimed(p_model, method) == (p_model == p_method == 0.001)


def result_of(gain, p, method=None, num_pairs=1):
    """A comparison with the given figures, whatever the predictions."""
    (result,) = verdict.compare(sides(np.random.default_rng(0)), topk=(1,))
    difference = paired.Difference(gain, gain - 0.003, gain + 0.003)
    replaced = {"differences": {1: difference}, "p": p, "p_holm": p, "num_pairs": num_pairs}
    if method is not None:
        error, p_method = method
        replaced |= {"method": MethodDifference(gain, error, 8, p_method / 3, p_method), "top1_a": (0.8, 0.8, 0.8)}
    return dataclasses.replace(result, **replaced)


@pytest.mark.parametrize(
    ("gain", "p", "num_pairs", "text"),
    [
        (0.004, 0.012, 1, "+0.4 points [+0.1, +0.7], p = 0.012; one run each can't say that the skip is why."),
        (-0.02, 0.0001, 3, "−2.0 points [−2.3, −1.7], p < 0.001 (p corrected for 3 comparisons); one run each can't "
         "say that the skip is why."),
        (0.004, 0.3, 1, "+0.4 points [+0.1, +0.7], p = 0.300, which may be chance: no difference can be claimed."),
        (0.0001, 0.9, 1, "+0.01 points [−0.29, +0.31], p = 0.900, which may be chance: no difference can be claimed."),
    ],
)  # fmt: skip
def test_the_verdict_on_two_runs_is_one_plain_sentence_about_two_models(gain, p, num_pairs, text):
    result = result_of(gain, p, num_pairs=num_pairs)
    sentence = verdict.verdict(result, WHERE, "skip (conv)")
    assert sentence == f"On {WHERE}, skip (conv): these two models differ in top-1 by {text}"
    assert not result.claimed
    assert not any(causal in sentence for causal in ("change", "help", "hurt"))


@pytest.mark.parametrize(
    ("gain", "p", "method", "num_pairs", "text"),
    [
        (0.004, 0.012, (0.001, 0.02), 1, "+0.4 points [+0.1, +0.7], p = 0.012 for these models; [+0.2, +0.6], "
         "p = 0.020 for other seeds too (3 each): it helps, a little."),
        (-0.02, 0.0001, (0.002, 0.003), 3, "−2.0 points [−2.3, −1.7], p < 0.001 for these models; [−2.5, −1.5], "
         "p = 0.003 for other seeds too (3 each; p corrected for 3 comparisons): it hurts."),
        (0.004, 0.012, (0.003, 0.2), 1, "+0.4 points [+0.1, +0.7], p = 0.012 for these models; [−0.3, +1.1], "
         "p = 0.200 for other seeds too (3 each): these models differ, but the seeds do too; no difference can be "
         "claimed."),
        (0.0001, 0.9, (0.002, 0.8), 1, "+0.01 points [−0.29, +0.31], p = 0.900 for these models; [−0.45, +0.47], "
         "p = 0.800 for other seeds too (3 each): no difference can be claimed."),
    ],
)  # fmt: skip
def test_the_verdict_on_several_seeds_is_one_plain_sentence_about_the_method(gain, p, method, num_pairs, text):
    result = result_of(gain, p, method, num_pairs)
    assert verdict.verdict(result, WHERE, "skip (conv)") == f"On {WHERE} skip (conv) changes top-1 by {text}"


def test_a_run_with_itself_is_identical(rng):
    (a,), _ = sides(rng)
    for seeds in (1, 2):
        (result,) = verdict.compare([[a] * seeds, [a] * seeds])
        assert (result.identical, result.p, result.kappa, result.differences[1]) == (True, 1.0, 1.0, (0, 0, 0))
        assert (result.models_differ, result.claimed) == (False, False)
        sentence = verdict.verdict(result, WHERE, "it")
        told = (
            ", it: the predictions of these two models are"
            if seeds == 1
            else " it changes nothing: the predictions are"
        )
        assert sentence == f"On {WHERE}{told} identical."


def test_other_samples_and_unpaired_seeds_are_refused(rng):
    (a,), (b,) = sides(rng)
    other = Predictions(b.logits, b.labels, b.index[::-1], b.digest)
    with pytest.raises(ValueError, match="same samples"):
        verdict.compare([[a], [other]])
    with pytest.raises(ValueError, match="2 and 1 sets"):
        verdict.compare([[a, a], [b]])
    with pytest.raises(ValueError, match="1 sets"):
        verdict.compare([[a]])
