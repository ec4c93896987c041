"""Images of one's own, as the user gives them: files, folders, PIL images, arrays of any size and mode."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from alexnet_skip.images.file import read_image, to_rgb
from alexnet_skip.images.folder import EXTENSIONS
from alexnet_skip.system.errors import UserError

# What a single image may be.
ImageLike = str | os.PathLike | Image.Image | np.ndarray


def find_images(places: Iterable[Path]) -> list[Path]:
    """The image files that files and folders (at any depth, hidden ones left out) stand for, each once.

    Raises:
        UserError: if a place does not exist, a folder holds no image, or nothing is given.
    """
    found: dict[Path, None] = {}
    for place in places:
        if place.is_file():
            found[place] = None
        elif place.is_dir():
            inside = [p for p in sorted(place.rglob("*")) if _is_visible_image(p, place)]
            if not inside:
                raise UserError(
                    f"--images {place} holds no image ({', '.join(sorted(EXTENSIONS))}); give a folder that does"
                )
            found |= dict.fromkeys(inside)
        else:
            raise UserError(f"--images {place} does not exist; give image files, or folders that hold some")
    if not found:
        raise UserError("--images names nothing; give image files, or folders that hold some")
    return list(found)


def _is_visible_image(path: Path, root: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
    return path.suffix.lower() in EXTENSIONS and path.is_file() and not hidden


def as_rgb(image: ImageLike) -> np.ndarray:
    """One image as uint8 (H, W, 3), upright: a camera's orientation tag is followed.

    Args:
        image: path of a file; PIL image of any mode; or uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Raises:
        ValueError: if a file can't be read, or an array is of another type or shape.
    """
    if isinstance(image, Image.Image):
        return np.asarray(to_rgb(ImageOps.exif_transpose(image)))
    if not isinstance(image, np.ndarray):
        return read_image(Path(image), None, upright=True)
    if image.dtype != np.uint8:
        raise ValueError(f"image array has type {image.dtype}; give uint8 values from 0 to 255")
    grey = image[..., 0] if image.ndim == 3 and image.shape[2] == 1 else image
    if not (grey.ndim == 2 or (grey.ndim == 3 and grey.shape[2] in (3, 4))) or 0 in grey.shape:
        raise ValueError(f"image array has shape {image.shape}; give (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    return np.asarray(to_rgb(Image.fromarray(grey)))


def as_list(images: ImageLike | Sequence[ImageLike]) -> list[ImageLike]:
    """A single image as a list of one; a batch (N, H, W, C) as a list of N."""
    if isinstance(images, np.ndarray):
        return list(images) if images.ndim == 4 else [images]
    return [images] if isinstance(images, str | os.PathLike | Image.Image) else list(images)


def squeeze(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize uint8 (H, W, 3) to ``size`` (height, width) as image folders are for training; nothing is cut off."""
    height, width = size
    if image.shape[:2] == (height, width):
        return image
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR))
