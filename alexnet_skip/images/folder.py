"""Folders of images, one folder a class: what lies there, and their pixels when they are asked for.

Imports NumPy and PIL only.
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_skip.images.file import FORMATS, read_image, without_remarks
from alexnet_skip.images.listing import LeftOut, images_below
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.machine import available_cpus

# Square images of one size up to this stay as they are (they are resized on the device); others become 224×224 here.
SMALL = 64
RESIZED = 224
MAX_THREADS = 8
# Images in one thread's task.
CHUNK = 32
# Headers looked at before reading begins; most folders of several sizes show it there.
PROBED = 32


class OtherSizeError(Exception):
    """An image is not of the size that all were taken to have."""


def list_images(folder: Path, left_out: LeftOut) -> dict[str, list[str]]:
    """Image files of each class folder, as :func:`~alexnet_skip.images.listing.images_below` finds them.

    Files beside the class folders go to ``left_out``, too.

    Raises:
        OSError: if a folder can't be listed.
    """
    classes = []
    for entry in os.scandir(folder):
        if entry.name.startswith("."):
            continue
        if os.path.isdir(entry.path):  # not entry.is_dir(), which raises where a link leads to itself
            classes.append(entry.name)
        else:
            left_out.add_file(Path(entry.path), "beside the class folders")
    return {name: images_below(folder / name, left_out) for name in sorted(classes)}


def small_side(paths: Iterable[str]) -> int | None:
    """The side of square images of one size up to 64×64, by their headers; None where they are others."""
    sizes = set()
    for path in paths:
        try:
            with without_remarks(), Image.open(path, formats=FORMATS) as image:
                sizes.add(image.size)
        except Exception:  # judged, with its reason, when it is read
            continue
        width, height = image.size
        if len(sizes) > 1 or width != height or width > SMALL:
            return None
    return sizes.pop()[0] if sizes else None


def probe(paths: Sequence[str]) -> list[str]:
    """Some of them, from first to last."""
    return list(paths[:: max(1, len(paths) // PROBED)])


def read_chunk(paths: Sequence[str], side: int, exact: bool) -> tuple[np.ndarray, dict[int, str]]:
    """Images (N, side, side, 3), and by position why one could not be read; its row is black.

    Args:
        exact: refuse images of another size instead of resizing them.

    Raises:
        OtherSizeError: if ``exact`` and an image is of another size.
    """
    images = np.zeros((len(paths), side, side, 3), np.uint8)
    failures = {}
    for position, path in enumerate(paths):
        try:
            image = read_image(path, None if exact else side)
        except ValueError as error:
            failures[position] = str(error)
            continue
        if image.shape[:2] != (side, side):
            raise OtherSizeError(path)
        images[position] = image
    return images, failures


def read_chunks(paths: Sequence[str], side: int, exact: bool) -> Iterator[tuple[np.ndarray, dict[int, str]]]:
    """:func:`read_chunk` of all, a chunk at a time and in order, by several threads: PIL decodes beside Python."""
    todo = iter([paths[start : start + CHUNK] for start in range(0, len(paths), CHUNK)])
    threads = min(MAX_THREADS, available_cpus())
    waiting: deque[Future[tuple[np.ndarray, dict[int, str]]]] = deque()
    with without_remarks():
        pool = ThreadPoolExecutor(threads)
        try:
            while True:
                # Few tasks ahead: finished ones wait in memory until their turn.
                ahead = islice(todo, 2 * threads - len(waiting))
                waiting.extend(pool.submit(read_chunk, chunk, side, exact) for chunk in ahead)
                if not waiting:
                    return
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


class ImageFiles:
    """Images of files that are known to be readable, as uint8 (N, H, W, 3); decoded anew whenever they are asked for.

    Args:
        paths: N files.
        side: height and width.
        exact: whether they have that size; they are resized to it otherwise.
    """

    def __init__(self, paths: Sequence[str], side: int, exact: bool) -> None:
        self.paths = paths
        self.side, self.exact = side, exact
        self.shape = (len(paths), side, side, 3)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        """Rows (B, H, W, 3) of a slice or of positions (B,).

        Raises:
            UserError: naming a file that can't be read any more, or has another size.
        """
        positions = np.arange(len(self))[rows]
        return next(self.take(positions).stream([slice(0, len(positions))]))

    def take(self, positions: np.ndarray) -> "ImageFiles":
        """The files at positions (B,), still unread."""
        return ImageFiles([self.paths[position] for position in positions], self.side, self.exact)

    def stream(self, rows: Iterable[slice]) -> Iterator[np.ndarray]:
        """The images (B, H, W, 3) of one slice of rows after the other, read ahead of their turn.

        Raises:
            UserError: as indexing does.
        """
        slices = list(rows)
        chunks = read_chunks([path for some in slices for path in self.paths[some]], self.side, self.exact)
        left = np.empty((0, *self.shape[1:]), np.uint8)
        for some in slices:
            block = np.empty((len(self.paths[some]), *self.shape[1:]), np.uint8)
            filled = 0
            while filled < len(block):
                if not len(left):
                    left = self._next(chunks)
                taken = left[: len(block) - filled]
                block[filled : filled + len(taken)] = taken
                filled, left = filled + len(taken), left[len(taken) :]
            yield block

    def _next(self, chunks: Iterator[tuple[np.ndarray, dict[int, str]]]) -> np.ndarray:
        try:
            images, failures = next(chunks)
        except OtherSizeError as error:
            raise UserError(f"{error} is no longer of {self.side}×{self.side} pixels; start again") from None
        if failures:
            reason = next(iter(failures.values()))
            raise UserError(f"{reason}; it could be read when its folder was opened; start again")
        return images
