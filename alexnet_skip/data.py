"""Where images come from: CIFAR-10/100, folders of images, and the built-in shapes."""

import hashlib
import socket
import tarfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from alexnet_skip import image_folder, shapes
from alexnet_skip.errors import UserError

# The archives' names, folders and MD5 as torchvision's datasets/cifar.py has them.
CIFAR = {
    "cifar10": ("cifar-10-python.tar.gz", "cifar-10-batches-py", "c58f30108f718f92721af3b95e74349a"),
    "cifar100": ("cifar-100-python.tar.gz", "cifar-100-python", "eb9058c3a382ffc7106e4002c42a8d85"),
}
CIFAR_URL = "https://www.cs.toronto.edu/~kriz/"
NETWORK_TIMEOUT_SECONDS = 15
SHAPES_TRAIN, SHAPES_TEST = 5000, 1000
# The validation split does not depend on --seed, so that runs with different seeds are compared on the same images.
SPLIT_SEED = 0


@dataclass(frozen=True)
class Split:
    """Images of one split.

    Attributes:
        images: uint8 (N, H, W, 3).
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
        fallback_reason: why ``auto`` took the built-in sample; None otherwise.
    """

    name: str
    source: str
    class_names: tuple[str, ...]
    splits: dict[str, Split]
    skipped: tuple[str, ...] = ()
    fallback_reason: str | None = None


def load_dataset(
    name: str,
    *,
    data_dir: Path = Path("data"),
    data_archive: Path | None = None,
    skip_unreadable: bool = False,
    download: bool = True,
) -> Dataset:
    """Load a dataset.

    Args:
        name: ``auto``, ``cifar10``, ``cifar100``, ``shapes``, or a folder. ``auto`` is CIFAR-10 if it is in
            ``data_dir``, in ``data_archive``, or can be downloaded, else shapes. A named dataset never falls back.

    Raises:
        UserError: if it can't be had; lists the ways out.
    """
    if name == "shapes":
        return _shapes()
    if name in CIFAR:
        return _cifar(name, data_dir, data_archive, download)
    if name == "auto":
        try:
            return _cifar("cifar10", data_dir, data_archive, download)
        except UserError as error:
            if data_archive is not None:
                raise  # what the user named is never replaced by something else
            return _shapes(fallback_reason=str(error).splitlines()[0])
    folder = Path(name)
    if not folder.is_dir():
        raise UserError(
            f"--dataset is {name}, which is neither auto, {', '.join(CIFAR)}, shapes nor an existing folder; "
            "a folder holds train/<class>/* and, where they exist, test/ or val/"
        )
    return _folder(folder, skip_unreadable)


def train_val_positions(labels: np.ndarray, val_fraction: float) -> tuple[np.ndarray, np.ndarray]:
    """Split positions into train and val, each class in the same proportion; the same for every seed.

    Raises:
        UserError: if a class would be left empty on one side.
    """
    if val_fraction == 0:
        return np.arange(len(labels)), np.arange(0)
    rng = np.random.default_rng(SPLIT_SEED)
    held_out = []
    for label in np.unique(labels):
        members = rng.permutation(np.flatnonzero(labels == label))
        count = round(len(members) * val_fraction)
        if not 0 < count < len(members):
            raise UserError(
                f"--val-fraction {val_fraction} leaves class {label} with {count} of {len(members)} images in val; "
                "each class needs at least one on both sides: choose another fraction, 0, or more images"
            )
        held_out.append(members[:count])
    val = np.sort(np.concatenate(held_out))
    return np.setdiff1d(np.arange(len(labels)), val), val


def limit_positions(labels: np.ndarray, limit: int) -> np.ndarray:
    """Positions of ``limit`` samples, as balanced over the classes as they allow, sorted."""
    rng = np.random.default_rng(SPLIT_SEED)
    order = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=np.int64)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        rank[members] = np.arange(len(members))
    # The first of every class, then the second of every class, and so on.
    return np.sort(order[np.argsort(rank[order], kind="stable")][:limit])


def _split(images: np.ndarray, labels: np.ndarray, class_names: tuple[str, ...]) -> Split:
    digest = hashlib.sha256("\n".join(class_names).encode())
    digest.update(str(images.shape).encode())
    digest.update(np.ascontiguousarray(images).data)
    digest.update(np.ascontiguousarray(labels, dtype="<i8").data)
    return Split(images, labels.astype(np.int64), np.arange(len(labels)), digest.hexdigest())


def _shapes(fallback_reason: str | None = None) -> Dataset:
    names = shapes.CLASS_NAMES
    splits = {
        "train": _split(*shapes.render(SHAPES_TRAIN, seed=1), names),
        "test": _split(*shapes.render(SHAPES_TEST, seed=2), names),
    }
    return Dataset("shapes", "shapes", names, splits, fallback_reason=fallback_reason)


