"""Read folders of images, one folder a class, into one array.

Imports NumPy and PIL only, so that the worker processes of a large folder start quickly.
"""

import multiprocessing
import multiprocessing.connection
import os
import shutil
import signal
import tempfile
import threading
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from alexnet_skip.images.file import FORMATS, read_image
from alexnet_skip.images.listing import LeftOut, images_below
from alexnet_skip.system.machine import available_cpus

# Square images of one size up to this stay as they are (they are resized on the device); others become 224×224 here.
SMALL = 64
RESIZED = 224
# Arrays above this go to a temporary file, so that a folder of large photographs needs no memory to match.
IN_MEMORY_BYTES = 1 << 30
# Below this many files, (images kept small, images resized), worker processes cost more than they save: a worker takes
# about half a second to start, a 32×32 JPEG 0.1 ms to read, a photograph several ms.
PARALLEL_FILES = (4000, 200)

MAX_WORKERS = 8
# Files in one worker's task: some 2 to 5 MB of pixels.
CHUNK = (500, 32)

# Headers looked at before reading begins; most folders of several sizes show it there.
PROBED = 32


class OtherSizeError(Exception):
    """An image is not of the size that all were taken to have."""


def list_images(folder: Path, left_out: LeftOut) -> dict[str, list[Path]]:
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


def read_chunk(paths: Sequence[Path], side: int, exact: bool) -> tuple[np.ndarray, dict[int, str]]:
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
            raise OtherSizeError
        images[position] = image
    return images, failures


def read_all(paths: Sequence[Path], *, skip_unreadable: bool = False) -> tuple[np.ndarray, dict[int, str]]:
    """Read images into one array, upright, in worker processes where that pays.

    Square images of one size up to 64×64 stay as they are, otherwise all become 224×224. An array above 1 GiB lies in a
    temporary file (in ``tempfile.gettempdir()``) that vanishes with it.

    Returns:
        uint8 (N, H, W, 3), and by position why an image could not be read.

    Raises:
        ValueError: naming the first file that can't be read, unless ``skip_unreadable``.
        OSError: if the disk has no room for the array.
    """
    side = _small_side(paths)
    if side is not None:
        try:
            return _read(paths, side, True, skip_unreadable)
        except OtherSizeError:
            pass
    return _read(paths, RESIZED, False, skip_unreadable)


def _small_side(paths: Sequence[Path]) -> int | None:
    sizes = set()
    for path in paths[:: max(1, len(paths) // PROBED)]:
        try:
            with Image.open(path, formats=FORMATS) as image:
                sizes.add(image.size)
        except Exception:  # judged, with its reason, when it is read
            continue
    if len(sizes) != 1:
        return None
    width, height = sizes.pop()
    return width if width == height <= SMALL else None


def _read(paths: Sequence[Path], side: int, exact: bool, skip_unreadable: bool) -> tuple[np.ndarray, dict[int, str]]:
    images = allocate((len(paths), side, side, 3))
    failures: dict[int, str] = {}
    start = 0
    for block, failed in _read_chunks(paths, side, exact):
        if failed and not skip_unreadable:
            raise ValueError(next(iter(failed.values())))
        images[start : start + len(block)] = block
        failures |= {start + position: reason for position, reason in failed.items()}
        start += len(block)
    return images, failures


def _read_chunks(paths: Sequence[Path], side: int, exact: bool) -> Iterator[tuple[np.ndarray, dict[int, str]]]:
    step = CHUNK[0 if exact else 1]
    chunks = [paths[start : start + step] for start in range(0, len(paths), step)]
    workers = min(MAX_WORKERS, available_cpus(), len(chunks))
    done = 0
    if workers > 1 and len(paths) >= PARALLEL_FILES[0 if exact else 1]:
        # spawn: the only start method that Windows has, and safe after torch has started threads.
        pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), initializer=_start_worker)
        try:
            waiting: deque[Future[tuple[np.ndarray, dict[int, str]]]] = deque()
            todo = iter(chunks)
            # Few tasks ahead: finished ones wait in memory until their turn.
            while waiting or done < len(chunks):
                waiting.extend(
                    pool.submit(read_chunk, c, side, exact) for c in islice(todo, 2 * workers - len(waiting))
                )
                yield waiting.popleft().result()
                done += 1
        except BrokenProcessPool:
            # A worker was killed, or can't start (a program without a __main__ guard): go on without.
            pass
        finally:
            pool.shutdown(cancel_futures=True)
    for chunk in chunks[done:]:
        yield read_chunk(chunk, side, exact)


def _start_worker() -> None:
    # Ctrl-C is answered by the parent alone; and a worker whose parent was killed must not stay behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def allocate(shape: tuple[int, int, int, int]) -> np.ndarray:
    """An uint8 array; above ``IN_MEMORY_BYTES`` in a temporary file.

    Raises:
        OSError: if the disk has no room for it.
    """
    num_bytes = int(np.prod(shape, dtype=np.int64))
    if num_bytes <= IN_MEMORY_BYTES:
        return np.empty(shape, np.uint8)
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    if num_bytes > free:
        raise OSError(
            f"{shape[0]:,} images need {num_bytes:,} bytes in {folder}, which has {free:,} free; make room, or set the "
            "environment variable TMPDIR to a folder with more"
        )
    with tempfile.TemporaryFile() as file:
        if hasattr(os, "posix_fallocate"):
            # A map over a file with holes dies without a message when the disk fills up.
            os.posix_fallocate(file.fileno(), 0, num_bytes)
        # The map holds the file by a handle of its own.
        return np.memmap(file, np.uint8, mode="w+", shape=shape)
