"""What is known of a folder of images from the last time that all of it was read, kept beside the features.

A folder whose files have the names, sizes and times of then is opened without reading one of them. A file that was
changed and has kept both is noticed only where everything is read again (``--verify-images``).
"""

import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import PIL

from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json, write_sealed_json

# To be counted up when images are read in another way: what was read before tells nothing then.
READER_VERSION = 1
# Inside the folder of the feature cache.
FOLDER = "images"


class FolderRecord:
    """Facts of one folder's splits, each under the listing that it is true of.

    Args:
        cache_dir: folder of the feature cache, or None to keep nothing.
        folder: of images.
        read_only: look up, and keep nothing new.
        verify: believe nothing that was kept.
    """

    def __init__(self, cache_dir: Path | None, folder: Path, *, read_only: bool = False, verify: bool = False) -> None:
        place = str(folder.resolve())
        name = f"{hashlib.sha256(os.fsencode(place)).hexdigest()[:12]}.json"
        self._path = cache_dir / FOLDER / name if cache_dir is not None else None
        self._read_only = read_only
        self._reader = {"folder": place, "reader": READER_VERSION, "pillow": PIL.__version__}
        self._facts: dict[str, Any] = {}
        if self._path is not None and not verify and self._path.is_file():
            with suppress(UserError):  # damaged: it tells nothing
                kept = read_json(self._path)
                if {name: kept.get(name) for name in self._reader} == self._reader:
                    self._facts = kept.get("facts", {})

    def get(self, listing: str, what: str) -> Any:
        """A fact of a listing; None if it isn't known."""
        return self._facts.get(f"{listing} {what}")

    def put(self, listing: str, what: str, fact: Any) -> None:
        """Keep a fact; where nothing can be written it is found out anew the next time."""
        self._facts[f"{listing} {what}"] = fact
        if self._path is None or self._read_only:
            return
        with suppress(OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True)
            write_sealed_json(self._path, {**self._reader, "facts": self._facts})

    def keep_only(self, listings: Sequence[str]) -> None:
        """Forget what is known of other listings."""
        self._facts = {name: fact for name, fact in self._facts.items() if name.split()[0] in listings}


def names_within(root: Path, paths: Iterable[str]) -> Iterator[str]:
    """What files below a folder are called there, with slashes."""
    start = len(str(root / "x")) - 1  # a folder's own name may be "."
    return (path[start:].replace(os.sep, "/") for path in paths)


def listing_digest(root: Path, paths: Sequence[str]) -> str:
    """SHA-256 of the names of files below ``root``, their sizes, times of change and permissions.

    Permissions, since a file that could not be read is remembered, too, and may be allowed to be since.
    """
    digest = hashlib.sha256()
    for name, path in zip(names_within(root, paths), paths, strict=True):
        try:
            found = os.stat(path)
            state = f"{found.st_size}\0{found.st_mtime_ns}\0{found.st_mode}"
        except OSError as error:  # judged, with its reason, when it is read
            state = str(error.errno)
        digest.update(f"{name}\0{state}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
