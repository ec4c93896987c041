"""The built-in sample: small colour images of ten shapes, drawn with NumPy from a seed."""

from collections.abc import Callable

import numpy as np

CLASS_NAMES = ("circle", "crescent", "cross", "diamond", "heart", "hexagon", "ring", "square", "star", "triangle")

SIZE = 32

# Drawn at twice the size and averaged, so that edges are smooth.
_SUPERSAMPLING = 2

Inside = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _polygon(corners: int) -> Inside:
    half = np.pi / corners

    def inside(u: np.ndarray, v: np.ndarray) -> np.ndarray:
        angle = (np.arctan2(v, u) + half) % (2 * half) - half
        return np.hypot(u, v) * np.cos(angle) < np.cos(half)

    return inside


def _star(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # Between five tips at radius 1 and five notches at 0.45, linear in the angle.
    angle = np.abs((np.arctan2(v, u) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5) / (np.pi / 5)
    return np.hypot(u, v) < 1 - 0.55 * angle


def _heart(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    # The sextic heart curve (x² + y² − 1)³ < x² y³.
    x, y = u * 1.2, 0.15 - v * 1.2
    disc = x * x + y * y - 1
    return disc * disc * disc < x * x * y * y * y


# In the order of CLASS_NAMES; (u, v) are coordinates in which the shape has radius 1.
_INSIDE: tuple[Inside, ...] = (
    lambda u, v: u**2 + v**2 < 0.85,
    lambda u, v: (u**2 + v**2 < 1) & ((u - 0.5) ** 2 + v**2 > 0.6),
    lambda u, v: (np.minimum(np.abs(u), np.abs(v)) < 0.3) & (np.maximum(np.abs(u), np.abs(v)) < 0.95),
    lambda u, v: np.abs(u) / 0.6 + np.abs(v) < 1,
    _heart,
    _polygon(6),
    lambda u, v: (u**2 + v**2 < 0.95) & (u**2 + v**2 > 0.3),
    _polygon(4),
    _star,
    _polygon(3),
)


def render(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw images with varied position, size, rotation, colours, texture, noise and clutter.

    Returns:
        uint8 images (N, 32, 32, 3) and int64 labels (N,), balanced over the classes of ``CLASS_NAMES``.
    """
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(num_images) % len(CLASS_NAMES))
    images = np.empty((num_images, SIZE, SIZE, 3), np.uint8)
    for label, inside in enumerate(_INSIDE):
        rows = np.flatnonzero(labels == label)
        images[rows] = _draw(inside, len(rows), rng)
    return images, labels.astype(np.int64)


def _draw(inside: Inside, count: int, rng: np.random.Generator) -> np.ndarray:
    def uniform(low: float, high: float, *shape: int) -> np.ndarray:
        return rng.uniform(low, high, (count, *shape)).astype(np.float32)

    side = SIZE * _SUPERSAMPLING
    grid = (np.arange(side, dtype=np.float32) + 0.5) / side * 2 - 1
    x, y = grid[None, None, :], grid[None, :, None]

    def turned(centre: np.ndarray, angle: np.ndarray, radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        dx, dy = x - centre[:, :1, None], y - centre[:, 1:, None]
        cos, sin = np.cos(angle)[:, None, None], np.sin(angle)[:, None, None]
        return (dx * cos + dy * sin) / radius[:, None, None], (dy * cos - dx * sin) / radius[:, None, None]

    mask = inside(*turned(uniform(-0.25, 0.25, 2), uniform(-0.8, 0.8), uniform(0.5, 0.8)))
    # Background: a slope between two colours. Shape: a third colour, at least a little away from both, with stripes.
    first, second, colour = uniform(0.05, 0.95, 3), uniform(0.05, 0.95, 3), uniform(0, 1, 3)
    ground = (first + second) / 2
    distance = np.linalg.norm(colour - ground, axis=1, keepdims=True)
    colour = np.clip(ground + (colour - ground) * np.maximum(1, 0.6 / np.maximum(distance, 1e-3)), 0, 1)
    slope, _ = turned(np.zeros((count, 2), np.float32), uniform(0, 2 * np.pi), np.full(count, 1.4, np.float32))
    slope = np.clip(slope / 2 + 0.5, 0, 1)[..., None]
    canvas = first[:, None, None] + (second - first)[:, None, None] * slope
    # Clutter behind the shape: a bar and a blob, both pale.
    u, _ = turned(uniform(-1, 1, 2), uniform(0, 2 * np.pi), uniform(0.05, 0.15))
    clutter = np.abs(u) < 1
    u, v = turned(uniform(-1, 1, 2), uniform(0, 2 * np.pi), uniform(0.1, 0.25))
    clutter |= u**2 + v**2 < 1
    canvas += np.float32(0.4) * clutter[..., None] * (uniform(0, 1, 3)[:, None, None] - canvas)
    stripes, _ = turned(uniform(-1, 1, 2), uniform(0, 2 * np.pi), uniform(0.08, 0.3))
    texture = (np.sin(stripes * np.pi) * uniform(0, 0.12)[:, None, None])[..., None]
    np.copyto(canvas, colour[:, None, None] + texture, where=mask[..., None])
    # Averaged by slices: three times as fast as a mean over two axes.
    offsets = [(i, j) for i in range(_SUPERSAMPLING) for j in range(_SUPERSAMPLING)]
    small = sum(canvas[:, i::_SUPERSAMPLING, j::_SUPERSAMPLING] for i, j in offsets) / _SUPERSAMPLING**2
    noise = rng.standard_normal(small.shape, dtype=np.float32) * uniform(0.01, 0.08)[:, None, None, None]
    return (np.clip(small + noise, 0, 1) * 255 + 0.5).astype(np.uint8)
