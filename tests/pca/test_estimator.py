"""PCA agrees with scikit-learn, obeys its identities, and reads its input in pieces."""

import tracemalloc

import numpy as np
import pytest
import scipy.linalg
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.decomposition import PCA as Oracle

from alexnet_skip.pca import solvers
from alexnet_skip.pca.estimator import PCA
from alexnet_skip.system import rows
from alexnet_skip.system.rows import CentredRows, LazyRows, widen

SOLVERS = ["exact", "krylov"]
SHAPES = [(60, 20), (20, 60), (30, 30)]


def spread_out(rng: np.random.Generator, n: int, d: int) -> np.ndarray:
    """Gaussian rows whose principal variances fall off geometrically, far from the origin."""
    scales = 0.7 ** np.arange(d)
    return rng.standard_normal((n, d)) * scales @ np.linalg.qr(rng.standard_normal((d, d)))[0] + 5


def subspace_error(axes: np.ndarray, reference: np.ndarray) -> float:
    """Sine of the largest angle between the row spaces of two orthonormal matrices (K, D)."""
    return float(np.sin(scipy.linalg.subspace_angles(axes.T.astype(float), reference.T.astype(float))).max())


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_every_attribute_agrees_with_scikit_learn(solver, shape, rng):
    X = spread_out(rng, *shape)
    ours, theirs = PCA(4, solver=solver).fit(X), Oracle(4, svd_solver="full").fit(X)
    for name in (
        "components_",
        "explained_variance_",
        "explained_variance_ratio_",
        "singular_values_",
        "mean_",
        "noise_variance_",
    ):
        assert_allclose(getattr(ours, name), getattr(theirs, name), rtol=1e-6, atol=1e-9, err_msg=name)
    for name in ("n_components_", "n_samples_", "n_features_in_"):
        assert getattr(ours, name) == getattr(theirs, name)
    fresh = spread_out(rng, 7, shape[1])
    scores = ours.transform(fresh)
    assert_allclose(scores, theirs.transform(fresh), atol=1e-8)
    assert_allclose(ours.inverse_transform(scores), theirs.inverse_transform(scores), atol=1e-8)


@pytest.mark.parametrize("method", ["svd", "covariance", "gram", "krylov"])
@pytest.mark.parametrize("shape", SHAPES)
def test_all_methods_agree(method, shape, rng, monkeypatch):
    n, d = shape
    if (method == "covariance" and d > n) or (method == "gram" and d <= n):
        pytest.skip("the other matrix is the smaller one")
    monkeypatch.setattr(solvers, "SVD_BYTES", 2**20 if method == "svd" else 0)
    monkeypatch.setattr(rows, "CHUNK_BYTES", 8 * d * 7)  # seven rows at a time
    X = spread_out(rng, n, d)
    pca = PCA(5, solver="krylov" if method == "krylov" else "exact").fit(X)
    reference = Oracle(5, svd_solver="full").fit(X)
    assert pca.solver_ == method
    assert_allclose(pca.components_, reference.components_, atol=1e-6)
    assert_allclose(pca.explained_variance_, reference.explained_variance_, rtol=1e-9)


@given(
    n=st.integers(2, 25), d=st.integers(1, 25), rank=st.integers(0, 25), seed=st.integers(0, 99), data=st.data(),
    solver=st.sampled_from(SOLVERS), svd=st.booleans(),
)  # fmt: skip
@settings(max_examples=150, deadline=None)
def test_the_identities_hold_for_every_shape_and_rank(n, d, rank, seed, data, solver, svd):
    rng = np.random.default_rng(seed)
    k = data.draw(st.integers(1, min(n, d)))
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d)) + rng.standard_normal(d)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(solvers, "SVD_BYTES", 2**20 if svd else 0)
        pca = PCA(k, solver=solver).fit(X)
    scores = pca.transform(X)
    assert_allclose(pca.components_ @ pca.components_.T, np.eye(k), atol=1e-10)
    expected = np.linalg.eigvalsh(np.atleast_2d(np.cov(X, rowvar=False)))[::-1][:k]
    scale = max(1.0, expected[0])
    assert_allclose(pca.explained_variance_, expected, atol=1e-9 * scale)
    assert_allclose(scores.mean(axis=0), 0, atol=1e-10 * scale)
    assert_allclose(scores.var(axis=0, ddof=1), pca.explained_variance_, atol=1e-9 * scale)
    assert (np.diff(pca.explained_variance_) <= 1e-9 * scale).all()
    if k >= min(rank, n - 1):
        assert_allclose(pca.inverse_transform(scores), X, atol=1e-6 * scale)