def _cifar(name: str, data_dir: Path, archive: Path | None, download: bool) -> Dataset:
    file_name, folder, md5 = CIFAR[name]
    failure = f"{data_dir / folder} is not there"
    if archive is not None:
        _unpack(archive, data_dir, md5, file_name)
    # Nothing is imported, and no network asked, where the files are not there and must not be fetched.
    if (data_dir / folder).is_dir() or download:
        from torchvision import datasets

        kind = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
        before = socket.getdefaulttimeout()
        # Without a time limit a silent server would hang the run.
        socket.setdefaulttimeout(NETWORK_TIMEOUT_SECONDS)
        try:
            fetch = not (data_dir / folder).is_dir()
            parts = {split: kind(str(data_dir), train=split == "train", download=fetch) for split in ("train", "test")}
            names = tuple(parts["train"].classes)
            splits = {key: _split(part.data, np.array(part.targets), names) for key, part in parts.items()}
            return Dataset(name, name, names, splits)
        except (OSError, RuntimeError, EOFError, ValueError, KeyError) as error:
            failure = f"{data_dir / folder} can't be read or downloaded ({error})"
        finally:
            socket.setdefaulttimeout(before)
    raise UserError(
        f"--dataset {name}: {failure}\nDo one of these: --data-dir FOLDER that holds {folder}; --data-archive "
        f"{file_name} from {CIFAR_URL}{file_name} (MD5 {md5}); --dataset FOLDER with FOLDER/train/<class>/*; "
        "--dataset shapes, the built-in sample"
    )


def _unpack(archive: Path, data_dir: Path, md5: str, file_name: str) -> None:
    if not archive.is_file():
        raise UserError(f"--data-archive is {archive}, but there is no such file; give the path of {file_name}")
    with archive.open("rb") as file:
        found = hashlib.md5(usedforsecurity=False)
        while piece := file.read(1 << 20):
            found.update(piece)
    if found.hexdigest() != md5:
        raise UserError(
            f"--data-archive {archive} has MD5 {found.hexdigest()}, but {file_name} has {md5}; it is damaged or "
            f"another file: get it again from {CIFAR_URL}{file_name}"
        )
    extract_safely(archive, data_dir)


def extract_safely(archive: Path, target: Path) -> None:
    """Unpack regular files and folders of a tar archive.

    Raises:
        UserError: before anything is written, if a member would leave the target folder or is a link or device.
    """
    try:
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
            for member in members:
                path = PurePosixPath(member.name.replace("\\", "/"))
                inside = not path.is_absolute() and ".." not in path.parts and ":" not in member.name
                if not inside or not (member.isfile() or member.isdir()):
                    raise UserError(
                        f"--data-archive {archive} holds {member.name}, which must not be unpacked; don't use it"
                    )
            target.mkdir(parents=True, exist_ok=True)
            for member in members:
                tar.extract(member, target, filter="data") if hasattr(tarfile, "data_filter") else tar.extract(
                    member, target
                )
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"--data-archive {archive} can't be unpacked ({error}); get it again") from None


def _folder(folder: Path, skip_unreadable: bool) -> Dataset:
    listings = {}
    for split in ("train", "test", "val"):
        if (folder / split).is_dir():
            listings[split] = image_folder.list_images(folder / split)
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
                f"{folder / split} and {folder / 'train'} differ in the classes {different}; make them equal"
            )
        empty = [name for name, files in listing.items() if not files]
        if empty:
            raise UserError(
                f"{folder / split / empty[0]} holds no image; add some or remove the class from every split"
            )
    size = image_folder.common_size([f for listing in listings.values() for files in listing.values() for f in files])
    skipped: list[str] = []
    splits = {s: _read_split(folder, listing, size, names, skip_unreadable, skipped) for s, listing in listings.items()}
    return Dataset(folder.resolve().name, str(folder.resolve()), names, splits, tuple(skipped))


def _read_split(
    folder: Path,
    listing: dict[str, list[Path]],
    size: int | None,
    names: tuple[str, ...],
    skip_unreadable: bool,
    skipped: list[str],
) -> Split:
    paths = [path for files in listing.values() for path in files]
    labels = np.repeat(np.arange(len(names)), [len(files) for files in listing.values()])
    images: np.ndarray | None = None
    readable = np.ones(len(paths), dtype=bool)
    for position, (path, result) in enumerate(zip(paths, image_folder.read_all(paths, size), strict=True)):
        if isinstance(result, str):
            if not skip_unreadable:
                raise UserError(f"{result}; mend or remove it, or give --skip-unreadable to leave such files out")
            readable[position] = False
            skipped.append(path.relative_to(folder).as_posix())
            continue
        if images is None:
            images = np.empty((len(paths), *result.shape), np.uint8)
        images[position] = result
    if images is None or len(np.unique(labels[readable])) < len(names):
        raise UserError(f"--dataset {folder}: a class has no readable image; mend the files or remove the class")
    if not readable.all():
        images, labels = images[readable], labels[readable]
    return _split(images, labels, names)
