"""Figures of class separation agree with scikit-learn's, and say what they should of spaces that are known."""

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.metrics import calinski_harabasz_score, silhouette_samples
from sklearn.neighbors import NearestNeighbors

from alexnet_skip.statistics import separation as module
from alexnet_skip.statistics.separation import affordable_queries, separation
from alexnet_skip.system import rows as row_chunks
from alexnet_skip.system.rows import LazyRows


def blobs(rng: np.random.Generator, n: int = 240, d: int = 5, classes: int = 4, spread: float = 2.0):
    labels = rng.permutation(np.arange(n) % classes)
    return rng.standard_normal((n, d)) + spread * rng.standard_normal((classes, d))[labels] + 50, labels


@pytest.fixture
def many_chunks(monkeypatch):
    """So short that every loop over chunks and blocks runs several times, the last one over less."""
    monkeypatch.setattr(row_chunks, "CHUNK_BYTES", 8 * 5 * 37)
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 240 * 50)


@pytest.mark.usefixtures("many_chunks")
def test_every_figure_agrees_with_scikit_learn(rng):
    X, labels = blobs(rng)
    queries = np.sort(rng.permutation(len(X))[:133])
    found = separation(X, labels, 4, queries, k=7)

    nearest = NearestNeighbors(n_neighbors=8).fit(X).kneighbors(X, return_distance=False)[:, 1:]
    votes = np.apply_along_axis(np.bincount, 1, labels[nearest], minlength=4)
    # scikit-learn's own vote, where it does not decide ties by the order of the classes.
    untied = queries[(votes == votes.max(axis=1, keepdims=True)).sum(axis=1)[queries] == 1]
    alone = separation(X, labels, 4, untied, k=7)
    assert alone.knn_top1 == (votes.argmax(axis=1) == labels)[untied].mean()
    for label in range(4):
        mine = queries[labels[queries] == label]
        assert_allclose(found.neighbours[label], votes[mine].sum(axis=0) / (7 * len(mine)))
    assert_allclose(found.silhouette, silhouette_samples(X, labels)[queries].mean(), rtol=1e-9)
    assert_allclose(found.variance_ratio * (len(X) - 4) / 3, calinski_harabasz_score(X, labels), rtol=1e-9)
    assert (found.num_queries, found.num_neighbours) == (133, 7)


@pytest.mark.usefixtures("many_chunks")
def test_halves_read_lazily_give_the_same_figures(rng):
    X, labels = blobs(rng)
    halves = X.astype(np.float16)
    lazy = LazyRows(halves.shape, lambda rows: halves[rows])
    queries = np.arange(len(X))
    found = separation(lazy, labels, 4, queries)
    expected = separation(halves.astype(np.float64), labels, 4, queries)
    assert_allclose(found.neighbours, expected.neighbours, atol=0.01)
    for figure in ("knn_top1", "silhouette", "variance_ratio"):
        assert_allclose(getattr(found, figure), getattr(expected, figure), rtol=1e-3)


def test_a_sample_that_is_too_wide_for_a_block_is_asked_alone(rng, monkeypatch):
    X, labels = blobs(rng, n=40)
    expected = separation(X, labels, 4, np.arange(40))
    monkeypatch.setattr(module, "BLOCK_BYTES", 1)
    found = separation(X, labels, 4, np.arange(40))
    assert found.knn_top1 == expected.knn_top1
    assert_allclose(found.neighbours, expected.neighbours)
    assert_allclose(found.silhouette, expected.silhouette)


def test_the_nearest_confusable_class_is_the_one_among_a_classs_own_neighbours():
    """Not the one whose neighbours it is among: here they go round."""
    shares = np.array([[0.5, 0.3, 0.2], [0.1, 0.2, 0.7], [0.6, 0.1, 0.3]])
    found = module.Separation(0.5, 0.0, 1.0, shares, 30, 20, 0, {})
    assert found.nearest_confusable() == [(1, 0.3), (2, 0.7), (0, 0.6)]
    of_b = found.as_json(("a", "b", "c"))["per_class"]["b"]
    assert of_b == {"own_share": 0.2, "nearest_confusable": "c", "its_share": 0.7}


def test_of_a_class_that_was_not_asked_nothing_is_said():
    found = module.Separation(0.5, 0.0, 1.0, np.array([[0.6, 0.4, 0], [0, 0, 0], [0, 0, 1]]), 30, 20, 0, {})
    assert found.asked.tolist() == [True, False, True]
    told = found.as_json(("a", "b", "c"))["per_class"]
    assert told["a"] == {"own_share": 0.6, "nearest_confusable": "b", "its_share": 0.4}
    assert told["b"] == {"own_share": None, "nearest_confusable": None, "its_share": None}
    assert told["c"] == {"own_share": 1.0, "nearest_confusable": None, "its_share": 0.0}


