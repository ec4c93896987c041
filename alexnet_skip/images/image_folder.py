"""A folder of images as a dataset: its splits and classes, read when they are asked for, and only if they changed."""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np

from alexnet_skip.images.folder import (
    RESIZED,
    ImageFiles,
    OtherSizeError,
    list_images,
    probe,
    read_chunks,
    small_side,
)
from alexnet_skip.images.folder_layout import (
    common_classes,
    dataset_name,
    refuse_other_encodings,
    split_folders,
)
from alexnet_skip.images.folder_record import FolderRecord, listing_digest, names_within
from alexnet_skip.images.listing import LeftOut, find_table
from alexnet_skip.images.split import Dataset, Images, LazySplits, Split, content_digest
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

# Up to this much the pixels of a split that had to be read are kept in memory; they are read again otherwise.
KEPT_BYTES = 256 * 2**20


def open_folder(
    folder: Path, record: FolderRecord, console: Console, *, side: int | None = None, skip_unreadable: bool = False
) -> Dataset:
    """List a folder of images; a split is read when it is first asked for, unless all that matters of it is known.

    Args:
        side: that they are read at; without it theirs if all are small and square and have one, and otherwise 224.

    Raises:
        UserError: if it can't be listed, or lacks what a dataset needs; a split, if an image can't be read.
    """
    left_out = LeftOut()
    try:
        places = split_folders(folder, left_out)
        if table := find_table((folder, *places.values())):
            raise UserError(
                f"--dataset {folder} holds {table.relative_to(folder).as_posix()}: labels in a table, as in Hugging "
                "Face's imagefolder and parquet files, which are not read; bring the images into folders "
                f"{dataset_name(folder)}/train/<class>/* (docs/data.md has the lines that do it), or remove the table "
                "if they are in such folders already"
            )
        listings = {split: list_images(place, left_out) for split, place in places.items()}
        refuse_other_encodings(
            folder.resolve(), *(places[split] / name for split, of in listings.items() for name in of)
        )
        class_names = common_classes(folder, places, listings)
        files = _FolderFiles(folder, places, listings, class_names, record, console, side, skip_unreadable)
    except OSError as error:
        raise UserError(f"--dataset {folder}: {error.filename} can't be listed ({error.strerror})") from None
    splits = LazySplits({name: partial(files.open, name) for name in places})
    return Dataset(dataset_name(folder), str(folder.resolve()), class_names, splits, str(left_out))


