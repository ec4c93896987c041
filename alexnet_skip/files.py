"""Write files whole or not at all, and read large ones without keeping their pages."""

import json
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_skip.errors import UserError


def write_text(path: Path, text: str) -> None:
    """Replace a text file atomically: a crash leaves the old one or the new one, never half of one."""
    temporary = path.with_name(path.name + ".tmp")
    with temporary.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Replace a JSON file atomically; not-a-number is refused, since JSON has no word for it."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False) + "\n")


def release_pages(array: np.ndarray) -> None:
    """Give back the memory that reading and writing a memory-mapped array has filled; its values stay on disk.

    The system would take it back when it needs it, but until then it counts as this process's. Does nothing for other
    arrays, and where the system has no such call (Windows).
    """
    mapping = getattr(array, "_mmap", None)
    if mapping is not None and hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED)


def read_json(path: Path) -> dict[str, Any]:
    """Read one of our JSON files.

    Raises:
        UserError: if it is missing or is no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"{path} can't be read ({error.strerror}); the run is incomplete: train it again") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it or train the run again") from None
    if not isinstance(value, dict):
        raise UserError(f"{path} holds {type(value).__name__}, not a JSON object; restore it or train the run again")
    return value
