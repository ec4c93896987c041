"""Read folders of images, one folder a class, into arrays. Imports no torch, so that worker processes start quickly."""

import multiprocessing
import os
import warnings
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

EXTENSIONS = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm"))
# Square images of one size up to this stay as they are (they are resized on the device); others become 224×224 here.
SMALL = 64
RESIZED = 224
# Below this many files, starting worker processes costs more than it saves (measured: 130 µs a small file).
PARALLEL_FILES = 4000
_CHUNK = 500


def list_images(folder: Path) -> dict[str, list[Path]]:
    """Image files of each class folder, classes and files in sorted order, whatever the platform."""
    classes = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith("."))
    found = {}
    for path in classes:
        files = (p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS and p.is_file())
        found[path.name] = sorted(files, key=lambda p: p.relative_to(folder).as_posix())
    return found


def to_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit RGB image of the first frame; 16-bit grey is scaled, not clipped; transparency is laid on white."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        values = np.asarray(image, dtype=np.float64)
        # 16-bit modes span 0..65535 whatever the picture holds.
        scaled = np.clip(values / 257 if values.max(initial=0) > 255 else values, 0, 255)
        return Image.fromarray(scaled.astype(np.uint8)).convert("RGB")
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def read_image(path: Path, size: int | None) -> np.ndarray:
    """One image as uint8 (H, W, 3), resized to ``size`` × ``size`` (bilinear, antialiased) unless that is None.

    Raises:
        ValueError: naming the file, if it can't be read.
    """
    try:
        with warnings.catch_warnings():
            # A decompression bomb is refused, not warned of.
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                image = to_rgb(image)
                if size is not None and image.size != (size, size):
                    image = image.resize((size, size), Image.Resampling.BILINEAR)
                return np.asarray(image)
    except (OSError, ValueError, SyntaxError, UnidentifiedImageError, Image.DecompressionBombWarning) as error:
        raise ValueError(f"{path} can't be read as an image ({type(error).__name__}: {error})") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path} can't be read as an image ({error})") from None


def read_many(paths: Iterable[Path], size: int | None) -> list[np.ndarray | str]:
    """Images, or for those that can't be read the reason."""
    results: list[np.ndarray | str] = []
    for path in paths:
        try:
            results.append(read_image(path, size))
        except ValueError as error:
            results.append(str(error))
    return results


def read_all(paths: list[Path], size: int | None) -> Iterator[np.ndarray | str]:
    """:func:`read_many` in worker processes where that pays, in order."""
    chunks = [paths[i : i + _CHUNK] for i in range(0, len(paths), _CHUNK)]
    workers = min(os.cpu_count() or 1, 8)
    if len(paths) < PARALLEL_FILES or workers == 1:
        for chunk in chunks:
            yield from read_many(chunk, size)
        return
    # spawn: the only start method that Windows has, and safe after torch has started threads.
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        for results in pool.map(read_many, chunks, [size] * len(chunks)):
            yield from results


def common_size(paths: list[Path]) -> int | None:
    """None if all images are square and of one size up to 64 (judged by their headers), else 224."""
    sizes = set()
    for path in paths:
        try:
            with Image.open(path) as image:
                sizes.add(image.size)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
            continue
        if len(sizes) > 1:
            return RESIZED
    width, height = next(iter(sizes), (RESIZED, 0))
    return None if width == height <= SMALL else RESIZED
