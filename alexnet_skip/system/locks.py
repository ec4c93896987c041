"""One writer at a time in a folder, across processes and machines, by a file that is created or not.

A file made with O_EXCL works on every system and on network disks, where locks of the operating system often don't.
The owner touches it now and then; a lock that nobody touches any more, or whose process is gone, is taken over.
"""

import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from alexnet_skip.system.errors import UserError

FILE_NAME = "in-use.lock"
HEARTBEAT_SECONDS = 5.0
# Long enough for a busy machine or network disk to miss several beats.
STALE_SECONDS = 60.0
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Owner:
    """Who holds a lock, as its file says."""

    pid: int
    host: str
    token: str

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


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
    path, mine = folder / FILE_NAME, Owner(os.getpid(), socket.gethostname(), uuid.uuid4().hex)
    try:
        _acquire(path, mine, report, wait)
    except PermissionError:
        yield
        return
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(path, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()
        if _read(path) == mine:  # nobody took it over from a process that seemed dead
            path.unlink(missing_ok=True)


@contextmanager
def open_for_writing(folder: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Make a folder of the feature cache and hold its lock within this context.

    Raises:
        UserError: if it can't be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--cache-dir {folder.parent}: {folder} can't be made ({error.strerror}); choose another --cache-dir, or "
            "--no-cache"
        ) from None
    with folder_lock(folder, report):
        yield


def _acquire(path: Path, mine: Owner, report: Callable[[str], None], wait: bool) -> None:
    told: Owner | None = None
    seen: tuple[Owner | None, float] | None = None
    since = time.monotonic()
    while not _create(path, mine):
        owner, touched = _read(path), _touched(path)
        if (owner, touched) != seen:
            seen, since = (owner, touched), time.monotonic()
        # By this machine's clock alone: those of two machines, or of a network disk, may differ.
        if _is_gone(owner) or time.monotonic() - since > STALE_SECONDS:
            _remove_of(path, owner)
            continue
        if not wait:
            raise UserError(f"{path.parent} is in use by {owner}; wait until that is finished, or stop it")
        if owner is not None and owner != told:
            report(f"{path.parent} is being written by {owner}: waiting until it has finished")
            told = owner
        time.sleep(POLL_SECONDS)


def _create(path: Path, mine: Owner) -> bool:
    # Written whole under another name first: a lock is never seen without its owner.
    draft = path.with_name(f"{path.name}.{mine.token}")
    draft.write_text(json.dumps(vars(mine)), encoding="utf-8")
    try:
        os.link(draft, path)
        return True
    except FileExistsError:
        return False
    except OSError:  # a disk without hard links
        return _create_exclusively(path, mine)
    finally:
        draft.unlink(missing_ok=True)


def _create_exclusively(path: Path, mine: Owner) -> bool:
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(json.dumps(vars(mine)))
        return True
    except FileExistsError:
        return False


def _read(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # gone again, or just being written


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _is_gone(owner: Owner | None) -> bool:
    """Whether the owner is known to be dead; of another machine only the heartbeat tells."""
    if owner is None or owner.host != socket.gethostname() or os.name != "posix":
        return False
    try:
        os.kill(owner.pid, 0)  # on Windows this would end the process
    except ProcessLookupError:
        return True
    except (OSError, OverflowError, TypeError):
        return False
    return False


def _remove_of(path: Path, owner: Owner | None) -> None:
    """Remove the lock of a dead owner, once: two that wait may find out at the same time."""
    takeover = path.with_name(path.name + ".takeover")
    try:
        takeover.open("x").close()
    except FileExistsError:
        if time.time() - _touched(takeover) > STALE_SECONDS:
            takeover.unlink(missing_ok=True)  # it died in the middle of taking over
        time.sleep(POLL_SECONDS)
        return
    try:
        if _read(path) == owner:
            path.unlink(missing_ok=True)
    finally:
        takeover.unlink(missing_ok=True)


def _beat(path: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            os.utime(path)
        except OSError:
            continue  # a network disk that is away for a moment