def test_a_wide_krylov_basis_is_orthonormal_and_captures_what_the_best_does(rng, monkeypatch):
    monkeypatch.setattr(solvers, "MAX_BLOCK", 32)
    monkeypatch.setattr(solvers, "MAX_DOUBLE_COMPONENTS", 10)
    X = (rng.standard_normal((400, 300)) * np.arange(1, 301) ** -0.5).astype(np.float32)
    best = Oracle(80, svd_solver="full").fit(X).explained_variance_ratio_.sum()
    accurate = PCA(80, solver="krylov", tol=1e-5).fit(X)
    quick = PCA(80, solver="krylov", tol=np.inf).fit(X)
    assert quick.n_passes_ < accurate.n_passes_
    for pca, share in ((accurate, 0.99999), (quick, 0.9)):
        assert_allclose(pca.components_ @ pca.components_.T, np.eye(80), atol=1e-5)
        assert pca.explained_variance_ratio_.sum() >= share * best


def test_the_leading_subspace_of_halves_is_accurate_to_single_precision(rng):
    """The contract of the benchmark, small: errors below 1e-5 in what three components span and explain."""
    X = (np.abs(rng.standard_normal((700, 900)) * 0.99 ** np.arange(900)) + rng.random(900) * 3).astype(np.float16)
    pca = PCA(3, solver="krylov").fit(X)
    reference = Oracle(3, svd_solver="full").fit(X.astype(np.float64))
    assert pca.components_.dtype == np.float32
    assert_allclose(pca.explained_variance_, reference.explained_variance_, rtol=1e-5)
    assert_allclose(pca.explained_variance_ratio_, reference.explained_variance_ratio_, rtol=1e-5)
    assert subspace_error(pca.components_, reference.components_) < 1e-5


def test_variance_far_from_the_origin_is_not_lost(rng):
    X = (rng.standard_normal((500, 40)) * 0.9 ** np.arange(40) + 3000).astype(np.float32)
    pca = PCA(2, solver="krylov").fit(X)
    assert_allclose(pca.explained_variance_ratio_, Oracle(2).fit(X.astype(float)).explained_variance_ratio_, rtol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
def test_signs_and_values_do_not_depend_on_the_seed_or_the_run(solver, rng):
    X = spread_out(rng, 50, 30)
    first, again, other = (PCA(3, solver=solver, random_state=seed).fit(X).components_ for seed in (0, 0, 1))
    assert_array_equal(first, again)
    assert_allclose(first, other, atol=1e-6)
    assert (first[np.arange(3), np.abs(first).argmax(axis=1)] > 0).all()


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8])
def test_precision_follows_the_data(dtype, rng):
    X = (rng.random((30, 8)) * 100).astype(dtype)
    pca = PCA(2).fit(X)
    expected = np.float32 if dtype in (np.float16, np.float32) else np.float64
    for name in ("components_", "mean_", "explained_variance_", "singular_values_"):
        assert getattr(pca, name).dtype == expected
    assert pca.transform(X).dtype == expected


def test_auto_takes_the_solver_that_costs_less():
    assert solvers.cheapest(10_000, 9216, 3) == "krylov"
    assert solvers.cheapest(100, 9216, 3) == "exact"
    assert solvers.cheapest(50_000, 64, 10) == "exact"
    assert solvers.cheapest(5000, 4096, 4000) == "exact"


def test_rows_may_be_a_selection_sum_or_concatenation_of_memory_maps(tmp_path, rng):
    for name in ("main", "tap"):
        np.save(tmp_path / f"{name}.npy", spread_out(rng, 90, 12).astype(np.float16))
    main, tap = (np.load(tmp_path / f"{name}.npy", mmap_mode="r") for name in ("main", "tap"))
    index = rng.permutation(90)[:50]
    summed = LazyRows((50, 12), lambda r: main[index[r]].astype(np.float32) + tap[index[r]])
    beside = LazyRows((90, 24), lambda r: np.hstack((main[r], tap[r])))
    for lazy, eager in ((summed, main[index].astype(np.float32) + tap[index]), (beside, np.hstack((main, tap)))):
        for solver in SOLVERS:
            one, two = PCA(3, solver=solver).fit(lazy), PCA(3, solver=solver).fit(eager)
            assert_allclose(one.components_, two.components_, atol=1e-6)
            assert_allclose(one.transform(lazy), two.transform(eager), atol=1e-5)


