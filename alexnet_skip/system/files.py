"""Write files whole or not at all, find out whether they still are, and read large ones without keeping their pages."""

import csv
import hashlib
import io
import json
import mmap
import os
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

from alexnet_skip.system.errors import UserError

# The key under which a JSON file carries the checksum of everything else in it.
CHECKSUM = "checksum"
# What spreadsheets take for the beginning of a formula (OWASP, CSV injection).
FORMULA_BEGINS = ("=", "+", "-", "@", "\t", "\r")


# File systems take 255 bytes a name (a Korean letter is 3); what is put before and behind a name needs some of them.
MAX_NAME_BYTES = 120


def part_of_name(text: str, most_bytes: int = MAX_NAME_BYTES) -> str:
    """As much of a text from its beginning as a file's name can hold beside other parts."""
    return text.encode()[:most_bytes].decode(errors="ignore")


def shown_path(path: str | Path) -> str:
    """A path as text that can be written and printed; Linux allows names that are not UTF-8: their bytes as \\xNN."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A name beside a file's own to write it under: it takes the file's place where the block ends well, and goes else.

    A crash leaves the old file or the new one, never half of one. What must outlast a power failure is brought to the
    disk within the block (:func:`sync_file`).
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def link_to(path: Path, twin: Path) -> bool:
    """Make a file one with an equal other (a hard link), so that both take the room of one.

    Returns:
        False where that can't be (no links on that disk, another disk, too many of them): the file is as it was.
    """
    try:
        with replacing(path) as temporary:
            temporary.unlink(missing_ok=True)
            os.link(twin, temporary)
    except OSError:
        return False
    return True


def write_bytes(path: Path, content: bytes) -> None:
    """Replace a file atomically."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically, and wait until it is on the disk."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="\n")
        sync_file(temporary)


def write_csv(path: Path, rows: Iterable[Iterable[object]]) -> None:
    """Replace a table atomically, in UTF-8 with the mark (BOM) that Excel needs to see that it is.

    Text that a spreadsheet would take for a formula gets an apostrophe before it; numbers stay as they are.
    """

    def cell(value: object) -> object:
        return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_BEGINS) else value

    text = io.StringIO()
    csv.writer(text).writerows([cell(value) for value in row] for row in rows)
    # A name of a file need not be Unicode on every system.
    write_bytes(path, text.getvalue().encode("utf-8-sig", errors="backslashreplace"))


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically; not-a-number is refused, since JSON has no word for it."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def write_sealed_json(path: Path, value: dict[str, Any]) -> None:
    """:func:`write_json` with a checksum inside, which :func:`read_json` holds the content against."""
    write_json(path, value | {CHECKSUM: _checksum(value)})


def read_json(path: Path) -> dict[str, Any]:
    """Read one of our JSON files; the checksum, where there is one, is verified and left out.

    A file without one is read as it is: it may have been edited by hand.

    Raises:
        UserError: if it is missing, damaged, or is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); the run is incomplete: train it again") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it or train the run again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {type(value).__name__}, not a JSON object; restore it or train the run again")
    if CHECKSUM in value and value.pop(CHECKSUM) != _checksum(value):
        raise UserError(
            f"{path} is damaged (its content does not fit its checksum); restore it or train the run again; if you "
            f'changed it on purpose, remove its line "{CHECKSUM}"'
        )
    return value


def _checksum(value: dict[str, Any]) -> str:
    # The content, not the bytes: another indentation is no damage. Through JSON once, so that tuples are lists.
    content = json.dumps(json.loads(json.dumps(value)), sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def file_digest(path: Path, algorithm: str = "sha256") -> str:
    """Digest of a file's bytes in hexadecimal, by any algorithm that hashlib knows."""
    digest = hashlib.new(algorithm, usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(1 << 22):
            digest.update(piece)
    return digest.hexdigest()


def file_crc32(path: Path) -> int:
    """CRC-32 of a whole file."""
    crc = 0
    with path.open("rb") as file:
        while piece := file.read(1 << 24):
            crc = zlib.crc32(piece, crc)
    return crc


def sync_file(path: Path) -> None:
    """Wait until a file's bytes are on the disk, not only in the system's memory."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def sync_folder(path: Path) -> None:
    """Wait until a folder's list of names is on the disk, where the system can be asked for that (not Windows)."""
    if os.name == "posix":
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def release_pages(array: "np.ndarray") -> None:
    """Give back the memory that reading and writing a memory-mapped array has filled; its values stay on disk.

    The system would take it back when it needs it, but until then it counts as this process's. Does nothing for other
    arrays, and where the system has no such call (Windows).
    """
    mapping = getattr(array, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def reserve(path: Path) -> None:
    """Claim the disk space of a file that was made longer but not yet written, where the system can (not Windows).

    Raises:
        OSError: if there is none: now, not when a program that writes into its memory map is killed for it.
    """
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            try:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(path)) from None
