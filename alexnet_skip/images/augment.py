"""Random shifts and mirror images of uint8 images: the same for a seed, an epoch and a sample, whoever draws them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

# Images are shifted by up to this part of their height and width: 3 of 32 pixels, where CIFAR's usual crop has 4.
LARGEST_SHIFT = 0.1


@dataclass(frozen=True)
class Shifts:
    """By how many pixels every sample of a split is shifted in one epoch, down and to the right: int64 (N, 2)."""

    pixels: np.ndarray

    @classmethod
    def none(cls, num_samples: int) -> "Shifts":
        """No shift of any."""
        return cls(np.zeros((num_samples, 2), dtype=np.int64))

    @classmethod
    def drawn(cls, num_samples: int, image_size: tuple[int, int], seed: int, epoch: int) -> "Shifts":
        """Shifts of an epoch: drawn for all samples at once, so that no order of reading or resuming changes them."""
        rng = np.random.default_rng([seed, epoch, 1])  # batches are drawn from [seed, epoch]
        largest = [round(LARGEST_SHIFT * size) for size in image_size]
        return cls(rng.integers([-most for most in largest], [most + 1 for most in largest], (num_samples, 2)))


def shifted(images: Tensor, pixels: Tensor, mirrored: Tensor) -> Tensor:
    """Shift each image by its own number of pixels, its edge repeated, then mirror those that are to be.

    Args:
        images: uint8 (B, H, W, 3).
        pixels: down and to the right (B, 2).
        mirrored: bool (B,).
    """
    num, height, width = images.shape[:3]
    rows = torch.arange(height, device=images.device) - pixels[:, :1]
    across = torch.arange(width, device=images.device).expand(num, width)
    across = torch.where(mirrored[:, None], width - 1 - across, across)
    columns = across - pixels[:, 1:]
    first = torch.arange(num, device=images.device)[:, None, None]
    return images[first, rows.clamp(0, height - 1)[:, :, None], columns.clamp(0, width - 1)[:, None, :]]
