"""Freed memory is used again instead of being given back to the system and asked for anew in every training step."""

import ctypes
import sys

# Parameters of glibc's mallopt (malloc.h), and the most that its manual allows for M_MMAP_THRESHOLD.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3

MMAP_THRESHOLD_MAX = 32 * 2**20

# Free memory that may stay with the process: more was not faster (measured with 1 GiB).
KEPT_BYTES = 256 * 2**20


def keep_freed_memory() -> bool:
    """Have this process keep up to 256 MiB of freed memory, in allocations of up to 32 MiB each; False if it can't.

    By default glibc returns large allocations to the system when they are freed, and the system clears every page that
    it hands out again: that was a tenth of the training without skip (measured). Other C libraries do it otherwise, and
    are left alone.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, MMAP_THRESHOLD_MAX)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT_BYTES))
