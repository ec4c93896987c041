"""Images as a user of the network gives them: files, folders, PIL images, arrays, tensors."""

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from torch import Tensor

from alexnet_skip.images.file import ImageLike, as_list
from alexnet_skip.images.listing import LeftOut, find_images

Images: TypeAlias = ImageLike | Tensor | Sequence[ImageLike | Tensor]


def given_images(images: Images) -> list[ImageLike]:
    """One image or several as a list: a folder is the images in it, a batch its images.

    Args:
        images: a file; a folder, of which all images at any depth are taken, and what is left out is warned of; a PIL
            image; an uint8 array (H, W), (H, W, 3), (H, W, 4) or (N, H, W, 3); a tensor of such a shape or of
            torchvision's, (3, H, W) or (N, 3, H, W), of uint8 or of floats from 0 to 1; or a sequence of these.

    Raises:
        ValueError: if a folder holds no image, or a tensor is out of range.
    """
    if isinstance(images, Tensor):
        return [_pixels(image) for image in (images if images.ndim == 4 else [images])]
    found: list[ImageLike] = []
    for image in as_list(images):  # type: ignore[arg-type]
        if isinstance(image, Tensor):
            found.append(_pixels(image))
        elif isinstance(image, str | os.PathLike) and Path(image).is_dir():
            left_out = LeftOut()
            found += find_images([Path(image)], left_out)
            if str(left_out):
                warnings.warn(f"{image}, {left_out}", stacklevel=4)
        else:
            found.append(image)
    return found


def _pixels(image: Tensor) -> np.ndarray:
    """A tensor as an array of colours last, floats as uint8."""
    values = image.detach().cpu()
    if values.is_floating_point():
        low, high = values.min().item(), values.max().item()
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"image tensor has values from {low:.3g} to {high:.3g}; give floats from 0 to 1, before any "
                "normalisation, or uint8"
            )
        values = (255 * values.float()).round().byte()
    colours = (1, 3, 4)
    if values.ndim == 3 and values.shape[0] in colours and values.shape[2] not in colours:
        values = values.permute(1, 2, 0)
    return values.numpy()
