"""Principal component analysis in NumPy, of arrays that need not fit in memory.

Names of attributes, their meanings and the sign convention are scikit-learn's.
"""

import os
from pathlib import Path
from typing import Any, Literal

import numpy as np

from alexnet_skip.pca.solvers import cheapest, solve_by_krylov, solve_exactly
from alexnet_skip.system.files import replacing
from alexnet_skip.system.rows import CentredRows, Rows, read_chunks, refuse_unusable

FORMAT_VERSION = 1
PARAMETERS = ("n_components", "solver", "tol", "random_state")


class PCA:
    """Principal component analysis.

    Args:
        n_components: how many components (K), from 1 to min(N, D).
        solver: ``exact`` (SVD, or an eigenproblem as large as the smaller of N and D), ``krylov`` (iterates until the
            components are accurate: a few passes over the data where few components are wanted), or ``auto``, the one
            that costs less.
        tol: ``krylov`` ends when each component's residual ‖S v − λ v‖ is at most this fraction of its λ, or the
            rounding of the data's precision is reached. A coarse one, such as 0.1, gives nearly the leading subspace,
            still orthonormal, at a lower price.
        random_state: seed of the first vectors of ``krylov``; the result is a function of it.

    Attributes:
        components_: principal axes (K, D), orthonormal, in order of variance; the entry of largest magnitude of each is
            positive. float32 for data in fp16 or fp32, float64 for other data.
        explained_variance_: variance along each axis (K,), unbiased (divided by N − 1).
        explained_variance_ratio_: the same as a fraction of the total variance (K,).
        singular_values_: of the centred data (K,).
        mean_: (D,).
        noise_variance_: mean variance along the axes that are left out.
        n_components_, n_features_in_, n_samples_: K, D, N.
        solver_: what ran: ``svd``, ``covariance``, ``gram`` or ``krylov``.
        n_passes_: how often the data was read.
    """

    components_: np.ndarray
    explained_variance_: np.ndarray
    explained_variance_ratio_: np.ndarray
    singular_values_: np.ndarray
    mean_: np.ndarray
    noise_variance_: float
    n_components_: int
    n_features_in_: int
    n_samples_: int
    solver_: str
    n_passes_: int

    def __init__(
        self,
        n_components: int,
        *,
        solver: Literal["auto", "exact", "krylov"] = "auto",
        tol: float = 1e-7,
        random_state: int = 0,
    ) -> None:
        self.n_components = n_components
        self.solver = solver
        self.tol = tol
        self.random_state = random_state

    def fit(self, X: Rows) -> "PCA":
        """Fit on rows (N, D), an array, a memory map or a :class:`LazyRows`; read in chunks and never copied whole.

        Raises:
            ValueError: if there are fewer than 2 samples, a parameter is out of range, or a value is not finite.
        """
        n, d = _shape_of(X)
        k = self.n_components
        if n < 2:
            raise ValueError(f"X has {n} sample(s); PCA needs at least 2")
        if not isinstance(k, (int, np.integer)) or not 1 <= k <= min(n, d):
            raise ValueError(f"n_components is {k}; {n} samples of {d} features allow 1 to {min(n, d)}")
        if self.solver not in ("auto", "exact", "krylov"):
            raise ValueError(f"solver is {self.solver!r}; give 'auto', 'exact' or 'krylov'")
        if not self.tol > 0:
            raise ValueError(f"tol is {self.tol}; give a positive number")
        data = CentredRows(X)
        if (cheapest(n, d, k) if self.solver == "auto" else self.solver) == "exact":
            self.solver_, scatter, axes = solve_exactly(data, k)
        else:
            self.solver_, scatter, axes = solve_by_krylov(data, k, self.tol, self.random_state)

        largest = axes[np.arange(k), np.abs(axes).argmax(axis=1)]
        scatter = np.maximum(scatter, 0)
        total = max(data.total, float(scatter.sum()))
        left_out = min(n, d) - k
        self.components_ = (axes * np.where(largest < 0, -1, 1)[:, None]).astype(data.dtype, order="C")
        self.explained_variance_ = (scatter / (n - 1)).astype(data.dtype)
        self.explained_variance_ratio_ = (scatter / (total or 1.0)).astype(data.dtype)
        self.singular_values_ = np.sqrt(scatter).astype(data.dtype)
        self.mean_ = data.mean.astype(data.dtype)
        self.noise_variance_ = (total - float(scatter.sum())) / (n - 1) / left_out if left_out else 0.0
        self.n_components_, self.n_samples_, self.n_features_in_ = int(k), n, d
        self.n_passes_ = data.passes
        return self

    def transform(self, X: Rows) -> np.ndarray:
        """Coordinates (N, K) of rows (N, D).

        Raises:
            ValueError: if the width is not that of the fit, or a value is not finite.
        """
        n, d = _shape_of(X)
        if d != self.n_features_in_:
            raise ValueError(f"X has {d} features, but the PCA was fitted on {self.n_features_in_}")
        scores = np.empty((n, self.n_components_), self.components_.dtype)
        for rows, chunk in read_chunks(X, scores.dtype):
            refuse_unusable(chunk, rows.start)
            chunk -= self.mean_
            np.matmul(chunk, self.components_.T, out=scores[rows])
        return scores

    def fit_transform(self, X: Rows) -> np.ndarray:
        """Fit on rows (N, D) and return their coordinates (N, K)."""
        return self.fit(X).transform(X)

    def inverse_transform(self, scores: np.ndarray) -> np.ndarray:
        """The points (N, D) of the fitted subspace that have the given coordinates (N, K)."""
        return scores @ self.components_ + self.mean_

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the fitted PCA to an ``.npz`` file, whole or not at all."""
        values: dict[str, Any] = {name: getattr(self, name) for name in (*PARAMETERS, *PCA.__annotations__)}
        with replacing(Path(path)) as temporary, temporary.open("wb") as file:
            np.savez(file, format_version=FORMAT_VERSION, **values)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "PCA":
        """Read what :meth:`save` wrote.

        Raises:
            FileNotFoundError: if there is no such file.
            ValueError: if the file holds no PCA.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                version = int(file["format_version"])
                values = {name: file[name] for name in (*PARAMETERS, *PCA.__annotations__)}
        except FileNotFoundError:
            raise
        except Exception as error:  # a damaged zip file raises half a dozen types
            raise ValueError(f"{path} holds no PCA that can be read ({error})") from None
        if version != FORMAT_VERSION:
            raise ValueError(f"{path} holds a PCA of format {version}; this program reads {FORMAT_VERSION}")
        pca = cls(int(values["n_components"]))
        for name, value in values.items():
            setattr(pca, name, value if value.ndim else value.item())
        return pca


def _shape_of(X: Rows) -> tuple[int, int]:
    if len(X.shape) != 2:
        raise ValueError(f"X has shape {tuple(X.shape)}, not (N, D)")
    return X.shape[0], X.shape[1]
