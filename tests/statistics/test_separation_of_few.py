"""Separation of few images: as many neighbours as there are of a class, and no figure that cannot be had."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose
from sklearn.metrics import silhouette_score

from alexnet_skip.statistics.separation import NEIGHBOURS, separation


def leave_one_out(X, labels, k):
    """Which samples the vote of k others gets right, one after the other; the nearest decides between equals."""
    right = []
    for i in range(len(X)):
        order = [int(j) for j in np.argsort(((X - X[i]) ** 2).sum(axis=1)) if j != i][:k]
        votes = Counter(int(labels[j]) for j in order)
        best = max(votes.values())
        right.append(next(int(labels[j]) for j in order if votes[int(labels[j])] == best) == labels[i])
    return np.array(right)


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
def test_the_vote_is_that_of_brute_force_over_the_images_that_are_not_alone(sizes, seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    X = rng.standard_normal((len(labels), 3)) + labels[:, None]
    found = separation(X, labels, len(sizes), np.arange(len(labels)))
    company = np.array(sizes)[labels] > 1
    assert found.num_alone == (~company).sum()
    assert_allclose(found.neighbours.sum(axis=1), 1)
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
    assert (figures["num_alone"], figures["remark"]) == (1, found.remark)
    # Alone among all, asked or not: its class is no smaller for being asked about less.
    few = separation(X, labels, 3, np.flatnonzero(labels != 1)[:4])
    assert (few.knn_top1, few.num_neighbours, few.num_alone, few.remark) == (1.0, 5, 0, "")


def test_where_every_image_is_alone_the_vote_is_not_stated_and_the_reason_is(rng):
    found = separation(rng.standard_normal((4, 2)), np.arange(4), 4, np.arange(4))
    assert (found.knn_top1, found.num_alone, found.num_neighbours) == (None, 4, 1)
    assert found.remark == (
        "kNN and the silhouette are not stated: every image asked is the only one of its class; "
        "between/within is not stated: no class has two images that differ"
    )
    figures = found.as_json(("a", "b", "c", "d"))
    assert (figures["knn_top1"], figures["silhouette"], figures["variance_ratio"]) == (None, None, None)


@pytest.mark.parametrize("swapped", [False, True])
def test_a_tied_vote_is_the_nearest_samples_whatever_the_classes_are_called(swapped):
    """One other of the own class at distance 1 and one of the other class at 2: with k = 2 each has a vote."""
    X, labels = np.array([[0.0], [1.0], [-2.0], [100.0]]), np.array([0, 0, 1, 1])
    if swapped:
        labels = 1 - labels
    found = separation(X, labels, 2, np.array([0]), k=1)
    assert found.knn_top1 == 1
    X, labels = np.concatenate((X, [[101.0], [102.0]])), np.concatenate((labels, [labels[0], labels[2]]))
    found = separation(X, labels, 2, np.array([0]), k=2)
    assert (found.num_neighbours, found.knn_top1) == (2, 1)
    assert_allclose(found.neighbours[labels[0]], [0.5, 0.5])
    further = np.where(X == 1, 3.0, X)
    assert separation(further, labels, 2, np.array([0]), k=2).knn_top1 == 0
