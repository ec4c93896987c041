"""Who holds a folder, as a record in it says, which works on any disk: it is created or not, and its owner touches it.

One that nobody touches any more is of a dead owner, and taken over.
"""

import errno
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from alexnet_skip.system.errors import UserError

RECORD_NAME = "in-use.lock"
HEARTBEAT_SECONDS = 5.0
# Long enough for a busy machine or network disk to miss several beats.
STALE_SECONDS = 60.0
POLL_SECONDS = 0.2
# So long a refusal may be Windows', where another program, a scanner or one of us, has the file open.
REFUSED_SECONDS = 2.0


@dataclass(frozen=True)
class Owner:
    """Who holds a lock, as its record says.

    Attributes:
        machine: that it runs on, or nothing where machines can't be told apart.
        guarded: whether it holds the system's lock, too.
    """

    pid: int
    host: str
    token: str
    machine: str = ""
    guarded: bool = False

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


class Waiting:
    """Waits for an owner that lives, and says so once; or refuses to."""

    def __init__(self, folder: Path, report: Callable[[str], None], wait: bool) -> None:
        self.folder, self.report, self.wait = folder, report, wait
        self._told: Owner | None = None

    def for_living(self, owner: Owner | None) -> None:
        """A moment, for one who lives; an error where nobody is to be waited for."""
        if not self.wait:
            raise UserError(
                f"{self.folder} is in use by {owner or 'another process'}; wait until that is finished, or stop it"
            )
        self._say(owner, f"{self.folder} is being written by {owner}: waiting until it has finished")

    def for_a_sign(self, owner: Owner | None) -> None:
        """A moment, for one of whom only its heart can tell whether it lives."""
        if self.wait:
            self.for_living(owner)
        else:
            self._say(owner, f"{self.folder} was in use by {owner}: waiting for a sign of life, {STALE_SECONDS:.0f} s")

    def _say(self, owner: Owner | None, line: str) -> None:
        if owner not in (None, self._told):
            self.report(line)
            self._told = owner
        time.sleep(POLL_SECONDS)


def write_draft(record: Path, mine: Owner) -> Path | None:
    """Write a record, whole, under a name that nobody else has; None in a folder that can't be written."""
    draft = record.with_name(f"{record.name}.{mine.token}")

    def write() -> None:
        draft.write_text(json.dumps(asdict(mine)), encoding="utf-8")

    if not os.access(record.parent, os.W_OK):
        return None  # on Windows it may say yes where the folder's rights say no
    try:
        return draft if _patiently(write) else None
    except OSError as error:
        if error.errno == errno.EROFS:
            return None
        raise


def remove_draft(draft: Path) -> None:
    """Remove what :func:`write_draft` has written; the record is left."""
    _patiently(lambda: draft.unlink(missing_ok=True))


def _patiently(act: Callable[[], object]) -> bool:
    """Do what may be refused for a moment; False if it is refused for longer."""
    until = time.monotonic() + REFUSED_SECONDS
    while True:
        try:
            act()
            return True
        except PermissionError:
            if time.monotonic() > until:
                return False
            time.sleep(POLL_SECONDS)


def take_record(record: Path, draft: Path, mine: Owner, waiting: Waiting) -> None:
    """Put one's draft in the record's place as soon as nobody who lives has one there."""
    seen: tuple[Owner | None, float] | None = None
    since = time.monotonic()
    while not _publish(draft, record):
        owner, touched = read_owner(record), _touched(record)
        if (owner, touched) != seen:
            if seen is not None and owner is not None and owner == seen[0]:
                waiting.for_living(owner)
            seen, since = (owner, touched), time.monotonic()
        # Whoever holds the system's lock on this machine is the only one who does. Else by this machine's clock alone:
        # those of two machines, or of a network disk, may differ.
        ended = owner is not None and owner.guarded and mine.guarded and owner.machine == mine.machine != ""
        if ended or time.monotonic() - since > STALE_SECONDS:
            _remove_of(record, owner)
        else:
            waiting.for_a_sign(owner)


def _publish(draft: Path, record: Path) -> bool:
    """Give the draft the record's name, unless that is taken, or Windows has not yet let go of the one before."""
    try:
        os.link(draft, record)
        return True
    except FileExistsError:
        return False
    except OSError:  # a disk without hard links
        return _create_exclusively(record, draft.read_text(encoding="utf-8"))


def _create_exclusively(record: Path, content: str) -> bool:
    try:
        with record.open("x", encoding="utf-8") as file:
            file.write(content)
        return True
    except (FileExistsError, PermissionError):
        return False


def read_owner(record: Path) -> Owner | None:
    """Who holds the folder, or None if nobody does, or can't be told."""
    try:
        return Owner(**json.loads(record.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None  # gone again, or just being written


def remove_record(record: Path, mine: Owner) -> None:
    """Give the folder free, unless another has taken it over from a process that seemed dead."""
    if read_owner(record) == mine:
        _patiently(lambda: record.unlink(missing_ok=True))


def _touched(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _remove_of(record: Path, owner: Owner | None) -> None:
    """Remove the record of a dead owner, once: two machines that wait may find out at the same time."""
    takeover = record.with_name(record.name + ".takeover")
    try:
        takeover.open("x").close()
    except OSError:
        if time.time() - _touched(takeover) > STALE_SECONDS:
            with suppress(OSError):
                takeover.unlink()  # it died in the middle of taking over
        time.sleep(POLL_SECONDS)
        return
    try:
        if read_owner(record) == owner:
            _patiently(lambda: record.unlink(missing_ok=True))
    finally:
        _patiently(lambda: takeover.unlink(missing_ok=True))


@contextmanager
def beating(record: Path) -> Iterator[None]:
    """Touch the record now and then within this context."""
    stop = threading.Event()
    beat = threading.Thread(target=_beat, args=(record, stop), daemon=True)
    beat.start()
    try:
        yield
    finally:
        stop.set()
        beat.join()


def _beat(record: Path, stop: threading.Event) -> None:
    while not stop.wait(HEARTBEAT_SECONDS):
        try:
            os.utime(record)
        except OSError:
            continue  # a network disk that is away for a moment
