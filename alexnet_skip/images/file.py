"""Read one image file of any common format and mode as RGB. Imports NumPy and PIL only."""

import warnings
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

# PIL goes by content, whatever the extension, and for some formats (EPS) it starts other programs.
FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")


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


def read_image(path: Path, size: int | None, *, upright: bool = False) -> np.ndarray:
    """One image as uint8 (H, W, 3), resized to ``size`` × ``size`` (bilinear, antialiased) unless that is None.

    Args:
        upright: turn it as its EXIF orientation says. Datasets are read as stored, as torchvision's loaders do.

    Raises:
        ValueError: naming the file and the reason, if it can't be read.
    """
    try:
        with warnings.catch_warnings():
            # Remarks on metadata would come once a file; a decompression bomb is refused, not remarked on.
            warnings.simplefilter("ignore")
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path, formats=FORMATS) as image:
                rgb = to_rgb(ImageOps.exif_transpose(image) if upright else image)
                if size is not None and rgb.size != (size, size):
                    rgb = rgb.resize((size, size), Image.Resampling.BILINEAR)
                return np.asarray(rgb)
    except UnidentifiedImageError:
        empty = path.stat().st_size == 0
        reason = "the file is empty" if empty else f"its content is none of {', '.join(FORMATS)}"
    except MemoryError:
        raise
    # Damaged files make PIL's decoders raise nearly anything: struct.error, zlib.error, IndexError, SyntaxError.
    except Exception as error:
        reason = str(error) or type(error).__name__
    raise ValueError(f"{path} can't be read as an image: {reason}")
