"""Separation of few images: as many neighbours as there are of a class, and no figure that cannot be had."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics import silhouette_score
from sklearn.neighbors import KNeighborsClassifier

from alexnet_skip.statistics.separation import NEIGHBOURS, separation


def leave_one_out(X, labels, k):
    """Which samples scikit-learn's vote of k others gets right."""
    rows = np.arange(len(X))
    return np.array([
        KNeighborsClassifier(k, algorithm="brute").fit(X[rows != i], labels[rows != i]).predict(X[[i]])[0] == labels[i]
        for i in rows
    ])  # fmt: skip


def apart(sizes, rng):
    """Classes of those sizes, far apart."""
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return 100.0 * np.eye(len(sizes))[labels] + rng.standard_normal((len(labels), len(sizes))), labels


@pytest.mark.parametrize(
    ("sizes", "k"),
    [((10, 10), 9), ((2, 2), 1), ((3, 40), 2), ((30, 40, 25), NEIGHBOURS), ((21, 21), NEIGHBOURS), ((20, 20), 19),
     ((5,) * 30, 4)],
)  # fmt: skip
def test_classes_that_lie_apart_are_told_apart_however_few_they_are(rng, sizes, k):
    X, labels = apart(sizes, rng)
    found = separation(X, labels, len(sizes), np.arange(len(labels)))
    assert (found.knn_top1, found.num_neighbours, found.num_alone, found.remark) == (1.0, k, 0, "")
    assert_allclose(found.neighbours, np.eye(len(sizes)))
    assert_allclose(found.silhouette, silhouette_score(X, labels))
    assert found.silhouette > 0.9


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 8), min_size=2, max_size=4), st.integers(0, 1000))
def test_the_vote_is_scikit_learns_over_the_images_that_are_not_alone(sizes, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    X = rng.standard_normal((len(labels), 3)) + labels[:, None]
    found = separation(X, labels, len(sizes), np.arange(len(labels)))
    company = np.array(sizes)[labels] > 1
    assert found.num_alone == (~company).sum()
    if not company.any():
        assert found.knn_top1 is None
        return
    assert found.num_neighbours == min(NEIGHBOURS, min(size for size in sizes if size > 1) - 1)
    assert_allclose(found.knn_top1, leave_one_out(X, labels, found.num_neighbours)[company].mean())
    if 2 <= len(sizes) < len(labels):
        assert_allclose(found.silhouette, silhouette_score(X, labels))


def test_an_image_alone_in_its_class_is_not_counted_and_that_is_said(rng):
    X, labels = apart((6, 1, 6), rng)
    found = separation(X, labels, 3, np.arange(13))
    assert (found.knn_top1, found.num_neighbours, found.num_alone) == (1.0, 5, 1)
    assert found.remark == "kNN does not count 1 image(s) that are the only one of their class"
    figures = found.as_json(("a", "b", "c"))
    assert (figures["num_alone"], figures["knn_remark"]) == (1, found.remark)
    # Alone among all, asked or not: its class is no smaller for being asked about less.
    few = separation(X, labels, 3, np.flatnonzero(labels != 1)[:4])
    assert (few.knn_top1, few.num_neighbours, few.num_alone, few.remark) == (1.0, 5, 0, "")


def test_where_every_image_is_alone_the_vote_is_not_stated_and_the_reason_is(rng):
    found = separation(rng.standard_normal((4, 2)), np.arange(4), 4, np.arange(4))
    assert (found.knn_top1, found.num_alone) == (None, 4)
    assert found.remark == "kNN is not stated: every image asked is the only one of its class"
    assert found.as_json(("a", "b", "c", "d"))["knn_top1"] is None
    assert found.silhouette == 0
