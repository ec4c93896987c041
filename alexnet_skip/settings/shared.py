"""Settings that the scripts share: which images, and where their features are kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_skip.settings.command_line import require


@dataclass(frozen=True)
class DataSettings:
    """Which images to use."""

    dataset: str = "auto"
    """auto, cifar10, cifar100, shapes (built in), or a FOLDER with train/<class>/* and, where there is one, test/ or
    val/. auto takes CIFAR-10 if it is there or can be downloaded, otherwise shapes, and says so."""
    data_dir: Path = Path("data")
    """Folder that holds the CIFAR files, or receives them."""
    data_archive: Path | None = None
    """The official CIFAR .tar.gz, if you already have it: nothing is downloaded then."""
    skip_unreadable: bool = False
    """Leave out images that can't be read (they are listed) instead of stopping at the first."""
    limit_train: int | None = None
    """Use only this many training images (balanced over the classes)."""
    limit_test: int | None = None
    """Use only this many test images (balanced over the classes)."""

    def __post_init__(self) -> None:
        for flag, value in (("--limit-train", self.limit_train), ("--limit-test", self.limit_test)):
            require(value is None or value >= 1, flag, value, "at least 1")


@dataclass(frozen=True)
class CacheSettings:
    """Where the frozen features are kept: they are computed once and shared by training and evaluation."""

    cache_dir: Path = Path("cache")
    """Folder of the feature cache; about 18 KB an image, view and tensor."""
    cache: bool = True
    """Use the cache. Without it the features are computed again for every batch: slow, but no disk is used."""


def with_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Undo :func:`to_dict` for data settings: text to paths."""
    archive = values["data_archive"]
    return values | {"data_dir": Path(values["data_dir"]), "data_archive": Path(archive) if archive else None}
