"""Do the classes come apart in a space? Figures that answer it, from coordinates and labels, in NumPy.

Distances are Euclidean and exact. Figures of neighbours are means over queries; where all pairs would take too long, a
part of the samples is asked, each still about all others.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from alexnet_skip.system.rows import CentredRows, Rows, read_chunks

# Neighbours that vote, as in DINO's evaluation (Caron et al. 2021).
NEIGHBOURS = 20
# Work that one space may cost, in operations of a matrix product: some three seconds on two cores.
MAX_OPERATIONS = 2e11
# What sorting one distance and taking its root costs in such operations (measured).
OPERATIONS_PER_DISTANCE = 1000
# Scatter below this many units in the last place is what rounding has left of none.
ROUNDING = 100
# What people call the figures.
NAMES = {"knn_top1": "kNN", "silhouette": "the silhouette", "variance_ratio": "between/within"}
# One block of distances, queries by samples.
BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Separation:
    """How far the classes of a space come apart.

    Attributes:
        knn_top1: accuracy of the vote of each query's nearest other samples, over the queries that are not alone in
            their class. Of classes with equally many votes the one with the nearest sample wins, not the one that
            comes first, as it does in scikit-learn: that would favour classes by their names.
        silhouette: mean silhouette (Rousseeuw 1987), from −1 to 1; 0 where classes overlap fully, and of queries that
            are alone in their class.
        variance_ratio: variance between class means over variance within classes, over all samples.
        neighbours: (C, C) whose nearest samples these are: share of each class (columns) among the neighbours of a
            class's queries (rows); rows without a query are zero.
        num_queries, num_neighbours: how many samples were asked, and of how many neighbours.
        num_alone: queries that are the only sample of their class: no other sample could vote for it.
        not_stated: why a figure can't be had and is None, by its name.
    """

    knn_top1: float | None
    silhouette: float | None
    variance_ratio: float | None
    neighbours: np.ndarray
    num_queries: int
    num_neighbours: int
    num_alone: int
    not_stated: dict[str, str]

    @property
    def remark(self) -> str:
        """What must be known of the figures; empty if nothing."""
        told = []
        for reason in dict.fromkeys(self.not_stated.values()):
            named = [NAMES[figure] for figure, why in self.not_stated.items() if why == reason]
            told.append(f"{' and '.join(named)} {'is' if len(named) == 1 else 'are'} not stated: {reason}")
        if self.num_alone and self.knn_top1 is not None:
            told.append(f"kNN does not count {self.num_alone:,} image(s) that are the only one of their class")
        return "; ".join(told)

    @property
    def asked(self) -> np.ndarray:
        """Which classes (C,) had a query: of the others nothing is known."""
        return self.neighbours.sum(axis=1) > 0

    def nearest_confusable(self) -> list[tuple[int, float]]:
        """For each class, the other class most frequent among its samples' neighbours, and its share of them."""
        others = self.neighbours.copy()
        np.fill_diagonal(others, -1)
        nearest = others.argmax(axis=1)
        return [(int(other), float(max(0, others[label, other]))) for label, other in enumerate(nearest)]

    def as_json(self, class_names: tuple[str, ...]) -> dict[str, Any]:
        """The figures with names, ready for JSON."""
        shares = zip(class_names, self.asked, np.diag(self.neighbours), self.nearest_confusable(), strict=True)
        return {
            "knn_top1": self.knn_top1,
            "silhouette": self.silhouette,
            "variance_ratio": self.variance_ratio,
            "num_queries": self.num_queries,
            "num_neighbours": self.num_neighbours,
            "num_alone": self.num_alone,
            "remark": self.remark,
            "per_class": {
                name: {
                    "own_share": float(own) if asked else None,
                    "nearest_confusable": class_names[other] if share else None,
                    "its_share": share if asked else None,
                }
                for name, asked, own, (other, share) in shares
            },
        }


def affordable_queries(num_samples: int, num_features: int) -> int:
    """How many samples to ask about all others: all of them, or as many as :data:`MAX_OPERATIONS` allow."""
    cost = num_samples * (2 * num_features + OPERATIONS_PER_DISTANCE)
    return min(num_samples, max(1, int(MAX_OPERATIONS / cost)))


