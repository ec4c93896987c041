"""Differences of methods over seeds and samples, against scipy, the textbook's sums of squares, and by simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from alexnet_skip.statistics import paired, seeds

# The same examples on every machine and every run.
steady = settings(deadline=None, derandomize=True, max_examples=60)


def differences(right):
    """Method differences of right and wrong (M, S, N)."""
    shares = right.mean(axis=1)
    return seeds.method_differences(right.mean(axis=2), shares @ shares.T / right.shape[2], right.shape[2])


def simulated(rng, methods=3, num_seeds=3, n=400, level=0.8):
    """Right and wrong of methods that err on images of their own, with seeds that do a little too."""
    hard = rng.normal(size=(methods, 1, n)) + rng.normal(size=n)
    return hard + 0.5 * rng.normal(size=(methods, num_seeds, n)) < 1.5 * stats.norm.ppf(level)


@steady
@given(st.integers(0, 100), st.integers(2, 4), st.integers(2, 5))
def test_the_variance_is_the_analysis_of_variances(seed, methods, num_seeds):
    right = simulated(np.random.default_rng(seed), methods, num_seeds).astype(float)
    n = right.shape[2]
    runs, images = right.mean(axis=2, keepdims=True), right.mean(axis=1, keepdims=True)
    means = right.mean(axis=(1, 2), keepdims=True)
    of_seeds = ((runs - means) ** 2).sum() / (methods * (num_seeds - 1))
    left = ((right - runs - images + means) ** 2).sum(axis=(1, 2)) / ((num_seeds - 1) * n)
    for b, found in enumerate(differences(right > 0), start=1):
        of_samples = ((images[b] - images[0]) ** 2).mean() / n
        residual = (left[0] + left[b]) / (num_seeds * n)
        spread = max(2 * of_seeds / num_seeds, residual)
        variance = spread + max(of_samples - residual, 0)
        assert found.standard_error == pytest.approx(np.sqrt(variance))
        assert found.degrees == int(methods * (num_seeds - 1) * variance / spread + 1e-9)
        assert found.mean == pytest.approx(float(means[b, 0, 0] - means[0, 0, 0]), abs=1e-12)
        assert found.p == pytest.approx(2 * stats.t.sf(abs(found.mean) / found.standard_error, found.degrees))


@steady
@given(st.integers(0, 100), st.integers(2, 6))
def test_where_only_seeds_matter_two_methods_are_compared_by_students_test(seed, num_seeds):
    accuracies = np.random.default_rng(seed).normal(0.8, 0.01, (2, num_seeds))
    means = accuracies.mean(axis=1)
    # Of so many samples that their choice makes no difference.
    (found,) = seeds.method_differences(accuracies, np.outer(means, means), 10**12)
    expected = stats.ttest_ind(accuracies[1], accuracies[0])
    assert found.degrees == expected.df
    assert found.p == pytest.approx(expected.pvalue)
    np.testing.assert_allclose(found.interval(0.9)[1:], expected.confidence_interval(0.9))


def test_the_spread_of_seeds_is_pooled_over_all_methods(rng):
    accuracies = rng.normal(0.8, [[0.02], [0.01], [0.01], [0.03]], (4, 3))
    means = accuracies.mean(axis=1)
    found = seeds.method_differences(accuracies, np.outer(means, means), 10**12)
    pooled = np.concatenate([one - one.mean() for one in accuracies])
    error = np.sqrt((pooled**2).sum() / 8 * 2 / 3)
    np.testing.assert_allclose([one.standard_error for one in found], error)
    assert {one.degrees for one in found} == {8}


def test_where_seeds_make_no_difference_samples_decide(rng):
    right = np.repeat(simulated(rng, methods=2, num_seeds=1, n=10_000), 3, axis=1)
    right[1, :, :200] = True
    (found,) = differences(right)
    hits = right.sum(axis=1)
    assert 1e-6 < found.p < 0.05
    assert found.p == pytest.approx(paired.sign_flip_exact(hits[1] - hits[0]), rel=0.1)
    assert found.degrees == 9_999


@steady
@given(st.integers(0, 100), st.integers(2, 6))
def test_p_values_are_corrected_for_the_number_of_methods(seed, methods):
    found = differences(simulated(np.random.default_rng(seed), methods, n=60))
    np.testing.assert_allclose([one.p_holm for one in found], paired.holm([one.p for one in found]))
    least = min(found, key=lambda one: one.p)
    assert least.p_holm == pytest.approx(min(1, (methods - 1) * least.p))


@steady
@given(st.integers(0, 100))
def test_the_interval_leaves_zero_out_where_the_p_value_is_small(seed):
    found = differences(simulated(np.random.default_rng(seed), methods=2, n=60))[0]
    low, high = found.interval(1 - found.p)[1:] if 0 < found.p < 1 else (0, 0)
    assert min(abs(low), abs(high)) == pytest.approx(0, abs=1e-9)
    assert found.interval().mean == found.mean


def test_neither_the_order_of_seeds_nor_which_method_is_named_first_matters(rng):
    right = simulated(rng, methods=2)
    (one,) = differences(right)
    np.testing.assert_allclose(differences(right[:, [2, 0, 1]])[0], one)
    (other,) = differences(right[::-1])
    np.testing.assert_allclose(other, one._replace(mean=-one.mean))


def test_what_is_the_same_has_no_difference_and_no_spread(rng):
    one = simulated(rng, methods=1, num_seeds=1)
    (found,) = differences(np.tile(one, (2, 3, 1)))
    assert (found.mean, found.p, found.p_holm, found.interval()) == (0, 1, 1, (0, 0, 0))


def test_few_samples_are_worth_few_degrees_of_freedom():
    right = np.zeros((2, 2, 6), bool)
    right[1] = True
    (found,) = differences(right)
    assert found.degrees == 5
    assert 0.03 < found.p < 0.1  # six of six: 0.03 by the exact test
    assert differences(right[:, :, :1])[0].degrees == 1


@pytest.mark.parametrize("share", [0.1, 0.3])
def test_few_seeds_that_happen_to_be_alike_are_not_trusted(rng, share):
    """Two seeds of two methods, and samples that add a part of the seeds' variance: where Satterthwaite fails."""
    spread, n, num_studies = 0.01, 10_000, 6000
    samples = share * spread**2
    claims = 0
    for _ in range(num_studies):
        accuracies = rng.normal(0.8, spread, (2, 2)) + rng.normal(0, np.sqrt(samples / 2), (2, 1))
        means = accuracies.mean(axis=1)
        # Each method's seeds agree on every sample, so that nothing is left over.
        products = np.diag(means)
        products[0, 1] = products[1, 0] = (means.sum() - samples * n) / 2
        claims += seeds.method_differences(accuracies, products, n)[0].p <= 0.05
    # One in a thousand rules that hold 5 % would fail here.
    assert claims <= stats.binom.isf(0.001, num_studies, 0.05)


@pytest.mark.parametrize("shape", [(1, 3), (3, 1)])
def test_one_method_or_one_seed_has_no_interval(shape):
    with pytest.raises(ValueError, match="at least two seeds each; one run tells nothing of the spread"):
        seeds.method_differences(np.full(shape, 0.8), np.eye(shape[0]), 100)


@steady
@given(st.floats(-40, 40), st.one_of(st.integers(1, 40), st.just(9999)))
def test_students_p_value_equals_scipys(t, degrees):
    assert seeds.student_t_p(t, degrees) == pytest.approx(2 * stats.t.sf(abs(t), degrees), rel=1e-9, abs=1e-12)


@steady
@given(st.sampled_from([0.5, 0.8, 0.95, 0.975, 0.995]), st.integers(1, 40))
def test_students_quantile_is_where_scipys_distribution_reaches_the_probability(probability, degrees):
    quantile = seeds.student_t_quantile(probability, degrees)
    assert stats.t.cdf(quantile, degrees) == pytest.approx(probability, abs=1e-12)
