"""Which files below a folder are images, and what is left out there. Imports PIL only."""

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from unicodedata import normalize

from PIL import Image

from alexnet_skip.images.file import FORMATS
from alexnet_skip.system.errors import UserError

# What PIL itself gives to the formats that are read: .jfif and .jpe beside .jpg, .pgm beside .ppm.
EXTENSIONS = frozenset(ending for ending, format in Image.registered_extensions().items() if format in FORMATS)

# Where the Hugging Face library "datasets" looks for labels: in its folder builder's METADATA_FILENAMES.
TABLES = ("metadata.csv", "metadata.jsonl", "metadata.parquet")

# Kinds of files, folders and classes that a message names; a folder can hold a thousand of each.
MAX_NAMED = 5


class LeftOut:
    """What is not read of folders of images: files counted by their kind, folders by name, and the first of all.

    Hidden files and folders are nobody's images and are not to be told here.
    """

    def __init__(self) -> None:
        self._files: list[tuple[Path, str]] = []
        self._folders: list[Path] = []

    def add_file(self, path: Path, place: str = "") -> None:
        """Tell of a file; ``place`` is where it lies, if that and not its extension is why it is left out."""
        kind = path.suffix.lower() or "without an extension"
        self._files.append((path, f"{kind} {place}".strip()))

    def add_folder(self, path: Path) -> None:
        """Tell of a folder that is not looked into."""
        self._folders.append(path)

    def __str__(self) -> str:
        """One line, as in ``left out: 9 files (8 .heic, 1 .txt), first: train/cat/1.heic``; empty if nothing is."""
        kinds = sorted(Counter(kind for _, kind in self._files).items(), key=lambda item: (-item[1], item[0]))
        parts = []
        if kinds:
            parts.append(_counted("file", len(self._files), [f"{count} {kind}" for kind, count in kinds]))
        if self._folders:
            parts.append(_counted("folder", len(self._folders), sorted(path.name for path in self._folders)))
        if not parts:
            return ""
        first = min([path for path, _ in self._files] + self._folders)
        return f"left out: {' and '.join(parts)}, first: {first}"


def _counted(what: str, count: int, named: list[str]) -> str:
    return f"{count:,} {what}{'s' if count != 1 else ''} ({listed(named)})"


def listed(named: Sequence[str]) -> str:
    """Names with commas; of many the first, and how many more."""
    more = [f"{len(named) - MAX_NAMED:,} more"] if len(named) > MAX_NAMED else []
    return ", ".join([*named[:MAX_NAMED], *more])


def differently_encoded(names: Collection[str], others: Collection[str]) -> list[str]:
    """Names that look the same in both and are not: macOS takes an umlaut or a Korean syllable apart, Windows does not.

    Empty unless that is all in which they differ.
    """
    if {normalize("NFC", name) for name in names} != {normalize("NFC", name) for name in others}:
        return []
    return sorted({normalize("NFC", name) for name in set(names) ^ set(others)})


def images_below(folder: Path, left_out: LeftOut) -> list[str]:
    """Image files of a folder, at any depth, in an order that does not depend on the platform.

    As text: of 60,000 files, to make a Path of each costs more than to ask the disk for all of them.

    Links are followed, as torchvision does, but for those that lead back to where they are. Hidden files and folders
    are passed over; other files that are no images by their extension go to ``left_out``.

    Raises:
        OSError: if a folder can't be listed.
    """
    found = []
    for place, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        loops = {name for name in folders if name[0] != "." and _leads_back(Path(place, name), folder)}
        for name in loops:
            left_out.add_folder(Path(place, name))
        folders[:] = [name for name in folders if name[0] != "." and name not in loops]
        relative = os.path.relpath(place, folder).replace(os.sep, "/")
        for name in files:
            if name.startswith("."):
                continue
            if os.path.splitext(name)[1].lower() in EXTENSIONS:
                found.append((f"{relative}/{name}", os.path.join(place, name)))
            else:
                left_out.add_file(Path(place, name))
    return [path for _, path in sorted(found)]


def find_table(folders: Iterable[Path]) -> Path | None:
    """The first file in these folders that says which image is of which class, where folders do not say it.

    ``metadata.csv``, ``metadata.jsonl`` or ``metadata.parquet``, or images and labels in Parquet themselves, as the
    datasets of the Hugging Face Hub come (there in ``data/``, too). Parquet beside class folders is no such table.

    Raises:
        OSError: if a folder can't be listed.
    """
    folders = list(folders)
    for folder in (*folders, *(data for folder in folders[:1] if (data := folder / "data").is_dir())):
        names = sorted(os.listdir(folder))
        in_folders = any((folder / name).is_dir() for name in names if not name.startswith("."))
        for name in names:
            if name.lower() in TABLES or (name.lower().endswith(".parquet") and not in_folders):
                return folder / name
    return None


def _raise(error: OSError) -> None:
    raise error


def _leads_back(inner: Path, root: Path) -> bool:
    """Whether a folder below ``root`` is a link to one that it lies in: to follow it would never end."""
    target = os.path.realpath(inner)
    for outer in inner.parents:
        if Path(os.path.realpath(outer)).is_relative_to(target):
            return True
        if outer == root:
            break
    return False


def find_images(places: Iterable[Path], left_out: LeftOut) -> list[Path]:
    """The image files that files, folders (at any depth, hidden ones left out) and patterns stand for, each once.

    Raises:
        UserError: if a place does not exist or can't be listed, a folder holds no image, a pattern stands for none, or
            nothing is given.
    """
    found: dict[Path, None] = {}
    for place in places:
        if place.is_file():
            found[place] = None
        elif place.is_dir():
            found |= dict.fromkeys(_images_in(place, left_out))
        elif glob.has_magic(str(place)):
            found |= dict.fromkeys(_images_of_pattern(place, left_out))
        else:
            raise UserError(f"--images {place} does not exist; give image files, or folders that hold some")
    if not found:
        raise UserError("--images names nothing; give image files, or folders that hold some")
    return list(found)


def _images_of_pattern(pattern: Path, left_out: LeftOut) -> list[Path]:
    """Windows' shells leave it to the program to find out what ``*.jpg`` is."""
    matches = [Path(match) for match in sorted(glob.glob(str(pattern), recursive=True))]
    if not matches:
        raise UserError(
            f"--images {pattern} is neither a file nor a pattern that any fits; give image files or folders"
        )
    found = []
    for match in matches:
        if match.is_dir():
            found += _sorted_below(match, left_out)
        elif match.suffix.lower() in EXTENSIONS:
            found.append(match)
        else:
            left_out.add_file(match)
    if not found:
        raise UserError(f"--images {pattern} fits no image; {left_out}; give image files, or folders that hold some")
    return found


def _sorted_below(folder: Path, left_out: LeftOut) -> list[Path]:
    try:
        return sorted(map(Path, images_below(folder, left_out)))
    except OSError as error:
        raise UserError(f"--images {folder}: {error.filename} can't be listed ({error.strerror})") from None


def _images_in(folder: Path, left_out: LeftOut) -> list[Path]:
    inside = _sorted_below(folder, left_out)
    if not inside:
        raise UserError(f"--images {folder} holds no image ({', '.join(sorted(EXTENSIONS))}); give a folder that does")
    return inside
