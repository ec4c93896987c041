"""A split of a dataset: images that may still lie in their files, labels, and the digest of both."""

import dataclasses
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from alexnet_skip.images.folder import ImageFiles


class Images(Protocol):
    """uint8 images (N, H, W, 3): an array, or files that are read when rows are asked for."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, H, W, 3)."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        """Rows (B, H, W, 3) of a slice or of positions (B,)."""
        ...


@dataclass(frozen=True)
class Split:
    """Images of one split.

    Attributes:
        images: uint8 (N, H, W, 3).
        labels: int64 (N,).
        index: stable sample ids (N,): positions in the whole split as read, without files that were left out.
        digest: SHA-256 of what defines the content; equal content has an equal digest.
        files: of a folder, the images' files (N,) within it, with slashes; none of other datasets.
        skipped: unreadable files that were left out.
    """

    images: Images
    labels: np.ndarray
    index: np.ndarray
    digest: str
    files: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of its images."""
        height, width = self.images.shape[1:3]
        return height, width

    def subset(self, positions: np.ndarray) -> "Split":
        """The samples at the given positions; they keep their ids."""
        chosen = hashlib.sha256(self.digest.encode() + np.asarray(positions, dtype="<i8").tobytes()).hexdigest()
        images = self.images
        # Files stay files: only which of them changes.
        images = images.take(positions) if isinstance(images, ImageFiles) else images[positions]
        files = self.files_at(positions)
        return Split(images, self.labels[positions], self.index[positions], chosen, files, self.skipped)

    def files_at(self, positions: np.ndarray) -> tuple[str, ...]:
        """The files of the samples at the given positions; none where there are no files."""
        return tuple(self.files[position] for position in positions) if self.files else ()


class LazySplits(Mapping[str, Split]):
    """Splits by name, each opened when it is first asked for.

    Args:
        openers: what opens each.
    """

    def __init__(self, openers: Mapping[str, Callable[[], Split]]) -> None:
        self._openers = openers
        self._opened: dict[str, Split] = {}

    def __getitem__(self, name: str) -> Split:
        if name not in self._opened:
            self._opened[name] = self._openers[name]()
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._openers)

    def __len__(self) -> int:
        return len(self._openers)

    def __contains__(self, name: object) -> bool:
        return name in self._openers  # without opening it


@dataclass(frozen=True)
class Dataset:
    """A dataset by name.

    Attributes:
        source: what to pass to :func:`~alexnet_skip.images.dataset.load_dataset` to get it again.
        splits: ``train`` always; ``test`` and ``val`` where they exist.
        left_out: what else the folder holds that is not read, in one line; empty if there is nothing.
        fallback_reason: why ``auto`` took the built-in sample; None otherwise.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    splits: Mapping[str, Split]
    left_out: str = ""
    fallback_reason: str | None = None

    def part(self, source_split: str, positions: np.ndarray) -> "Dataset":
        """A dataset of one split, which holds some samples (N,) of a stored one."""
        return dataclasses.replace(self, splits={source_split: self.splits[source_split].subset(positions)})


def make_split(images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> Split:
    """A whole split: ids count from 0, the digest covers pixels as they were read, labels and class names."""
    images, labels = np.ascontiguousarray(images), np.ascontiguousarray(labels, dtype="<i8")
    digest = content_digest([images], images.shape, labels, class_names)
    return Split(images, labels.astype(np.int64), np.arange(len(labels)), digest)


def content_digest(
    blocks: Iterable[np.ndarray], shape: Sequence[int], labels: np.ndarray, class_names: tuple[str, ...]
) -> str:
    """SHA-256 of pixels, labels and class names.

    Args:
        blocks: the images, in contiguous blocks of rows.
        shape: of all together.
    """
    digest = hashlib.sha256(repr((class_names, tuple(shape))).encode())
    for block in blocks:
        digest.update(block.data)
    digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return digest.hexdigest()


def read_rows(images: Images, rows: Iterable[slice]) -> Iterator[np.ndarray]:
    """The images (B, H, W, 3) of one slice of rows after the other; files are read ahead of their turn."""
    return images.stream(rows) if isinstance(images, ImageFiles) else (images[some] for some in rows)
