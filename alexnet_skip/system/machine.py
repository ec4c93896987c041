"""This machine's processors, memory and disks. Imports little, so that worker processes start quickly."""

import ctypes
import os
import shutil
import socket
import sys
import uuid
from pathlib import Path

from alexnet_skip.system.errors import UserError


def available_cpus() -> int:
    """Processors that this process may use, divided among the processes of a launch on this machine."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # What is no number is refused by name where processes are launched; here it is one process.
    processes = os.environ.get("LOCAL_WORLD_SIZE", "").strip()
    return max(1, cpus // max(1, int(processes) if processes.isdecimal() else 1))


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


def existing_place(folder: Path) -> Path:
    """A folder, or where it is not made yet, the nearest one above it that is there.

    Raises:
        UserError: if there is none, as on a drive that is not there.
    """
    place = folder.absolute()
    while not place.exists():
        if place == place.parent:
            raise UserError(
                f"{folder} is on {place}, which is not there; connect that drive, or give a folder on another one"
            )
        place = place.parent
    return place


def free_disk_bytes(folder: Path) -> int:
    """Room on the disk that a folder is on, or would be made on; raises as :func:`existing_place`."""
    return shutil.disk_usage(existing_place(folder)).free


def disk_of(folder: Path) -> int:
    """The number of the disk that a folder is on, or would be made on; raises as :func:`existing_place`."""
    return existing_place(folder).stat().st_dev


def free_memory_bytes() -> int | None:
    """Memory that can be had without swapping, or None where the platform does not tell (Windows, macOS)."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return None


def machine_id() -> str:
    """What this machine is told from others by, in its containers, too; nothing where that can't be known for certain.

    Names are no help: containers share theirs with their machine, or with those of another.
    """
    if sys.platform in ("win32", "darwin"):
        return f"{socket.gethostname()} {uuid.getnode():x}"
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
    except OSError:
        return ""


def writable(folder: Path) -> bool:
    """Whether files can be put into a folder, or it can be made; raises as :func:`existing_place`."""
    place = existing_place(folder)
    return place.is_dir() and os.access(place, os.W_OK)


def peak_memory_mib() -> float | None:
    """Peak resident memory of this process in MiB, or None where the platform does not tell."""
    try:
        import resource  # POSIX only
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