class _FolderFiles:
    """The files of a folder's splits, and what is known of them."""

    def __init__(
        self,
        folder: Path,
        places: dict[str, Path],
        listings: dict[str, dict[str, list[str]]],
        class_names: tuple[str, ...],
        record: FolderRecord,
        console: Console,
        side: int | None,
        skip_unreadable: bool,
    ) -> None:
        self.folder, self.places, self.class_names = folder, places, class_names
        self.record, self.console, self.side, self.skip_unreadable = record, console, side, skip_unreadable
        self.paths = {name: [path for files in of.values() for path in files] for name, of in listings.items()}
        self.labels = {
            name: np.repeat(np.arange(len(class_names)), [len(files) for files in of.values()])
            for name, of in listings.items()
        }
        self.listed = {name: listing_digest(places[name], paths) for name, paths in self.paths.items()}
        record.keep_only(list(self.listed.values()))

    def open(self, name: str) -> Split:
        """One split; read whole where it isn't known what it holds."""
        common = None if self.side else self._common_side(name)
        side, exact = self.side or common or RESIZED, common is not None
        what = f"as {side}"
        known = self.record.get(self.listed[name], what)
        kept: Images | None = None
        if known is None:
            try:
                known, kept = self._read(name, side, exact)
            except OtherSizeError:
                self.record.put(self.listed[name], "side", 0)
                return self.open(name)
            if exact:
                self.record.put(self.listed[name], "side", side)
            self.record.put(self.listed[name], what, known)
        failures = {int(position): reason for position, reason in known["unreadable"].items()}
        self._refuse_unreadable(failures)
        readable = self._readable(name, failures)
        paths = [path for path, good in zip(self.paths[name], readable, strict=True) if good]
        images = kept if kept is not None else ImageFiles(paths, side, exact)
        labels = self.labels[name][readable]
        files = self._within(paths)
        skipped = self._within(self.paths[name][position] for position in failures)
        return Split(images, labels.astype(np.int64), np.arange(len(labels)), known["digest"], files, skipped)

    def _within(self, paths: Iterable[str]) -> tuple[str, ...]:
        return tuple(names_within(self.folder, paths))

    def _common_side(self, name: str) -> int | None:
        """The side that all images of all splits have, as far as is known before the split is read."""
        sides = {self._side(other) for other in self.places if other != name}
        known = self.record.get(self.listed[name], "side")
        sides.add(small_side(probe(self.paths[name])) if known is None else known or None)
        return sides.pop() if len(sides) == 1 else None

    def _side(self, name: str) -> int | None:
        """The side that all images of a split have; None if they differ, or are large."""
        known = self.record.get(self.listed[name], "side")
        if known is None:
            paths = self.paths[name]
            # A look at a few tells of most folders that they hold photographs.
            known = (small_side(probe(paths)) and small_side(paths)) or 0
            self.record.put(self.listed[name], "side", known)
        return known or None

    def _read(self, name: str, side: int, exact: bool) -> tuple[dict, Images | None]:
        """Digest of a split and its unreadable files, by position; and the pixels, if they are few."""
        failures: dict[int, str] = {}
        while True:
            readable = self._readable(name, failures)
            paths = [path for path, good in zip(self.paths[name], readable, strict=True) if good]
            shape = (len(paths), side, side, 3)
            small = np.prod(shape, dtype=np.int64) <= KEPT_BYTES
            pixels = np.empty(shape if small else (0, side, side, 3), np.uint8)
            found = self._digest(name, paths, pixels, readable, exact, side)
            if isinstance(found, str):
                known = {"digest": found, "unreadable": {str(p): reason for p, reason in failures.items()}}
                return known, pixels if small else None
            failures |= found
            self._refuse_unreadable(failures)

    def _digest(
        self, name: str, paths: list[str], pixels: np.ndarray, readable: np.ndarray, exact: bool, side: int
    ) -> str | dict[int, str]:
        """The digest of readable files; else why some are not, by position in the split."""
        positions = np.flatnonzero(readable)
        failures: dict[int, str] = {}

        def blocks() -> Iterator[np.ndarray]:
            start = 0
            with self.console.progress(f"Read {dataset_name(self.folder)}-{name}", len(paths)) as progress:
                for block, failed in read_chunks(paths, side, exact):
                    failures.update({int(positions[start + place]): reason for place, reason in failed.items()})
                    if failures and not self.skip_unreadable:
                        return
                    if len(pixels):
                        pixels[start : start + len(block)] = block
                    start += len(block)
                    progress.advance(len(block))
                    yield block

        shape = (len(paths), side, side, 3)
        digest = content_digest(blocks(), shape, self.labels[name][readable], self.class_names)
        return failures or digest

    def _refuse_unreadable(self, failures: dict[int, str]) -> None:
        if failures and not self.skip_unreadable:
            reason = next(iter(failures.values()))
            raise UserError(
                f"{reason}; mend or remove it, or train with --skip-unreadable, which leaves such files out"
            )

    def _readable(self, name: str, failures: dict[int, str]) -> np.ndarray:
        """Which files of a split (N,) can be read; a class of which none can is refused."""
        readable = np.ones(len(self.paths[name]), dtype=bool)
        readable[list(failures)] = False
        for label in set(range(len(self.class_names))) - set(self.labels[name][readable]):
            raise UserError(
                f"{self.places[name] / self.class_names[label]} holds no readable image; mend the files or remove the "
                "class"
            )
        return readable
