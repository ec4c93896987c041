"""What a command would find: images, weights, cached features, free memory and disk; nothing is fetched or written."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import torch

from alexnet_skip.features.cache import FeatureCache
from alexnet_skip.features.source import cache_entry
from alexnet_skip.images import cifar
from alexnet_skip.images.dataset import Dataset
from alexnet_skip.images.loading import load_images
from alexnet_skip.network.backbone import NUM_FEATURES
from alexnet_skip.network.weights import HUB_URL, AlexNetWeights, load_weights
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.system.console import Console, size
from alexnet_skip.system.errors import UserError

# Of the archives on CIFAR's server, and what is in them; bytes as the server tells them.

CIFAR_IMAGES = {"train": 50_000, "test": 10_000}

# torchvision's AlexNet_Weights.IMAGENET1K_V1, which tells 233.087 MB.
WEIGHTS_BYTES = 233_087_000


@dataclass(frozen=True)
class Images:
    """The images that a command would use.

    Attributes:
        place: where they are, or would come from.
        sizes: number of images by split.
        dataset: themselves, where they are here.
    """

    name: str
    place: str
    sizes: dict[str, int]
    num_classes: int
    image_size: tuple[int, int]
    dataset: Dataset | None

    def num_val(self, num_train: int) -> int:
        """Images held out: of train, or in a split of their own."""
        return self.sizes.get("val", self.sizes["train"] - num_train)

    @property
    def judged_split(self) -> tuple[str, str]:
        """Name of the split that a study is judged on, and of the stored one that holds it."""
        own = next((split for split in ("test", "val") if split in self.sizes), None)
        return (own, own) if own else ("val", "train")


def find_images(
    settings: DataSettings,
    console: Console,
    cache_dir: Path | None,
    *,
    val_fraction: float = 0.0,
    side: int | None = None,
) -> Images:
    """The images that the settings ask for; CIFAR that is not unpacked yet stays so.

    Args:
        val_fraction, side: as :func:`load_images` takes them.

    Raises:
        UserError: if they can't be had.
    """
    name = "cifar10" if settings.dataset == "auto" else settings.dataset
    if name in cifar.SOURCES and not cifar.here(name, settings.data_dir, settings.data_archive):
        return _cifar_to_come(name, settings, val_fraction)
    try:
        dataset = load_images(settings, console, cache_dir, val_fraction=val_fraction, side=side, read_only=True)
    except cifar.NotHereError:  # its files are damaged: the real run gets them anew
        images = _cifar_to_come(name, settings, val_fraction)
        return dataclasses.replace(images, place=f"damaged in {settings.data_dir}, {images.place}")
    num_bytes = sum(math.prod(split.images.shape) for split in dataset.splits.values())
    sizes = {split: len(content.labels) for split, content in dataset.splits.items()}
    place = f"{dataset.source}, {size(num_bytes)} decoded"
    return Images(dataset.name, place, sizes, len(dataset.class_names), dataset.splits["train"].image_size, dataset)


def _cifar_to_come(name: str, settings: DataSettings, val_fraction: float) -> Images:
    """CIFAR as it will be once it is unpacked."""
    sizes = dict(CIFAR_IMAGES)
    for split, limit in (("train", settings.limit_train), ("test", settings.limit_test)):
        sizes[split] = min(sizes[split], limit or sizes[split])
    if settings.train_on is not None:
        sizes["val"] = round(sizes["train"] * val_fraction)
        sizes["train"] = min(sizes["train"] - sizes["val"], settings.train_on)
    place = _cifar_place(name, settings)
    if settings.dataset == "auto" and "download" in place:
        place += "; where that fails, the built-in sample of drawn shapes is taken instead"
    return Images(name, place, sizes, 100 if name == "cifar100" else 10, (32, 32), None)


def _cifar_place(name: str, settings: DataSettings) -> str:
    source = cifar.SOURCES[name]
    archive = settings.data_archive or settings.data_dir / source.archive
    if archive.is_file():
        return f"{archive} ({size(archive.stat().st_size)}), to be unpacked into {settings.data_dir}"
    if settings.data_archive is not None:
        raise UserError(f"--data-archive is {archive}, which is no file; give the path of {source.archive}")
    first, *others = cifar.servers(name, settings.data_url)
    slow = f", or where that is slow from one of {len(others)} mirrors" if others else ""
    return f"not here: to be downloaded ({size(source.num_bytes)} from {first}{slow}; not tried)"


def find_weights(name: str) -> tuple[str, AlexNetWeights | None]:
    """Where the weights are or would come from, and themselves where they are here.

    Raises:
        UserError: if a named file can't be used.
    """
    try:
        weights = load_weights(name, allow_download=False)
        return f"{weights.source}, SHA-256 of the values {weights.sha256[:12]}…", weights
    except UserError:
        if name != "imagenet":
            raise
        return f"not here: to be downloaded ({size(WEIGHTS_BYTES)} from {HUB_URL}; not tried)", None


@dataclass(frozen=True)
class CacheState:
    """What of the features that a command needs is in the cache.

    Attributes:
        hits: blocks that are recorded as written; their checksums are verified only when they are used.
        blocks: those and the missing ones.
        missing_images: image passes through the convolutions that are missing, over both views.
        missing_bytes: disk that the missing arrays need.
    """

    hits: int = 0
    blocks: int = 0
    missing_images: int = 0
    missing_bytes: int = 0

    def __add__(self, other: "CacheState") -> "CacheState":
        return CacheState(*(mine + its for mine, its in zip(astuple(self), astuple(other), strict=True)))


def nothing_cached(num_samples: int, names: Sequence[str]) -> CacheState:
    """The state where no entry exists, or which one it would be is not known yet."""
    views = len({name.endswith("mirrored") for name in names})
    return CacheState(0, 0, views * num_samples, len(names) * num_samples * NUM_FEATURES * 2)


def look_into_cache(cache: FeatureCache, names: Sequence[str]) -> CacheState:
    """What of the named arrays an entry holds, without reading them."""
    known = cache.recorded_checksums()
    there = {name: len(known[name]) if (cache.folder / f"{name}.npy").is_file() else 0 for name in names}
    absent = [name for name in names if not (cache.folder / f"{name}.npy").is_file()]
    # Main and tap of one view come from one pass.
    lacking = {view: max(cache.num_blocks - n for name, n in there.items() if name.endswith("mirrored") == view)
               for view in {name.endswith("mirrored") for name in names}}  # fmt: skip
    share = sum(lacking.values()) / cache.num_blocks
    return CacheState(
        sum(there.values()), cache.num_blocks * len(names), round(share * cache.key.num_samples),
        len(absent) * cache.shape[0] * cache.shape[1] * 2,
    )  # fmt: skip


def look_into_cache_of(
    cache_dir: Path, dataset: Dataset, source_split: str, weights_digest: str, names: Sequence[str],
    device: torch.device,
) -> CacheState:  # fmt: skip
    """As :func:`look_into_cache`, of the entry that a split has, or would have."""
    return look_into_cache(cache_entry(cache_dir, dataset, source_split, weights_digest, device), names)