def test_memory_stays_far_below_a_second_copy(tmp_path, rng):
    X = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float16, (12_000, 2048))
    X[...] = rng.standard_normal(2048).astype(np.float16) * (np.arange(12_000) % 7)[:, None].astype(np.float16)
    X.flush()
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    tracemalloc.start()
    try:
        pca = PCA(3).fit(X)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert pca.solver_ == "krylov"
    assert peak < 0.4 * X.size * 4  # the chunk alone, 16 MiB, is a sixth of this small input


def test_halves_are_widened_exactly():
    halves = np.arange(65_536, dtype=np.uint16).view(np.float16)
    finite = halves[np.isfinite(halves)]
    for values in (finite, finite[::3], halves, halves[:0]):
        wide = widen(values, np.empty(values.shape, np.float32))
        assert_array_equal(wide, values.astype(np.float32))
        assert_array_equal(np.signbit(wide), np.signbit(values))


def test_centred_rows_know_mean_and_total_variance(rng):
    X = spread_out(rng, 40, 6)
    data = CentredRows(X)
    assert_allclose(data.mean, X.mean(axis=0))
    assert data.total == pytest.approx(((X - X.mean(axis=0)) ** 2).sum())
    vectors = rng.standard_normal((6, 2))
    assert_allclose(data.scatter(vectors), np.cov(X, rowvar=False) * 39 @ vectors)


def test_a_saved_pca_is_the_same_after_loading(tmp_path, rng):
    X = spread_out(rng, 30, 9)
    pca = PCA(3, solver="krylov", tol=1e-6, random_state=4).fit(X)
    pca.save(tmp_path / "pca.npz")
    loaded = PCA.load(tmp_path / "pca.npz")
    assert vars(loaded).keys() == vars(pca).keys()
    for name, value in vars(pca).items():
        assert_array_equal(getattr(loaded, name), value)
        assert type(getattr(loaded, name)) is type(value), name
    assert_array_equal(loaded.transform(X), pca.transform(X))
    assert [p.name for p in tmp_path.iterdir()] == ["pca.npz"]


def test_a_file_that_holds_no_pca_is_refused_by_name(tmp_path):
    np.savez(tmp_path / "other.npz", a=np.zeros(3))
    (tmp_path / "text.npz").write_text("no zip", encoding="utf-8")
    for name in ("other.npz", "text.npz"):
        with pytest.raises(ValueError, match=f"{name} holds no PCA"):
            PCA.load(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        PCA.load(tmp_path / "absent.npz")


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_a_value_that_is_not_finite_is_named(solver, value, dtype, rng):
    X = rng.random((20, 5)).astype(dtype)
    good = PCA(2, solver=solver).fit(X)
    X[13, 4] = value
    with pytest.raises(ValueError, match=r"X\[13, 4\] is -?(nan|inf)"):
        PCA(2, solver=solver).fit(X)
    with pytest.raises(ValueError, match=r"X\[13, 4\] is -?(nan|inf)"):
        good.transform(X)


@pytest.mark.parametrize(
    ("parameters", "shape", "message"),
    [
        ({"n_components": 0}, (9, 4), "n_components is 0; 9 samples of 4 features allow 1 to 4"),
        ({"n_components": 5}, (9, 4), "allow 1 to 4"),
        ({"n_components": 4}, (3, 9), "allow 1 to 3"),
        ({"n_components": 0.5}, (9, 4), "n_components is 0.5"),
        ({"n_components": 1}, (1, 4), r"X has 1 sample\(s\)"),
        ({"n_components": 1}, (4,), r"X has shape \(4,\)"),
        ({"n_components": 1, "solver": "arpack"}, (9, 4), "solver is 'arpack'; give"),
        ({"n_components": 1, "tol": 0}, (9, 4), "tol is 0"),
    ],
)
def test_what_can_not_be_fitted_is_refused_with_value_and_range(parameters, shape, message):
    with pytest.raises(ValueError, match=message):
        PCA(**parameters).fit(np.zeros(shape))


def test_another_width_is_refused(rng):
    pca = PCA(1).fit(rng.random((5, 4)))
    with pytest.raises(ValueError, match="X has 3 features, but the PCA was fitted on 4"):
        pca.transform(rng.random((5, 3)))
