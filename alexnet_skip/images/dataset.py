"""Where images come from: CIFAR-10/100, folders of images, and the built-in shapes."""

from pathlib import Path

from alexnet_skip.images import cifar, shapes
from alexnet_skip.images.archive import ArchiveError
from alexnet_skip.images.folder_record import FolderRecord
from alexnet_skip.images.image_folder import open_folder
from alexnet_skip.images.split import Dataset, Split, make_split
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

__all__ = ["Dataset", "Split", "load_dataset", "make_split"]

SHAPES_TRAIN, SHAPES_TEST = 5000, 1000


def load_dataset(
    name: str,
    *,
    data_dir: Path = Path("data"),
    data_archive: Path | None = None,
    data_url: str | None = None,
    skip_unreadable: bool = False,
    cache_dir: Path | None = None,
    verify_images: bool = False,
    side: int | None = None,
    read_only: bool = False,
    console: Console | None = None,
) -> Dataset:
    """Load a dataset; the splits of a folder are read when they are asked for.

    Args:
        name: ``auto``, ``cifar10``, ``cifar100``, ``shapes``, or a folder. ``auto`` is CIFAR-10 if it is in
            ``data_dir``, in ``data_archive``, or can be downloaded, else shapes. A named dataset never falls back, nor
            does anything read-only.
        data_url: the only server to download from.
        cache_dir: where it is kept what is known of a folder, so that it need not be read again; None keeps nothing.
        verify_images: read a folder's images although nothing seems to have changed.
        side: height and width that a folder's images are read at, as those of a run were, whatever files lie there
            now; without it that of small ones which all have it, and 224 of others.
        read_only: download and unpack nothing, and keep nothing.
        console: shows the progress of downloads and reading; none is shown without one.

    Raises:
        UserError: if it can't be had; lists the ways out.
    """
    if name == "shapes":
        return _shapes()
    console = console or Console(quiet=True)

    def read(folder: Path, side: int | None = None) -> Dataset:
        record = FolderRecord(cache_dir, folder, read_only=read_only, verify=verify_images)
        return open_folder(folder, record, console, side=side, skip_unreadable=skip_unreadable)

    if name == "auto" or name in cifar.SOURCES:
        kind = "cifar10" if name == "auto" else name
        try:
            if place := cifar.pictures(kind, data_dir, data_archive, console, read_only=read_only):
                return _cifar_pictures(place, read(place))
            urls = cifar.servers(kind, data_url)
            arrays, names = cifar.load(kind, data_dir, console, data_archive, urls, read_only=read_only)
            splits = {split: make_split(*content, names) for split, content in arrays.items()}
            return Dataset(kind, kind, names, splits)
        except (cifar.NotHereError, ArchiveError):
            raise  # what the real run would do is not known; or CIFAR is here, and shapes are not what is wanted
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
    return read(folder, side)


def _shapes(fallback_reason: str | None = None) -> Dataset:
    names = shapes.CLASS_NAMES
    splits = {
        "train": make_split(*shapes.render(SHAPES_TRAIN, seed=1), names),
        "test": make_split(*shapes.render(SHAPES_TEST, seed=2), names),
    }
    return Dataset("shapes", "shapes", names, splits, fallback_reason=fallback_reason)


def _cifar_pictures(place: Path, dataset: Dataset) -> Dataset:
    if dataset.class_names != cifar.CLASSES:
        raise UserError(
            f"{place} has the classes {', '.join(dataset.class_names)}, but CIFAR-10 has {', '.join(cifar.CLASSES)}; "
            f"give it by its path (--dataset {place}) if it is what you want, or remove it"
        )
    return dataset
