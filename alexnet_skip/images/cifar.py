"""CIFAR-10 and CIFAR-100: from a folder that has them, from their archive, or from their server."""

import shutil
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from alexnet_skip.system.console import Console
from alexnet_skip.system.download import download
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import file_digest

URL = "https://www.cs.toronto.edu/~kriz/"


@dataclass(frozen=True)
class Source:
    """What torchvision's datasets/cifar.py says of a dataset: its archive, that one's MD5, and the folder in it."""

    archive: str
    folder: str
    md5: str


SOURCES = {
    "cifar10": Source("cifar-10-python.tar.gz", "cifar-10-batches-py", "c58f30108f718f92721af3b95e74349a"),
    "cifar100": Source("cifar-100-python.tar.gz", "cifar-100-python", "eb9058c3a382ffc7106e4002c42a8d85"),
}

Arrays = tuple[np.ndarray, np.ndarray]


def load(
    name: str, data_dir: Path, console: Console, archive: Path | None = None, allow_download: bool = True
) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    """Load ``cifar10`` or ``cifar100`` from ``data_dir``, else from the archive, else from its server.

    Returns:
        Images uint8 (N, 32, 32, 3) and labels int64 (N,) of ``train`` and ``test``; class names.

    Raises:
        UserError: if it can't be had; lists the ways out.
    """
    source = SOURCES[name]
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
                f"another file: get it again from {URL}{source.archive}"
            )
    else:
        # Where torchvision leaves it, and a natural place to put it.
        nearby = data_dir / source.archive
        if nearby.is_file() and _md5(nearby) == source.md5:
            archive = nearby
        elif allow_download:
            try:
                download(URL + source.archive, nearby, source.md5, console, algorithm="md5")
                archive = nearby
            except OSError as error:
                failure += f" and can't be downloaded ({error})"
    if archive is not None:
        unpack(archive, data_dir)
        return _read(name, data_dir)
    raise UserError(
        f"--dataset {name}: {failure}\nDo one of these: --data-dir FOLDER that holds {source.folder}; --data-archive "
        f"{source.archive} from {URL}{source.archive} (MD5 {source.md5}); --dataset FOLDER with "
        "FOLDER/train/<class>/*; --dataset shapes, the built-in sample"
    )


def _read(name: str, data_dir: Path) -> tuple[dict[str, Arrays], tuple[str, ...]]:
    # Here, since it takes seconds and folders and shapes do without. It verifies the MD5 of every file it unpickles.
    from torchvision import datasets

    kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    parts = {split: kind(str(data_dir), train=split == "train") for split in ("train", "test")}
    arrays = {split: (part.data, np.array(part.targets, dtype=np.int64)) for split, part in parts.items()}
    return arrays, tuple(parts["train"].classes)


def _md5(archive: Path) -> str:
    try:
        return file_digest(archive, "md5")
    except OSError as error:
        raise UserError(
            f"--data-archive is {archive}, which can't be read ({error.strerror}); give the path of CIFAR's .tar.gz"
        ) from None


def unpack(archive: Path, target: Path) -> None:
    """Unpack the files of a tar archive, each put in its place whole, so that several processes may do it at once.

    Raises:
        UserError: before anything is written, if a member would leave the target folder or is a link or device.
    """
    try:
        with tarfile.open(archive) as tar:
            members = [member for member in tar.getmembers() if not member.isdir()]
            for member in members:
                path = PurePosixPath(member.name.replace("\\", "/"))
                inside = not path.is_absolute() and ".." not in path.parts and ":" not in member.name
                if not (inside and member.isfile()):
                    raise UserError(
                        f"--data-archive {archive} holds {member.name}, which must not be unpacked; don't use it"
                    )
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=target, prefix=".unpacking-") as temporary:
                for member in members:
                    content = tar.extractfile(member)
                    assert content is not None  # it is a regular file
                    whole = Path(temporary, "file")
                    with content, whole.open("wb") as file:
                        shutil.copyfileobj(content, file)
                    place = target / member.name
                    place.parent.mkdir(parents=True, exist_ok=True)
                    whole.replace(place)
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"--data-archive {archive} can't be unpacked into {target} ({error})") from None
