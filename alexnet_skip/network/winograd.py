"""Convolutions by Winograd's minimal filtering: the plain numbers to rounding, for a third of the multiplications."""

import numpy as np
import torch
from numpy.polynomial import polynomial
from torch import Tensor
from torch.nn import functional as F

OUT_TILE = 4  # outputs along each axis that one tile gives; larger ones round worse (5 was over 1e-4 in the features)

# Where the polynomials are evaluated, besides infinity; the best of those tried by the error of whole convolutions.
POINTS = (0, 1, -1, 2, -0.5, -2, 0.5)


class WinogradConv:
    """A frozen convolution of stride 1 in the Winograd domain (A. Lavin and S. Gray, arXiv:1509.09308).

    Overlapping tiles of the image and the kernels are transformed, so that each of a tile's outputs becomes a sum over
    channels only: a matrix product for every place in the tile, 36 (3×3 kernels) or 64 (5×5) for 16 outputs instead of
    9 or 25 for each one. Both axes are transformed at once, by a Kronecker product.

    Args:
        weight: (K, C, 3, 3) or (K, C, 5, 5).
        bias: (K,).
        padding: zeros on every side.
    """

    def __init__(self, weight: Tensor, bias: Tensor, padding: int) -> None:
        self.bias, self.kernel, self.padding = bias, weight.shape[-1], padding
        self.tile = OUT_TILE + self.kernel - 1
        outputs, kernels, tiles = (torch.from_numpy(matrix) for matrix in transforms(OUT_TILE, self.kernel))
        transformed = torch.einsum("ai,bj,kcij->abck", kernels, kernels, weight.double())
        self.weight = transformed.flatten(0, 1).float().contiguous()  # (tile², C, K)
        self.tiles, self.outputs = (torch.kron(matrix, matrix).float() for matrix in (tiles, outputs))

    def __call__(self, x: Tensor) -> Tensor:
        """The convolution of (B, C, H, W); returns (B, K, H', W') over channels_last memory."""
        height, width = (size + 2 * self.padding - self.kernel + 1 for size in x.shape[2:])
        rows, columns = -(-height // OUT_TILE), -(-width // OUT_TILE)
        transformed = (self.tiles @ self._cut(x, rows, columns)).view(self.tile**2, len(x) * rows * columns, x.shape[1])
        products = torch.bmm(transformed, self.weight).flatten(1)
        out = (self.outputs @ products).view(OUT_TILE, OUT_TILE, len(x), rows, columns, len(self.bias))
        out = out.permute(2, 3, 0, 4, 1, 5) + self.bias
        out = out.reshape(len(x), rows * OUT_TILE, columns * OUT_TILE, len(self.bias))
        return out[:, :height, :width].permute(0, 3, 1, 2)

    def _cut(self, x: Tensor, rows: int, columns: int) -> Tensor:
        """The overlapping tiles (tile², B · rows · columns · C) of the padded images."""
        height, width = (count * OUT_TILE + self.kernel - 1 for count in (rows, columns))
        before = self.padding
        padded = F.pad(
            x.permute(0, 2, 3, 1),
            (0, 0, before, width - before - x.shape[3], before, height - before - x.shape[2]),
        )
        image, row, column, channel = padded.stride()
        size = (self.tile, self.tile, len(x), rows, columns, x.shape[1])
        stride = (row, column, image, OUT_TILE * row, OUT_TILE * column, channel)
        return padded.as_strided(size, stride).reshape(self.tile**2, -1)


def transforms(outputs: int, kernel: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The matrices A, G, B of Toom and Cook along one axis: A((G g) · (B d)) is the correlation of d with g.

    Returns:
        (outputs, n), (n, kernel) and (n, n) in fp64, n = outputs + kernel - 1.
    """
    n = outputs + kernel - 1
    points = np.array(POINTS[: n - 1])
    a, g, b = np.zeros((outputs, n)), np.zeros((n, kernel)), np.zeros((n, n))
    a[:, :-1] = points ** np.arange(outputs)[:, None]
    g[:-1] = points[:, None] ** np.arange(kernel)
    a[-1, -1] = g[-1, -1] = 1  # the point at infinity
    b[-1] = polynomial.polyfromroots(points)
    for i, point in enumerate(points):
        others = np.delete(points, i)
        g[i] /= np.prod(point - others)
        b[i, :-1] = polynomial.polyfromroots(others)
    # Rows of B summing to one and columns of A reaching one keep the values of all places alike, and rounding small.
    down, up = np.abs(b).sum(1), np.abs(a).max(0)
    return a / up, g * (down * up)[:, None], b / down[:, None]
