"""Where images come from: CIFAR-10/100, folders of images, and the built-in shapes."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_skip.images import cifar, shapes
from alexnet_skip.images import folder as image_folder
from alexnet_skip.images.listing import EXTENSIONS, LeftOut, find_table, images_below
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

# The splits of an image folder, and how their folders may be called; train must be there.
SPLITS = {"train": ("train",), "test": ("test",), "val": ("val", "valid", "validation")}

SHAPES_TRAIN, SHAPES_TEST = 5000, 1000


@dataclass(frozen=True)
class Split:
    """Images of one split.

    Attributes:
        images: uint8 (N, H, W, 3), contiguous; above 1 GiB a map of a temporary file.
        labels: int64 (N,).
        index: stable sample ids (N,): positions in the whole split as stored.
        digest: SHA-256 of what defines the content; equal content has an equal digest.
    """

    images: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    digest: str

    def subset(self, positions: np.ndarray) -> "Split":
        """The samples at the given positions; they keep their ids."""
        chosen = hashlib.sha256(self.digest.encode() + np.asarray(positions, dtype="<i8").tobytes()).hexdigest()
        return Split(self.images[positions], self.labels[positions], self.index[positions], chosen)


@dataclass(frozen=True)
class Dataset:
    """A dataset by name.

    Attributes:
        source: what to pass to :func:`load_dataset` to get it again.
        splits: ``train`` always; ``test`` and ``val`` where they exist.
        skipped: unreadable files that were left out.
        left_out: what else the folder holds that is not read, in one line; empty if there is nothing.
        fallback_reason: why ``auto`` took the built-in sample; None otherwise.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    skipped: tuple[str, ...] = ()
    left_out: str = ""
    fallback_reason: str | None = None


def load_dataset(
    name: str,
    *,
    data_dir: Path = Path("data"),
    data_archive: Path | None = None,
    data_url: str | None = None,
    skip_unreadable: bool = False,
    download: bool = True,
    console: Console | None = None,
) -> Dataset:
    """Load a dataset.

    Args:
        name: ``auto``, ``cifar10``, ``cifar100``, ``shapes``, or a folder. ``auto`` is CIFAR-10 if it is in
            ``data_dir``, in ``data_archive``, or can be downloaded, else shapes. A named dataset never falls back.
        data_url: the only server to download from.
        console: shows the progress of a download; none is shown without one.

    Raises:
        UserError: if it can't be had; lists the ways out.
    """
    if name == "shapes":
        return _shapes()
    console = console or Console(quiet=True)
    if name == "auto" or name in cifar.SOURCES:
        kind = "cifar10" if name == "auto" else name
        urls = cifar.servers(kind, data_url) if download else []
        try:
            if place := cifar.pictures(kind, data_dir, data_archive, console):
                return _cifar_pictures(place, skip_unreadable)
            return _cifar(kind, data_dir, console, data_archive, urls)
        except UserError as error:
            if name != "auto" or data_archive is not None or data_url is not None:
                raise  # what the user named is never replaced by something else
            return _shapes(fallback_reason=str(error).splitlines()[0])
    folder = Path(name).expanduser()
    if not folder.is_dir():
        raise UserError(
            f"--dataset is {name}, which is neither auto, {', '.join(cifar.SOURCES)}, shapes nor an existing folder; "
            "a folder holds train/<class>/* and, where they exist, test/ or val/ (valid/, validation/)"
        )
    return _folder(folder, skip_unreadable)


