"""Convolutions by Winograd's minimal filtering: the plain numbers to rounding, for a third of the multiplications."""

import numpy as np
import torch
from numpy.polynomial import polynomial
from torch import Tensor
from torch.nn import functional as F

OUT_TILE = 4  # outputs along each axis that one tile gives; larger ones round worse (5 was over 1e-4 in the features)

# Where the polynomials are evaluated, besides infinity; the best of those tried by the error of whole convolutions.
POINTS = (0, 1, -1, 2, -0.5, -2, 0.5)


class Domain:
    """The Winograd domain of kernels of one size (A. Lavin and S. Gray, arXiv:1509.09308).

    Overlapping tiles of the image and the kernels are transformed, so that each of a tile's outputs becomes a sum over
    channels only: a matrix product for every place in the tile, 36 (3×3 kernels) or 64 (5×5) for 16 outputs instead of
    9 or 25 for each one. Both axes are transformed at once, by a Kronecker product.

    Attributes:
        outputs, kernels, tiles: what takes products to outputs (16, tile²), kernels (tile², kernel²) and tiles
            (tile², tile²) there.
    """

    def __init__(self, kernel: int) -> None:
        self.kernel, self.tile = kernel, OUT_TILE + kernel - 1
        one_axis = (torch.from_numpy(matrix) for matrix in transforms(OUT_TILE, kernel))
        self.outputs, self.kernels, self.tiles = (torch.kron(matrix, matrix) for matrix in one_axis)

    def of_kernels(self, weight: Tensor) -> Tensor:
        """Kernels (K, C, k, k) as (tile², C, K), in their own precision."""
        places = weight.permute(2, 3, 1, 0).flatten(0, 1)  # (k², C, K)
        return (self.kernels.to(weight.dtype) @ places.flatten(1)).view(-1, *places.shape[1:])

    def of_images(self, x: Tensor, padding: int) -> Tensor:
        """Padded images (B, C, H, W) as (tile², B · tiles of an image, C)."""
        rows, columns = self._tiles(x, padding)
        height, width = (count * OUT_TILE + self.kernel - 1 for count in (rows, columns))
        padded = F.pad(
            x.permute(0, 2, 3, 1),
            (0, 0, padding, width - padding - x.shape[3], padding, height - padding - x.shape[2]),
        )
        image, row, column, channel = padded.stride()
        size = (self.tile, self.tile, len(x), rows, columns, x.shape[1])
        stride = (row, column, image, OUT_TILE * row, OUT_TILE * column, channel)
        cut = padded.as_strided(size, stride).reshape(self.tile**2, len(x) * rows * columns * x.shape[1])
        return (self.tiles.to(x.dtype) @ cut).view(self.tile**2, len(x) * rows * columns, x.shape[1])

    def convolve(self, x: Tensor, kernels: Tensor, padding: int, bias: Tensor | None = None) -> Tensor:
        """The convolution of (B, C, H, W) with :meth:`of_kernels`; returns (B, K, H', W') over channels_last memory."""
        height, width = (size + 2 * padding - self.kernel + 1 for size in x.shape[2:])
        rows, columns = self._tiles(x, padding)
        products = torch.bmm(self.of_images(x, padding), kernels).flatten(1)
        out = (self.outputs.to(x.dtype) @ products).view(OUT_TILE, OUT_TILE, len(x), rows, columns, kernels.shape[2])
        out = out.permute(2, 3, 0, 4, 1, 5)
        out = out if bias is None else out + bias
        out = out.reshape(len(x), rows * OUT_TILE, columns * OUT_TILE, kernels.shape[2])
        return out[:, :height, :width].permute(0, 3, 1, 2)

    def add_kernel_gradient(self, total: Tensor, x: Tensor, gradient: Tensor, padding: int) -> None:
        """Add to `total` (tile², C, K), in the domain, the kernels' gradient from that of outputs (B, K, H', W')."""
        rows, columns = self._tiles(x, padding)
        outputs, height, width = gradient.shape[1:]
        spread = F.pad(gradient.permute(0, 2, 3, 1), (0, 0, 0, columns * OUT_TILE - width, 0, rows * OUT_TILE - height))
        spread = spread.view(len(x), rows, OUT_TILE, columns, OUT_TILE, outputs).permute(2, 4, 0, 1, 3, 5)
        products = self.outputs.to(x.dtype).T @ spread.reshape(OUT_TILE**2, len(x) * rows * columns * outputs)
        products = products.view(self.tile**2, len(x) * rows * columns, outputs)
        total.baddbmm_(self.of_images(x, padding).mT, products)

    def to_kernels(self, gradient: Tensor) -> Tensor:
        """The gradient of kernels (K, C, k, k) from that in the domain (tile², C, K)."""
        places = self.kernels.to(gradient.dtype).T @ gradient.flatten(1)
        return places.view(self.kernel, self.kernel, *gradient.shape[1:]).permute(3, 2, 0, 1)

    def _tiles(self, x: Tensor, padding: int) -> tuple[int, int]:
        height, width = (size + 2 * padding - self.kernel + 1 for size in x.shape[2:])
        return -(-height // OUT_TILE), -(-width // OUT_TILE)


class WinogradConv:
    """A frozen convolution of stride 1.

    Args:
        weight: (K, C, 3, 3) or (K, C, 5, 5).
        bias: (K,).
        padding: zeros on every side.
    """

    def __init__(self, weight: Tensor, bias: Tensor, padding: int) -> None:
        self.bias, self.padding = bias, padding
        self.domain = Domain(weight.shape[-1])
        self.weight = self.domain.of_kernels(weight.double()).float().contiguous()

    def __call__(self, x: Tensor) -> Tensor:
        """The convolution of (B, C, H, W); returns (B, K, H', W') over channels_last memory."""
        return self.domain.convolve(x, self.weight, self.padding, self.bias)


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
