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
# One block of distances, queries by samples.
BLOCK_BYTES = 32 * 2**20


@dataclass(frozen=True)
class Separation:
    """How far the classes of a space come apart.

    Attributes:
        knn_top1: accuracy of the vote of each query's nearest other samples, over the queries that are not alone in
            their class; None where all are.
        silhouette: mean silhouette (Rousseeuw 1987), from −1 to 1; 0 where classes overlap fully.
        variance_ratio: variance between class means over variance within classes, over all samples.
        neighbours: (C, C) whose nearest samples these are: share of each class (columns) among the neighbours of a
            class's queries (rows); rows without a query are zero.
        num_queries, num_neighbours: how many samples were asked, and of how many neighbours.
        num_alone: queries that are the only sample of their class: no other sample could vote for it.
    """

    knn_top1: float | None
    silhouette: float
    variance_ratio: float
    neighbours: np.ndarray
    num_queries: int
    num_neighbours: int
    num_alone: int

    @property
    def remark(self) -> str:
        """What must be known of ``knn_top1``; empty if nothing."""
        if self.knn_top1 is None:
            return "kNN is not stated: every image asked is the only one of its class"
        if self.num_alone:
            return f"kNN does not count {self.num_alone:,} image(s) that are the only one of their class"
        return ""

    def nearest_confusable(self) -> list[tuple[int, float]]:
        """For each class, the other class most frequent among its samples' neighbours, and its share of them."""
        others = self.neighbours.copy()
        np.fill_diagonal(others, -1)
        nearest = others.argmax(axis=1)
        return [(int(other), float(max(0, others[label, other]))) for label, other in enumerate(nearest)]

    def as_json(self, class_names: tuple[str, ...]) -> dict[str, Any]:
        """The figures with names, ready for JSON."""
        confusable = zip(class_names, np.diag(self.neighbours), self.nearest_confusable(), strict=True)
        return {
            "knn_top1": self.knn_top1,
            "silhouette": self.silhouette,
            "variance_ratio": self.variance_ratio,
            "num_queries": self.num_queries,
            "num_neighbours": self.num_neighbours,
            "num_alone": self.num_alone,
            "knn_remark": self.remark,
            "per_class": {
                name: {"own_share": float(own), "nearest_confusable": class_names[other], "its_share": share}
                for name, own, (other, share) in confusable
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
    members = np.eye(num_classes, dtype=centred.dtype)[labels]  # (N, C)
    counts = members.sum(axis=0)
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
        nearest = np.argpartition(squares, k - 1, axis=1)[:, :k]
        ballots = np.zeros((len(asked), num_classes))
        np.add.at(ballots, (rows[:, None], labels[nearest]), 1)
        correct += int(((ballots.argmax(axis=1) == own) & (counts[own] > 1)).sum())
        np.add.at(votes, own, ballots)
        squares[rows, asked] = 0
        silhouettes += float(_silhouettes(np.sqrt(squares, out=squares) @ members, own, counts).sum())
    return Separation(
        knn_top1=correct / (len(queries) - alone) if alone < len(queries) else None,
        silhouette=silhouettes / len(queries),
        variance_ratio=_variance_ratio(centred, labels, counts),
        neighbours=votes / np.maximum(votes.sum(axis=1, keepdims=True), 1),
        num_queries=len(queries),
        num_neighbours=k,
        num_alone=alone,
    )


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
    """Silhouettes (Q,) from summed distances to the samples of each class (Q, C)."""
    rows = np.arange(len(own))
    within = distance_sums[rows, own] / np.maximum(counts[own] - 1, 1)
    means = np.where(counts > 0, distance_sums / np.maximum(counts, 1), np.inf)
    means[rows, own] = np.inf
    nearest = means.min(axis=1)
    larger = np.maximum(within, nearest)
    usable = (counts[own] > 1) & np.isfinite(nearest) & (larger > 0)
    return np.where(usable, (nearest - within) / np.where(usable, larger, 1), 0.0)


def _variance_ratio(data: CentredRows, labels: np.ndarray, counts: np.ndarray) -> float:
    """Scatter of the class means over the scatter within classes."""
    sums = np.zeros((len(counts), data.shape[1]))
    start = 0
    for chunk in data.chunks():
        part = labels[start : start + len(chunk)]
        sums += (np.arange(len(counts))[:, None] == part).astype(chunk.dtype) @ chunk
        start += len(chunk)
    between = float((sums**2 / np.maximum(counts, 1)[:, None]).sum())
    within = data.total - between
    return between / within if within > 0 else 0.0