def test_classes_far_apart_are_told_apart_perfectly_and_the_nearer_one_is_named(rng):
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 1000.0]])
    labels = np.arange(90) % 3
    apart = separation(centres[labels] + 0.01 * rng.standard_normal((90, 2)), labels, 3, np.arange(90), k=40)
    # 29 others are of the own class; there are no more.
    assert (apart.knn_top1, apart.num_neighbours) == (1, 29)
    assert apart.silhouette > 0.99
    assert_allclose(apart.neighbours, np.eye(3))
    touching = separation(centres[labels] + 5 * rng.standard_normal((90, 2)), labels, 3, np.arange(90))
    assert [other for other, _ in touching.nearest_confusable()] == [1, 0, 0]
    shares = [share for _, share in touching.nearest_confusable()]
    assert shares[0] > 0 < shares[1]
    assert shares[2] == 0


def test_one_cloud_for_all_classes_is_at_chance(rng):
    labels = rng.permutation(np.arange(1000) % 5)
    found = separation(rng.standard_normal((1000, 2)), labels, 5, np.arange(1000))
    assert abs(found.knn_top1 - 0.2) < 0.05
    assert abs(found.silhouette) < 0.05
    assert found.variance_ratio < 0.02


def test_classes_with_one_sample_or_none_are_no_trouble(rng):
    X, labels = rng.standard_normal((5, 3)), np.array([0, 0, 0, 2, 0])
    found = separation(X, labels, 4, np.arange(5))
    expected = silhouette_samples(X, labels)
    assert_allclose(found.silhouette, expected.mean())
    # As many others as each of the four has of its own class; of the fifth, alone in its class, nothing is asked.
    assert (found.num_neighbours, found.num_alone) == (3, 1)
    assert_allclose(found.neighbours.sum(axis=1), [1, 0, 1, 0])
    assert found.nearest_confusable()[2] == (0, 1.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float16])
def test_of_identical_points_nothing_is_stated(dtype):
    """A tenth, whose mean over six is another number: what rounding leaves is no distance."""
    found = separation(np.full((6, 300), 0.1, dtype), np.arange(6) % 2, 2, np.arange(6))
    assert (found.knn_top1, found.silhouette, found.variance_ratio) == (None, None, None)
    assert set(found.not_stated.values()) == {"all images coincide"}


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_classes_without_scatter_have_no_ratio_and_that_is_said(rng, dtype):
    labels = np.arange(40) % 4
    X = rng.standard_normal((4, 30)).astype(dtype)[labels]
    found = separation(X, labels, 4, np.arange(40))
    assert (found.knn_top1, found.variance_ratio) == (1, None)
    assert found.silhouette == pytest.approx(1, abs=1e-3)
    assert found.remark == "between/within is not stated: no class has two images that differ"
    # A little scatter is some.
    assert separation(X + dtype(0.01) * rng.standard_normal((40, 30)), labels, 4, np.arange(40)).variance_ratio > 100


def test_one_class_comes_apart_from_nothing(rng):
    found = separation(rng.standard_normal((9, 2)), np.ones(9, int), 3, np.arange(9))
    assert (found.knn_top1, found.silhouette, found.variance_ratio) == (None, None, None)
    assert found.remark == "kNN and the silhouette and between/within are not stated: all images are of one class"
    assert found.as_json(("a", "b", "c"))["silhouette"] is None


def test_labels_that_do_not_fit_the_rows_are_refused(rng):
    with pytest.raises(ValueError, match="5 rows and 4 labels"):
        separation(rng.standard_normal((5, 2)), np.zeros(4, int), 2, np.arange(4))


def test_one_row_is_refused_and_two_are_measured():
    with pytest.raises(ValueError, match="1 rows and 1 labels; at least 2 of both"):
        separation(np.zeros((1, 2)), np.zeros(1, int), 1, np.arange(1))
    assert separation(np.eye(2), np.arange(2), 2, np.arange(2)).num_queries == 2


def test_all_are_asked_where_that_is_cheap_and_the_price_is_bounded_elsewhere():
    assert affordable_queries(10_000, 3) == 10_000
    for n, d in ((10_000, 9216), (50_000, 3), (50_000, 9216)):
        asked = affordable_queries(n, d)
        assert 100 < asked < n
        assert asked * n * (2 * d + module.OPERATIONS_PER_DISTANCE) <= module.MAX_OPERATIONS
    assert affordable_queries(10**9, 10**6) == 1, "one at least"


def test_the_figures_have_names_in_json(rng):
    X, labels = blobs(rng, classes=2)
    figures = separation(X, labels, 2, np.arange(len(X))).as_json(("cat", "dog"))
    assert figures["per_class"]["cat"]["nearest_confusable"] == "dog"
    assert figures["per_class"]["cat"]["own_share"] + figures["per_class"]["cat"]["its_share"] == pytest.approx(1)
