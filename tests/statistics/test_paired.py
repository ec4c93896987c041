"""Statistics of comparing two classifiers, against scipy and scikit-learn, and by simulation."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from alexnet_skip.statistics import paired

# The same examples on every machine and every run.
steady = settings(deadline=None, derandomize=True, max_examples=60)


def outcomes(only_b, only_a, both=10, neither=5):
    a = np.repeat([False, True, True, False], [only_b, only_a, both, neither])
    b = np.repeat([True, False, True, False], [only_b, only_a, both, neither])
    return a, b


def simulated_outcomes(rng, n=400, only_b=0.10, only_a=0.06):
    """Right and wrong of two classifiers whose accuracies differ by 4 points."""
    a, b = outcomes(*rng.multinomial(n, [only_b, only_a, 0.7, 1 - 0.7 - only_b - only_a]))
    return a, b


@steady
@given(st.integers(0, 60), st.integers(0, 60))
def test_mcnemars_p_value_is_the_binomial_tests(only_b, only_a):
    result = paired.mcnemar_exact(*outcomes(only_b, only_a))
    assert (result.n01, result.n10) == (only_b, only_a)
    expected = stats.binomtest(only_b, only_b + only_a).pvalue if only_b + only_a else 1.0
    assert result.p == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(("only_b", "only_a"), [(5_000, 5_000), (5_150, 4_850), (4_000, 6_000), (10_000, 0)])
def test_ten_thousand_discordant_samples_do_not_overflow(only_b, only_a):
    expected = stats.binomtest(only_b, 10_000).pvalue
    assert paired.mcnemar_exact(*outcomes(only_b, only_a)).p == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_mcnemar_rarely_claims_a_difference_that_is_not_there(rng):
    p = [paired.mcnemar_exact(*simulated_outcomes(rng, only_b=0.08, only_a=0.08)).p for _ in range(1500)]
    assert 0.02 <= np.mean(np.array(p) <= 0.05) <= 0.055


def test_mcnemar_of_swapped_runs_swaps_the_counts_and_keeps_the_p_value(rng):
    a, b = simulated_outcomes(rng)
    one, other = paired.mcnemar_exact(a, b), paired.mcnemar_exact(b, a)
    assert other == (one.n10, one.n01, one.p)


def test_mcnemar_wants_bools_of_the_same_samples():
    a, b = outcomes(1, 2)
    with pytest.raises(ValueError, match="correctness is bool, not bool and int64"):
        paired.mcnemar_exact(a, b.astype(np.int64))
    with pytest.raises(ValueError, match="not of the same samples"):
        paired.mcnemar_exact(a, b[:-1])


@pytest.mark.parametrize("kind", ["right and wrong", "losses"])
def test_the_bootstrap_is_that_of_samples_drawn_one_by_one(rng, kind):
    a, b = simulated_outcomes(rng) if kind == "right and wrong" else rng.exponential((1, 1.1), size=(400, 2)).T
    ours = paired.paired_bootstrap_interval(a, b, seed=0)
    differences = b.astype(float) - a
    means = [rng.choice(differences, len(differences)).mean() for _ in range(4000)]
    assert ours.mean == pytest.approx(differences.mean())
    # Quantiles of 4,000 means are known to about 3 % of the means' spread.
    np.testing.assert_allclose((ours.low, ours.high), np.quantile(means, (0.025, 0.975)), atol=0.15 * np.std(means))


@pytest.mark.parametrize("kind", ["right and wrong", "losses"])
def test_the_bootstrap_interval_covers_as_it_promises(rng, kind):
    covered = []
    for seed in range(1000):
        if kind == "losses":
            a, b = rng.normal(0, 1, 150), rng.normal(0.04, 1, 150)
        else:
            a, b = simulated_outcomes(rng)
        result = paired.paired_bootstrap_interval(a, b, seed, resamples=400 if kind == "losses" else 1000)
        covered.append(result.low <= 0.04 <= result.high)
    assert 0.93 <= np.mean(covered) <= 0.97


@pytest.mark.parametrize("values", [(0, 1), (1, 0)])
@pytest.mark.parametrize("max_values", [0, 2], ids=["drawn one by one", "counted"])
def test_every_sample_is_drawn_as_often_as_every_other(monkeypatch, values, max_values):
    """Of two samples a quarter of all resamples have only the first, a quarter only the second: of these 20 % each."""
    monkeypatch.setattr(paired, "MAX_MULTINOMIAL_VALUES", max_values)
    result = paired.paired_bootstrap_interval(np.zeros(2), np.array(values), seed=0, confidence=0.6)
    assert result == (0.5, 0.0, 1.0)
    result = paired.paired_bootstrap_interval(np.zeros(2), np.array(values), seed=0, confidence=0.4)
    assert result == (0.5, 0.5, 0.5)


def test_the_bootstrap_is_seeded_and_its_memory_is_bounded(rng, monkeypatch):
    a, b = rng.normal(size=(2, 1000))
    one = paired.paired_bootstrap_interval(a, b, seed=3)
    assert one == paired.paired_bootstrap_interval(a, b, seed=3)
    assert one != paired.paired_bootstrap_interval(a, b, seed=4)
    monkeypatch.setattr(paired, "CHUNK_VALUES", 100_000)
    tracemalloc.start()
    in_chunks = paired.paired_bootstrap_interval(a, b, seed=3)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert in_chunks == one
    assert peak < 4e6


def test_identical_values_have_an_interval_of_zero_width():
    values = np.array([True, False, True])
    assert paired.paired_bootstrap_interval(values, values, seed=0) == (0, 0, 0)


def test_values_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="must be finite"):
        paired.paired_bootstrap_interval(np.array([1.0, np.nan]), np.zeros(2), seed=0)


@steady
@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0.001, 0.999))
def test_holms_adjusted_values_reject_what_the_stepwise_procedure_rejects(p, alpha):
    adjusted = paired.holm(p)
    rejected = np.zeros(len(p), bool)
    for step, place in enumerate(np.argsort(p, kind="stable")):
        if p[place] * (len(p) - step) > alpha:
            break
        rejected[place] = True
    np.testing.assert_array_equal(adjusted <= alpha, rejected)


def test_holms_adjusted_values_are_those_worked_out_by_hand():
    # The smallest times 4, the next times 3, and so on; never below the one before, never above 1.
    np.testing.assert_allclose(paired.holm([0.030, 0.005, 0.9, 0.020]), [0.060, 0.020, 0.9, 0.060])
    np.testing.assert_allclose(paired.holm([0.6, 0.5]), [1, 1])
    assert paired.holm([0.04]) == [0.04]


def test_holm_keeps_the_chance_of_any_false_rejection(rng):
    claims = [(paired.holm(p) <= 0.05).any() for p in rng.uniform(size=(4000, 6))]
    assert 0.04 <= np.mean(claims) <= 0.06


@pytest.mark.parametrize("p", [[0.1, 1.1], [-0.1], [np.nan]])
def test_p_values_that_are_none_are_refused(p):
    with pytest.raises(ValueError, match="p-values are from 0 to 1"):
        paired.holm(p)


@steady
@given(st.integers(0, 100), st.integers(2, 5))
def test_kappa_equals_scikit_learns(seed, classes):
    a, b = np.random.default_rng(seed).integers(0, classes, (2, 40))
    b[:20] = a[:20]
    assert paired.cohen_kappa(a, b) == pytest.approx(cohen_kappa_score(a, b))


def test_kappa_of_runs_that_agree_is_one_even_on_one_class():
    assert paired.cohen_kappa(np.array([0, 1, 2]), np.array([0, 1, 2])) == 1
    assert paired.cohen_kappa(np.array([3, 3]), np.array([3, 3])) == 1


@steady
@given(st.integers(1, 99), st.integers(1, 49))
def test_two_proportions_equal_scipys_chi_square_without_correction(a, b):
    ours = paired.two_proportion_test(a, 100, b, 50)
    theirs = stats.chi2_contingency([[a, 100 - a], [b, 50 - b]], correction=False)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert ours.z**2 == pytest.approx(theirs.statistic)
    assert ours.difference == pytest.approx(b / 50 - a / 100)


def test_two_proportions_at_the_ends_do_not_differ():
    assert paired.two_proportion_test(5, 5, 7, 7) == (0, 0, 1)
    with pytest.raises(ValueError, match="8 successes of 7 are no proportion"):
        paired.two_proportion_test(5, 5, 8, 7)


def test_the_reports_high_epoch_cells_can_not_be_told_apart():
    """83.45 % against 83.57 % of 10,000: the same two numbers that scipy is given."""
    expected = stats.chi2_contingency([[8345, 1655], [8357, 1643]], correction=False).pvalue
    assert paired.two_proportion_test(8345, 10_000, 8357, 10_000).p == pytest.approx(expected)
    assert expected > 0.5


@steady
@given(st.integers(0, 80), st.integers(0, 80), st.integers(0, 30))
def test_one_seeds_sign_flip_test_is_mcnemars(only_b, only_a, both):
    a, b = outcomes(only_b, only_a, both=both + 1)
    assert paired.sign_flip_exact(b.astype(int) - a) == pytest.approx(paired.mcnemar_exact(a, b).p, rel=1e-10)


@steady
@given(st.lists(st.integers(-4, 4), min_size=1, max_size=11))
def test_several_seeds_sign_flip_test_counts_all_signs(differences):
    d = np.array(differences)
    signs = np.array(np.meshgrid(*[[-1, 1]] * len(d))).reshape(len(d), -1)
    expected = (np.abs(signs.T @ np.abs(d)) >= abs(d.sum())).mean()
    assert paired.sign_flip_exact(d) == pytest.approx(expected, rel=1e-10)


def test_the_sign_flip_test_of_many_samples_agrees_with_its_normal_limit(rng):
    d = rng.choice(np.arange(-3, 4), p=[0.02, 0.03, 0.05, 0.79, 0.05, 0.03, 0.03], size=10_000)
    z = abs(d.sum()) / np.sqrt((d.astype(float) ** 2).sum())
    assert paired.sign_flip_exact(d) == pytest.approx(2 * stats.norm.sf(z), rel=0.05)


@pytest.mark.parametrize("differences", [np.zeros(0, int), np.zeros(3), np.zeros((2, 2), int)])
def test_differences_that_are_no_whole_numbers_are_refused(differences):
    with pytest.raises(ValueError, match="whole numbers"):
        paired.sign_flip_exact(differences)


def test_the_sign_flip_test_of_three_seeds_rarely_claims_a_difference_that_is_not_there(rng):
    p = []
    for _ in range(800):
        hard = rng.normal(size=250)  # what one seed gets wrong, the others often do too
        a, b = (sum((hard + rng.normal(size=250) < 1.0).astype(int) for _ in range(3)) for _ in range(2))
        p.append(paired.sign_flip_exact(b - a))
    assert 0.025 <= np.mean(np.array(p) <= 0.05) <= 0.065