def make_split(images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> Split:
    """A whole split: ids count from 0, the digest covers pixels as they were read, labels and class names."""
    images, labels = np.ascontiguousarray(images), np.ascontiguousarray(labels, dtype="<i8")
    digest = hashlib.sha256(repr((class_names, images.shape)).encode())
    digest.update(images.data)
    digest.update(labels.data)
    return Split(images, labels.astype(np.int64), np.arange(len(labels)), digest.hexdigest())


def _shapes(fallback_reason: str | None = None) -> Dataset:
    names = shapes.CLASS_NAMES
    splits = {
        "train": make_split(*shapes.render(SHAPES_TRAIN, seed=1), names),
        "test": make_split(*shapes.render(SHAPES_TEST, seed=2), names),
    }
    return Dataset("shapes", "shapes", names, splits, fallback_reason=fallback_reason)


def _cifar(name: str, data_dir: Path, console: Console, archive: Path | None, urls: Sequence[str]) -> Dataset:
    arrays, names = cifar.load(name, data_dir, console, archive, urls)
    return Dataset(name, name, names, {split: make_split(*content, names) for split, content in arrays.items()})


def _cifar_pictures(place: Path, skip_unreadable: bool) -> Dataset:
    dataset = _folder(place, skip_unreadable)
    if dataset.class_names != cifar.CLASSES:
        raise UserError(
            f"{place} has the classes {', '.join(dataset.class_names)}, but CIFAR-10 has {', '.join(cifar.CLASSES)}; "
            f"give it by its path (--dataset {place}) if it is what you want, or remove it"
        )
    return dataset


def _folder(folder: Path, skip_unreadable: bool) -> Dataset:
    left_out = LeftOut()
    try:
        places = _split_folders(folder, left_out)
        if table := find_table((folder, *places.values())):
            raise UserError(
                f"--dataset {folder} holds {table.relative_to(folder).as_posix()}: labels in a table, as in Hugging "
                "Face's imagefolder and parquet files, which are not read; bring the images into folders, "
                f"{folder.name}/train/<class>/* (docs/data.md has the lines that do it), or remove the table if they "
                "are in such folders already"
            )
        listings = {split: image_folder.list_images(place, left_out) for split, place in places.items()}
    except OSError as error:
        raise UserError(f"--dataset {folder}: {error.filename} can't be listed ({error.strerror})") from None
    names = _common_classes(folder, places, listings)
    paths = [path for listing in listings.values() for files in listing.values() for path in files]
    try:
        images, failures = image_folder.read_all(paths, skip_unreadable=skip_unreadable)
    except ValueError as error:
        raise UserError(f"{error}; mend or remove it, or give --skip-unreadable to leave such files out") from None
    except OSError as error:
        raise UserError(f"--dataset {folder}: there is no room for the decoded images: {error}") from None
    readable = np.ones(len(paths), dtype=bool)
    readable[list(failures)] = False
    splits, start = {}, 0
    for split, listing in listings.items():
        labels = np.repeat(np.arange(len(names)), [len(files) for files in listing.values()])
        rows, kept = slice(start, start + len(labels)), readable[start : start + len(labels)]
        for label in set(range(len(names))) - set(labels[kept]):
            raise UserError(
                f"{places[split] / names[label]} holds no readable image; mend the files or remove the class"
            )
        splits[split] = make_split(images[rows] if kept.all() else images[rows][kept], labels[kept], names)
        start = rows.stop
    skipped = tuple(paths[position].relative_to(folder).as_posix() for position in failures)
    return Dataset(folder.resolve().name, str(folder.resolve()), names, splits, skipped, str(left_out))


def _split_folders(folder: Path, left_out: LeftOut) -> dict[str, Path]:
    """The folders of the splits that there are; what lies beside them goes to ``left_out``."""
    places: dict[str, Path] = {}
    for split, spellings in SPLITS.items():
        there = [folder / name for name in spellings if (folder / name).is_dir()]
        if len(there) > 1:
            raise UserError(
                f"--dataset {folder} holds {' and '.join(place.name for place in there)}, which all mean {split}; "
                "keep one of them, or put their images together"
            )
        if there:
            places[split] = there[0]
    for path in (folder / name for name in os.listdir(folder) if not name.startswith(".")):
        if not path.is_dir():
            left_out.add_file(path)
        # Where upper and lower case are the same, Train is train.
        elif not any(path.samefile(place) for place in places.values()):
            left_out.add_folder(path)
    return places


def _common_classes(
    folder: Path, places: dict[str, Path], listings: dict[str, dict[str, list[Path]]]
) -> tuple[str, ...]:
    if "train" not in listings:
        raise UserError(f"--dataset {folder} has no folder train; it must hold train/<class>/* with the images")
    names = tuple(listings["train"])
    if len(names) < 2:
        found = f"one class ({names[0]})" if names else "no class folder"
        raise UserError(f"{folder / 'train'} holds {found}; at least two folders, one a class, are needed")
    for split, listing in listings.items():
        if tuple(listing) != names:
            different = ", ".join(sorted(set(listing) ^ set(names)))
            raise UserError(
                f"{places[split]} and {folder / 'train'} differ in the classes {different}; make them equal"
            )
        empty = [name for name, files in listing.items() if not files]
        if empty:
            other = LeftOut()
            images_below(places[split] / empty[0], other)
            raise UserError(
                f"{places[split] / empty[0]} holds no image ({', '.join(sorted(EXTENSIONS))}); "
                f"{f'{other}; ' if str(other) else ''}add some or remove the class from every split"
            )
    return names
