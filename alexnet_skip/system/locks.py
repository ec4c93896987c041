"""One writer at a time in a folder, across processes, containers and machines.

Between processes of one machine the system itself keeps order (`filelock`): its lock ends with the process that held
it, whatever ended that, and holds in containers, too. It need not reach beyond the machine, and some network disks have
none. So whoever holds it also keeps a record in the folder (`heartbeat`). That of another machine is taken over when
its heart has stopped, that of this machine at once: its owner would hold the system's lock if it lived.
"""

import errno
import os
import socket
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import filelock
from filelock import FileLock, Timeout

from alexnet_skip.system.errors import UserError
from alexnet_skip.system.heartbeat import (
    RECORD_NAME,
    Owner,
    Waiting,
    beating,
    read_owner,
    remove_draft,
    remove_record,
    take_record,
    write_draft,
)
from alexnet_skip.system.machine import machine_id

GUARD_NAME = ".in-use"  # what the system's lock is on
FILE_NAMES = (RECORD_NAME, GUARD_NAME)


class _Guard(FileLock):
    """The system's lock, or none: not the one by processes' numbers, which mean nothing in another container."""

    def _fallback_to_soft_lock(self) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS), self.lock_file)


@contextmanager
def folder_lock(folder: Path, report: Callable[[str], None], *, wait: bool = True) -> Iterator[None]:
    """Hold a folder's lock within this context.

    In a folder that can't be written there is nothing to protect: no lock is taken.

    Args:
        folder: must exist.
        report: told whom it waits for.
        wait: wait while another process that lives holds the lock; otherwise that is an error.

    Raises:
        UserError: if another process holds it, unless ``wait``.
    """
    record, waiting = folder / RECORD_NAME, Waiting(folder, report, wait)
    guard = _take_guard(folder, waiting)
    try:
        mine = Owner(os.getpid(), socket.gethostname(), uuid.uuid4().hex, machine_id(), guard is not None)
        draft = write_draft(record, mine)
        if draft is None:
            yield
            return
        try:
            take_record(record, draft, mine, waiting)
        finally:
            remove_draft(draft)
        try:
            with beating(record):
                yield
        finally:
            remove_record(record, mine)
    finally:
        if guard is not None:
            _release(guard)


@contextmanager
def open_for_writing(folder: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Make a folder of the feature cache and hold its lock within this context.

    Whoever held it before may have removed the folder (``prune``): then it is made again.

    Raises:
        UserError: if it can't be made.
    """
    with ExitStack() as lock:
        while True:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise UserError(
                    f"--cache-dir {folder.parent}: {folder} can't be made ({error.strerror}); let it be "
                    "written, or train with another --cache-dir or --no-cache"
                ) from None
            with suppress(FileNotFoundError):
                lock.enter_context(folder_lock(folder, report))
                if folder.is_dir():
                    break
            lock.close()
        yield


def _take_guard(folder: Path, waiting: Waiting) -> FileLock | None:
    """The system's lock, held, or None where there is none on this disk or its file can't be written."""
    # Any user of a shared cache may have made the file that all of them lock.
    guard = _Guard(folder / GUARD_NAME, mode=0o666)
    while True:
        try:
            guard.acquire(blocking=False)
            return guard
        except Timeout:
            waiting.for_living(read_owner(folder / RECORD_NAME))
        except (OSError, NotImplementedError):
            return None


def _release(guard: FileLock) -> None:
    """Release the system's lock and leave no file of it."""
    if os.name == "posix" and int(filelock.__version__.partition(".")[0]) >= 4:  # which leaves it, where others don't
        # While it is held: whoever has opened the file before sees that it has no name any more, and tries again.
        with suppress(OSError):
            Path(guard.lock_file).unlink()
    guard.release()
