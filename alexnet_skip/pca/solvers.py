"""Leading eigenpairs of the scatter matrix of centred rows, by three exact methods and one iterative."""

import numpy as np

from alexnet_skip.system.rows import CentredRows, read_chunks

# Up to this size, in float64, the rows are simply copied and given to the SVD, the most accurate of all.
SVD_BYTES = 16 * 2**20
# Vectors of a Krylov block beyond the wanted components: they speed up convergence and cost next to nothing.
OVERSAMPLING = 13
MAX_BLOCK = 256
# Up to this many components the Krylov basis is kept in float64, which costs next to nothing then.
MAX_DOUBLE_COMPONENTS = 256
# The Krylov basis grows by this factor from one test of convergence to the next.
GROWTH = 1.2

Solution = tuple[str, np.ndarray, np.ndarray]
"""Name of the method, eigenvalues (K,) from the largest, eigenvectors (K, D)."""


def cheapest(num_samples: int, num_features: int, k: int) -> str:
    """``exact`` or ``krylov``, whichever needs fewer operations by a rough count."""
    n, d = num_samples, num_features
    smaller = min(n, d)
    if n * d * 8 <= SVD_BYTES:
        return "exact"
    basis = 2 * k + 6 * OVERSAMPLING
    # An eigenproblem of width w costs about as much time as 40 w³ operations of a matrix product (measured).
    exact = n * d * smaller + 40 * smaller**3
    krylov = 4 * n * d * basis + 4 * d * basis**2 + 40 * basis**3
    return "krylov" if krylov < exact and basis < smaller else "exact"


def solve_exactly(data: CentredRows, k: int) -> Solution:
    """A thin SVD of small data, else the eigenproblem of the smaller of covariance and Gram matrix, in float64."""
    n, d = data.shape
    if n * d * 8 <= SVD_BYTES:
        centred = np.concatenate([chunk.copy() for chunk in data.chunks(np.dtype(np.float64))])
        singular, axes = np.linalg.svd(centred, full_matrices=False)[1:]
        return "svd", singular[:k] ** 2, axes[:k]
    if d <= n:
        matrix = np.zeros((d, d))
        for chunk in data.chunks(np.dtype(np.float64)):
            matrix += chunk.T @ chunk
        values, vectors = np.linalg.eigh(matrix)
        return "covariance", values[::-1][:k], vectors[:, ::-1][:, :k].T
    values, vectors = np.linalg.eigh(_gram_matrix(data))
    vectors = vectors[:, ::-1][:, :k]
    axes = np.zeros((d, k))
    start = 0
    for chunk in data.chunks(np.dtype(np.float64)):
        axes += chunk.T @ vectors[start : start + len(chunk)]
        start += len(chunk)
    # Orthonormal by QR rather than by division: axes without variance would be divided by zero.
    return "gram", values[::-1][:k], np.linalg.qr(axes)[0].T


def _gram_matrix(data: CentredRows) -> np.ndarray:
    n = data.shape[0]
    double = np.dtype(np.float64)
    matrix = np.empty((n, n))
    mean = data.mean
    for rows, left in read_chunks(data.X, double):
        left -= mean
        for columns, right in read_chunks(data.X, double):
            if columns.start > rows.start:
                break
            right -= mean
            product = left @ right.T
            matrix[rows, columns] = product
            matrix[columns, rows] = product.T
    return matrix


def solve_by_krylov(data: CentredRows, k: int, tol: float, seed: int) -> Solution:
    """Block Krylov iteration on the scatter matrix S with Rayleigh–Ritz (Musco and Musco 2015).

    The basis Q of {B, S B, S² B, …} for a random block B grows by one block a pass over the data; the eigenpairs of
    Qᵀ S Q give those of S. Ends when each wanted pair has ‖S v − λ v‖ ≤ tol λ, or the rounding of S v is reached.
    """
    n, d = data.shape
    rng = np.random.default_rng(seed)
    precision = np.dtype(np.float64) if k <= MAX_DOUBLE_COMPONENTS else data.dtype
    width = min(k + OVERSAMPLING, MAX_BLOCK)
    # Here the basis holds every axis with variance: the first block may lie outside them, the others do not.
    limit = min(d, n + width)
    # The rounding of sums over one row, relative to the largest eigenvalue.
    rounding = 4 * float(np.finfo(data.dtype).eps)
    basis = np.empty((d, 0), precision)
    image = np.empty((d, 0), precision)
    block = rng.standard_normal((d, width)).astype(precision)
    due = k
    while True:
        block = _orthonormal(block[:, : d - basis.shape[1]], basis, rng)
        basis = np.hstack([basis, block])
        block = data.scatter(block).astype(precision, copy=False)
        image = np.hstack([image, block])
        size = basis.shape[1]
        if size < min(due, limit):
            continue
        due = int(size * GROWTH)
        small = basis.T @ image
        values, vectors = np.linalg.eigh((small + small.T) / 2)
        values, vectors = values[::-1][:k], vectors[:, ::-1][:, :k]
        axes = basis @ vectors
        residuals = np.linalg.norm(image @ vectors - axes * values, axis=0)
        if size >= limit or (residuals <= np.maximum(tol * values, rounding * values[0])).all():
            return "krylov", values.astype(np.float64), axes.T


def _orthonormal(block: np.ndarray, basis: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """An orthonormal basis of a block (D, B), orthogonal to a basis (D, M); where it is in it, new directions.

    Twice is enough (Parlett 1998, section 6.9), counted from the last time that random directions had to be put in.
    """
    clean = 0
    while clean < 2:
        block -= basis @ (basis.T @ block)
        scale = np.linalg.norm(block, axis=0).max(initial=0)
        block, triangle = np.linalg.qr(block)
        lost = np.abs(np.diag(triangle)) <= 16 * np.finfo(block.dtype).eps * scale
        block[:, lost] = rng.standard_normal((len(block), int(lost.sum())))
        clean = 0 if lost.any() else clean + 1
    return block
