"""What folders take on the disk, where one file may lie under several names (hard links)."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

# st_blocks counts these, whatever the file system's own blocks are (POSIX, stat.h); Windows does not say.
BLOCK_BYTES = 512


@dataclass(frozen=True)
class Usage:
    """What folders take.

    Attributes:
        num_bytes: on the disk, each file once: what ``du`` says.
        own_bytes: of those, what would be free if the folders were removed: files that have no name elsewhere.
    """

    num_bytes: int
    own_bytes: int


def disk_usage(folders: Iterable[Path]) -> Usage:
    """What all files in folders take together; a folder's own list of names is not counted."""
    names: Counter[tuple[int, int]] = Counter()
    known: dict[tuple[int, int], tuple[int, int]] = {}
    for path in (path for folder in folders for path in folder.rglob("*")):
        try:
            found = path.lstat()
        except FileNotFoundError:
            continue  # a run in training replaces files
        if not path.is_dir():
            key = (found.st_dev, found.st_ino)
            names[key] += 1
            blocks = getattr(found, "st_blocks", None)
            known[key] = (found.st_size if blocks is None else blocks * BLOCK_BYTES, found.st_nlink)
    own = sum(num_bytes for key, (num_bytes, links) in known.items() if links <= names[key])
    return Usage(sum(num_bytes for num_bytes, _ in known.values()), own)
