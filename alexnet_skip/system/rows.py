"""Rows of arrays that need not fit in memory: read in chunks, brought to one precision, centred on the way."""

from collections.abc import Callable, Iterator
from typing import Protocol

import numpy as np

# One chunk in the precision of the computation: it stays in the processor's cache, and larger is not faster (measured).
CHUNK_BYTES = 4 * 2**20
WIDEN_BYTES = 256 * 2**10


class Rows(Protocol):
    """What a computation by rows needs: an array, a memory map, or anything else with a shape and slices of rows."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, D)."""
        ...

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        """Rows (B, D) of a slice."""
        ...


class LazyRows:
    """Rows made when they are read: a selection, sum or concatenation of memory maps, without a copy of them.

    ``LazyRows((len(index), 9216), lambda rows: main[index[rows]])``

    Args:
        shape: (N, D).
        read: returns the rows (B, D) of a slice.
    """

    def __init__(self, shape: tuple[int, int], read: Callable[[slice], np.ndarray]) -> None:
        self.shape = shape
        self.read = read

    def __getitem__(self, rows: slice, /) -> np.ndarray:
        return self.read(rows)


def widen(values: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Copy numbers into a float array of the same shape, as ``out[...] = values`` does, but fast from fp16 to fp32.

    NumPy converts halves one at a time. As integers they are vectorised: shift exponent and mantissa to their places in
    a float32, then multiply by 2^(127−15), the difference of the two exponents' offsets. This is exact.
    """
    if values.dtype != np.float16 or out.dtype != np.float32 or not out.size:
        out[...] = values
        return out
    # In pieces that stay in the processor's second-level cache over all these steps.
    step = max(1, WIDEN_BYTES * len(out) // out.nbytes)
    for start in range(0, len(out), step):
        piece = out[start : start + step]
        bits = piece.view(np.int32)
        bits[...] = values[start : start + step].view(np.int16)
        bits <<= 13
        bits &= np.uint32(0x8FFFE000).astype(np.int32)  # the sign, five bits of exponent, ten of mantissa
        piece *= np.float32(2.0**112)
        if max(piece.max(), -piece.min()) >= 65536:
            # Infinity and NaN carry the exponent that has become 2^16 here.
            piece[...] = values[start : start + step]
    return out


def refuse_unusable(chunk: np.ndarray, start: int) -> None:
    """Refuse values that are not finite, or so large that sums of their squares would not be.

    Args:
        chunk: rows (B, D), of which the first is row ``start``.

    Raises:
        ValueError: names the first such value and its place.
    """
    limit = np.sqrt(np.finfo(chunk.dtype).max) / 2**20
    if max(chunk.max(), -chunk.min()) < limit:
        return
    row, column = np.argwhere(~(np.abs(chunk) < limit))[0]
    raise ValueError(f"X[{start + row}, {column}] is {chunk[row, column]}; values must be finite and below {limit:.0e}")


def compute_dtype(X: Rows) -> np.dtype:
    """float32 for halves, single floats and rows without a type; float64 for doubles and integers."""
    dtype = np.dtype(getattr(X, "dtype", np.float32))
    return np.dtype(np.float32 if dtype in (np.float16, np.float32) else np.float64)


def read_chunks(X: Rows, dtype: np.dtype, num_rows: int = 0) -> Iterator[tuple[slice, np.ndarray]]:
    """Slices of rows and their values (B, D) in the given precision, in one buffer that the caller may overwrite.

    Args:
        num_rows: rows of a chunk; 0 takes as many as fill ``CHUNK_BYTES``.
    """
    n, d = X.shape
    size = min(n, num_rows or max(1, CHUNK_BYTES // (d * dtype.itemsize)))
    buffer = np.empty((size, d), dtype)
    for start in range(0, n, size):
        rows = slice(start, min(start + size, n))
        yield rows, widen(X[rows], buffer[: rows.stop - start])


class CentredRows:
    """Rows (N, D) minus their mean, which is taken off chunk by chunk as they are read.

    Attributes:
        mean: (D,), float64.
        total: sum of all squares of the centred rows.
        passes: how often the rows were read.
        dtype: precision of the chunks.

    Raises:
        ValueError: if a value is not finite, or too large.
    """

    def __init__(self, X: Rows) -> None:
        self.X = X
        self.shape = n, d = X.shape[0], X.shape[1]
        self.dtype = compute_dtype(X)
        sums, squares, shift = np.zeros(d), 0.0, np.zeros(d, self.dtype)
        for rows, chunk in read_chunks(X, self.dtype):
            refuse_unusable(chunk, rows.start)
            if rows.start == 0:
                # Sums are taken about a point near the mean: about zero they would lose the variance of data far off.
                shift = chunk.mean(axis=0)
            chunk -= shift
            sums += chunk.sum(axis=0)
            squares += float(np.einsum("ij,ij->i", chunk, chunk).sum(dtype=np.float64))
        self.mean = shift + sums / n
        self.total = squares - float(sums @ sums) / n
        self.passes = 1

    def chunks(self, dtype: np.dtype | None = None) -> Iterator[np.ndarray]:
        """All rows once, centred."""
        dtype = dtype or self.dtype
        mean = self.mean.astype(dtype)
        self.passes += 1
        for _, chunk in read_chunks(self.X, dtype):
            chunk -= mean
            yield chunk

    def scatter(self, vectors: np.ndarray) -> np.ndarray:
        """The scatter matrix (D, D) of the centred rows, times vectors (D, B); one pass, sums in float64."""
        vectors = vectors.astype(self.dtype, copy=False)
        result = np.zeros(vectors.shape)
        for chunk in self.chunks():
            result += chunk.T @ (chunk @ vectors)
        return result