def separation(X: Rows, labels: np.ndarray, num_classes: int, queries: np.ndarray, k: int = NEIGHBOURS) -> Separation:
    """Measure how far classes come apart.

    Args:
        X: coordinates (N, D), read in chunks.
        labels: class of each (N,), from 0 to num_classes − 1.
        queries: positions of the samples to ask (Q,), ascending.
        k: neighbours that vote; the sample itself is none. Fewer where a class has not as many others of its own:
            with more, the other classes outvote even one that lies apart.

    Raises:
        ValueError: if there are fewer than two samples, or labels are not one a row.
    """
    n = X.shape[0]
    if n < 2 or len(labels) != n:
        raise ValueError(f"{n} rows and {len(labels)} labels; at least 2 of both are needed, one label a row")
    centred = CentredRows(X)
    counts = np.bincount(labels, minlength=num_classes)
    k = min(k, int(counts[counts > 1].min(initial=n)) - 1) if (counts > 1).any() else 1
    alone = int((counts[labels[queries]] == 1).sum())
    votes = np.zeros((num_classes, num_classes))
    correct, silhouettes = 0, 0.0
    size = max(1, BLOCK_BYTES // (n * centred.dtype.itemsize))
    for start in range(0, len(queries), size):
        asked = queries[start : start + size]
        squares = _squared_distances(centred, asked)
        own = labels[asked]
        rows = np.arange(len(asked))
        squares[rows, asked] = np.inf
        voters = labels[_nearest(squares, k)]
        # Of an image alone in its class no voter is of that class.
        correct += int((_elected(voters, num_classes) == own).sum())
        np.add.at(votes, (own[:, None], voters), 1)
        squares[rows, asked] = 0
        present, sums = _sums_by_class(np.sqrt(squares, out=squares), labels, axis=1)
        silhouettes += float(_silhouettes(sums, np.searchsorted(present, own), counts[present]).sum())
    between = _scatter_of_means(centred, labels, counts)
    within = centred.total - between
    not_stated = _not_stated(centred, within, counts, all_alone=alone == len(queries))
    return Separation(
        knn_top1=None if "knn_top1" in not_stated else correct / (len(queries) - alone),
        silhouette=None if "silhouette" in not_stated else silhouettes / len(queries),
        variance_ratio=None if "variance_ratio" in not_stated else between / within,
        neighbours=votes / np.maximum(votes.sum(axis=1, keepdims=True), 1),
        num_queries=len(queries),
        num_neighbours=k,
        num_alone=alone,
        not_stated=not_stated,
    )


def _not_stated(data: CentredRows, within: float, counts: np.ndarray, *, all_alone: bool) -> dict[str, str]:
    """The figures that can't be had, and why.

    Args:
        within: scatter within classes.
    """
    rounding = ROUNDING * np.finfo(data.dtype).eps
    if (counts > 0).sum() == 1:
        return dict.fromkeys(NAMES, "all images are of one class")
    if data.total <= data.shape[0] * rounding**2 * float(data.mean @ data.mean):
        return dict.fromkeys(NAMES, "all images coincide")
    reasons = {}
    if all_alone:
        reasons = dict.fromkeys(("knn_top1", "silhouette"), "every image asked is the only one of its class")
    if within <= rounding * data.total:
        reasons["variance_ratio"] = "no class has two images that differ"
    return reasons


def _nearest(squares: np.ndarray, k: int) -> np.ndarray:
    """Columns (Q, k) of the smallest values of each row (Q, N), smallest first."""
    found = np.sort(np.argpartition(squares, k - 1, axis=1)[:, :k], axis=1)
    order = np.take_along_axis(squares, found, axis=1).argsort(axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1)


def _elected(voters: np.ndarray, num_classes: int) -> np.ndarray:
    """The class (Q,) with most of the votes (Q, k), which come nearest first: of several, that of the first vote."""
    rows = np.arange(len(voters))[:, None]
    ballots = np.zeros((len(voters), num_classes), np.int32)
    np.add.at(ballots, (rows, voters), 1)
    # argmax takes the first, which is the nearest, of those whose class has most votes.
    return voters[rows[:, 0], ballots[rows, voters].argmax(axis=1)]


def _sums_by_class(values: np.ndarray, labels: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """The classes that there are, ascending, and the sums of their values along an axis that has the labels.

    As many additions as values, however many classes: a product with their indicators would be N C of them.
    """
    order = np.argsort(labels, kind="stable")
    present, starts = np.unique(labels[order], return_index=True)
    return present, np.add.reduceat(values.take(order, axis), starts, axis=axis)


def _squared_distances(data: CentredRows, asked: np.ndarray) -> np.ndarray:
    """Squared distances (Q, N) of the asked samples to all."""
    # Centred: then the squares of norms, whose difference is taken, are as small as they can be.
    mean = data.mean.astype(data.dtype)
    points = np.empty((len(asked), data.shape[1]), data.dtype)
    for rows, chunk in read_chunks(data.X, data.dtype):
        inside = slice(*np.searchsorted(asked, (rows.start, rows.stop)))
        np.subtract(chunk[asked[inside] - rows.start], mean, out=points[inside])
    squares = np.empty((len(asked), data.shape[0]), data.dtype)
    norms = np.einsum("ij,ij->i", points, points)[:, None]
    points *= -2
    for rows, chunk in read_chunks(data.X, data.dtype):
        chunk -= mean
        part = squares[:, rows]
        part[...] = points @ chunk.T
        part += np.einsum("ij,ij->i", chunk, chunk)
        part += norms
    return np.maximum(squares, 0, out=squares)


def _silhouettes(distance_sums: np.ndarray, own: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Silhouettes (Q,) from summed distances to the samples of each class that there is (Q, C)."""
    rows = np.arange(len(own))
    within = distance_sums[rows, own] / np.maximum(counts[own] - 1, 1)
    means = distance_sums / counts
    means[rows, own] = np.inf
    nearest = means.min(axis=1)
    larger = np.maximum(within, nearest)
    usable = (counts[own] > 1) & np.isfinite(nearest) & (larger > 0)
    return np.where(usable, (nearest - within) / np.where(usable, larger, 1), 0.0)


def _scatter_of_means(data: CentredRows, labels: np.ndarray, counts: np.ndarray) -> float:
    """Scatter of the class means, each counted as often as its class has samples."""
    sums = np.zeros((len(counts), data.shape[1]))
    start = 0
    for chunk in data.chunks():
        present, of_chunk = _sums_by_class(chunk, labels[start : start + len(chunk)], axis=0)
        sums[present] += of_chunk
        start += len(chunk)
    return float((np.einsum("cd,cd->c", sums, sums) / np.maximum(counts, 1)).sum())
