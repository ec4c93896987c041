"""One image, from a file or as a user gives it, as RGB. Imports NumPy and PIL only."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError, features

from alexnet_skip.system.files import shown_path

# PIL goes by content, whatever the extension, and for some formats (EPS) it starts other programs. AVIF is not in every
# build of it.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM", *(("AVIF",) if features.check("avif") else ()))


def to_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit RGB image of the first frame.

    16-bit grey is scaled, not clipped; transparency is laid on white; floating point is taken as 0 to 1 if it stays
    there, else as 0 to 255.
    """
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64)
        # Mode I holds 16-bit PNG and PGM in 32 bits, and real 32-bit images.
        full = 65535 if image.mode != "I" or values.max(initial=0) <= 65535 else 2**31 - 1
        return Image.fromarray((values.clip(0) * (255 / full) + 0.5).astype(np.uint8)).convert("RGB")
    if image.mode == "F":
        values = np.nan_to_num(np.asarray(image, dtype=np.float64))
        scale = 255 if values.max(initial=0) <= 1 else 1
        return Image.fromarray((values * scale + 0.5).clip(0, 255).astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info:
        # Premultiplied modes convert in two steps only.
        straight = image.convert({"La": "LA", "RGBa": "RGBA"}.get(image.mode, image.mode))
        rgba = straight.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


# What brings an image upright, by its EXIF orientation (CIPA DC-008, table 6); 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(image: Image.Image) -> Image.Image:
    """The image as its camera was held; as it is where its metadata do not say, or are damaged.

    ImageOps.exif_transpose would also write the metadata anew, which fails where they are damaged.
    """
    # First, since PIL turns a TIFF while it loads it, and then takes its orientation away.
    image.load()
    try:
        with without_remarks():
            turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    # Damaged metadata make PIL raise nearly anything; the pixels are there.
    except Exception:
        return image
    return image if turn is None else image.transpose(turn)


@contextmanager
def without_remarks() -> Iterator[None]:
    """Without PIL's warnings on damaged metadata, which would come once a file.

    What is ignored is the same in all threads, so that one which leaves it while others are inside takes nothing from
    them but this; whoever starts threads enters it around them.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _refuse_bomb(image: Image.Image) -> None:
    """PIL warns of what may be a decompression bomb, and refuses only those of twice the size."""
    pixels, limit = image.width * image.height, Image.MAX_IMAGE_PIXELS
    if limit is not None and pixels > limit:
        raise ValueError(f"Image size ({pixels} pixels) exceeds limit of {limit} pixels, could be decompression bomb")


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__


def read_image(path: str | Path, size: int | None) -> np.ndarray:
    """One image as uint8 (H, W, 3), upright; ``size`` × ``size`` (bilinear, antialiased) unless that is None.

    Raises:
        ValueError: naming the file and the reason, if it can't be read.
    """
    try:
        with without_remarks(), Image.open(path, formats=FORMATS) as image:
            _refuse_bomb(image)
            rgb = to_rgb(upright(image))
            if size is not None and rgb.size != (size, size):
                rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
            return np.asarray(rgb)
    except UnidentifiedImageError:
        empty = os.path.getsize(path) == 0
        reason = "the file is empty" if empty else f"its content is none of {', '.join(FORMATS)}"
    except MemoryError:
        raise
    # Damaged files make PIL's decoders raise nearly anything: struct.error, zlib.error, IndexError, SyntaxError.
    except Exception as error:
        reason = _reason(error)
    raise ValueError(f"{shown_path(path)} can't be read as an image: {reason}")


# What a single image may be.
ImageLike = str | os.PathLike | Image.Image | np.ndarray


def as_rgb(image: ImageLike) -> np.ndarray:
    """One image as uint8 (H, W, 3), upright: a camera's orientation tag is followed.

    Args:
        image: path of a file; PIL image of any mode; or uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4).

    Raises:
        ValueError: if a file or an image can't be read, or an array is of another type or shape.
    """
    if isinstance(image, Image.Image):
        try:
            return np.asarray(to_rgb(upright(image)))
        except MemoryError:
            raise
        # It is decoded only here: what is said of a damaged file holds.
        except Exception as error:
            name = getattr(image, "filename", "") or "the PIL image"
            raise ValueError(f"{shown_path(name)} can't be read as an image: {_reason(error)}") from None
    if not isinstance(image, np.ndarray):
        return read_image(Path(image), None)
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
