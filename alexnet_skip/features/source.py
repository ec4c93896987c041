"""Frozen features of one split, served by row: from the cache on disk, or live from the images."""

from collections.abc import Sequence
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from alexnet_skip.features.cache import FeatureCache, FeatureKey, array_names, extract
from alexnet_skip.features.exchange import Crew, crew_of, divide, exchange
from alexnet_skip.images.split import Dataset, Images
from alexnet_skip.network.backbone import FrozenAlexNet, implementation
from alexnet_skip.network.fp32_products import fp32_products
from alexnet_skip.system.console import Console
from alexnet_skip.system.files import part_of_name, release_pages
from alexnet_skip.system.locks import open_for_writing
from alexnet_skip.system.tensors import free_device_bytes, to_device

# Part of the free device memory that features may fill; the rest is for the head, its optimizer and activations.
RESIDENT_FRACTION = 0.5
# Pages of a memory-mapped array are given back each time so many rows were read, so that what they occupy does not grow
# with the array: with a page, Linux maps its neighbours, up to 2 MiB for each row (measured).
PIECE_ROWS = 32


class CachedFeatures:
    """Features by row. Row r is sample r % N in view r // N (0 as it is, 1 mirrored).

    Args:
        views: (main, tap or None) of each view: fp16 arrays (N, width), memory-mapped or not.
        device: where batches go. On a GPU with room for them the arrays themselves are moved there at the first fetch:
            not before, since features whose coordinates are in the cache are never fetched.
        folder: the cache entry that the arrays lie in, if they do.
    """

    def __init__(
        self,
        views: Sequence[tuple[np.ndarray, np.ndarray | None]],
        device: torch.device,
        folder: Path | None = None,
    ) -> None:
        self.device = device
        self.folder = folder
        self.num_samples = len(views[0][0])
        self.views = views

    @cached_property
    def _resident(self) -> dict[int, Tensor]:
        """The arrays on the device by their id, or nothing if they have no room there."""
        arrays = [array for view in self.views for array in view if array is not None]
        if sum(array.nbytes for array in arrays) >= RESIDENT_FRACTION * free_device_bytes(self.device):
            return {}
        return {id(array): torch.from_numpy(np.array(array)).to(self.device) for array in arrays}

    def fetch(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Features and tap (B, width), fp32 on the device, of rows (B,)."""
        mains = [view[0] for view in self.views]
        taps = [view[1] for view in self.views if view[1] is not None]
        return self._gather(mains, rows), self._gather(taps, rows) if taps else None

    def _gather(self, arrays: Sequence[np.ndarray], rows: np.ndarray) -> Tensor:
        view, sample = np.divmod(rows, self.num_samples)
        if self._resident:
            index = to_device(sample, self.device)
            batch = self._resident[id(arrays[0])][index]
            if len(arrays) > 1:
                mirrored = to_device(view == 1, self.device)
                batch = torch.where(mirrored[:, None], self._resident[id(arrays[1])][index], batch)
            return batch.float()
        values = np.empty((len(rows), arrays[0].shape[1]), dtype=arrays[0].dtype)
        for v in np.unique(view):
            places = np.flatnonzero(view == v)
            for start in range(0, len(places), PIECE_ROWS):
                some = places[start : start + PIECE_ROWS]
                values[some] = arrays[v][sample[some]]
                release_pages(arrays[v])
        return to_device(values, self.device).float()


class LiveFeatures:
    """The same as :class:`CachedFeatures`, computed from the images at every fetch (``--no-cache``).

    Args:
        images: uint8 images (N, H, W, 3).
    """

    def __init__(self, images: Images, backbone: FrozenAlexNet, device: torch.device) -> None:
        self.device = device
        self.num_samples = len(images)
        self.images = images
        self.backbone = backbone

    def fetch(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Features and tap (B, 9216), fp32 on the device, of rows (B,)."""
        view, sample = np.divmod(rows, self.num_samples)
        images = self.images[sample]
        images[view == 1] = images[view == 1][:, :, ::-1]
        with torch.no_grad():
            main, tap = self.backbone(to_device(images, self.device))
        return main.flatten(1), tap.flatten(1)


@dataclass(frozen=True)
class FrozenFeatures:
    """The frozen features of one backbone: where they are kept, and who computes what is lacking there.

    They are kept under the digest of the backbone's own weights, so that they are no other backbone's.

    Attributes:
        cache_dir: folder of the cache, or None to compute features live.
    """

    backbone: FrozenAlexNet
    cache_dir: Path | None
    accelerator: Accelerator
    console: Console

    def open(
        self, dataset: Dataset, source_split: str, *, tap: bool, mirrored: bool = False
    ) -> CachedFeatures | LiveFeatures:
        """Features of a stored split; what the cache lacks is extracted first, by all processes together.

        Args:
            tap: whether the pooled tap is needed.
            mirrored: whether the mirrored view is needed.

        Raises:
            UserError: if the disk is too small, or the folder can't be made.
        """
        images = dataset.splits[source_split].images
        if self.cache_dir is None:
            return LiveFeatures(images, self.backbone, self.accelerator.device)
        cache = cache_entry(
            self.cache_dir, dataset, source_split, self.backbone.weights_digest, self.accelerator.device
        )
        names = array_names(tap, mirrored)
        crew = crew_of(self.cache_dir, self.accelerator)
        with ExitStack() as lock:
            if crew.rank == 0:
                lock.enter_context(open_for_writing(cache.folder, self.console.line))
                cache.prepare(names, self.console.line)
            self.accelerator.wait_for_everyone()
            self._extract_missing(cache, names, images, f"{dataset.name}-{source_split}", crew)
        maps = {array: cache.open(array) for array in names}
        views = [(maps["main"], maps.get("tap"))]
        if mirrored:
            views.append((maps["main_mirrored"], maps.get("tap_mirrored")))
        # What is derived from the features is kept beside them only where all would find the same there.
        return CachedFeatures(views, self.accelerator.device, cache.folder if crew.shared else None)

    def open_part(
        self, dataset: Dataset, source_split: str, positions: np.ndarray, *, tap: bool, mirrored: bool = False
    ) -> CachedFeatures | LiveFeatures:
        """Features of some samples (N,) of a stored split, kept by themselves: row r is of ``positions[r]``.

        For convolutions whose features of the other samples nobody needs. Raises as :meth:`open`.
        """
        return self.open(dataset.part(source_split, positions), source_split, tap=tap, mirrored=mirrored)

    def _extract_missing(
        self, cache: FeatureCache, names: Sequence[str], images: Images, title: str, crew: Crew
    ) -> None:
        """Extract the blocks that no cache has, each process its share, and exchange what single disks lack."""
        accelerator, console = self.accelerator, self.console
        with console.working(f"{title}: checking what is in the cache"):
            wanted, division = cache.missing(names, range(crew.rank, cache.num_blocks, crew.size)), None
        if not crew.shared:
            division = divide(gather_object([wanted]), crew.disks)
            wanted = division.extract[accelerator.process_index]
        total = int(accelerator.reduce(torch.tensor(len(wanted), device=accelerator.device), "sum").item())
        if total:
            blocks, known = cache.num_blocks, cache.num_blocks - total
            console.line(f"{title}: extracting {total} of {blocks} blocks ({known} are in the cache and intact)")
            with console.progress(f"Extract {title}", sum(cache.block_length(block) for block in wanted)) as progress:
                extract(cache, images, self.backbone, wanted, crew.rank, progress.advance)
            accelerator.wait_for_everyone()
        if division and division.send:
            console.line(f"{title}: exchanging {len({block for block, _ in division.send})} blocks between disks")
            exchange(cache, division, crew, accelerator)
        sent = division is not None and bool(division.send)
        # A kill after the last block leaves an entry without a manifest, which would be taken for nobody's.
        if crew.rank == 0 and (total or sent or not cache.is_finished(names)):
            cache.finish()
        if not total and not sent:
            console.line(f"{title}: all features are in the cache ({cache.folder})")
        accelerator.wait_for_everyone()


def cache_entry(
    cache_dir: Path, dataset: Dataset, source_split: str, weights_digest: str, device: torch.device
) -> FeatureCache:
    """The cache entry that a stored split has, or would have, of a backbone's weights on a device."""
    split = dataset.splits[source_split]
    key = FeatureKey(split.digest, weights_digest, len(split.images), implementation=implementation(device))
    return FeatureCache(cache_dir / f"{part_of_name(dataset.name)}-{source_split}-{key.short}", key)


# Rows predicted at once; fixed, so that the number of processes never changes a result.
PREDICT_ROWS = 1024


class FeatureSource(Protocol):
    """What the loops need of features: :class:`alexnet_skip.features.source.CachedFeatures` and its relatives."""

    num_samples: int

    def fetch(self, rows: np.ndarray) -> tuple[Tensor | None, ...]:
        """The model's inputs for rows (B,)."""
        ...


def predict(
    model: nn.Module, source: FeatureSource, positions: np.ndarray, accelerator: Accelerator, *, tta: bool = False
) -> np.ndarray:
    """Logits (N, num_classes) of the samples at ``positions`` (N,), each computed exactly once, on every process.

    Args:
        tta: average the logits of both views.

    Raises:
        RuntimeError: if a sample's logits are missing after gathering, or there twice.
    """
    # Without the distributed wrapper: its forward passes must be equally many on every process, ours need not be.
    # Not by accelerator.unwrap_model, which has torch import its compiler: a third of an evaluation's start (measured).
    model = (model.module if isinstance(model, DistributedDataParallel) else model).eval()
    shares: list[tuple[int, np.ndarray]] = []
    kind = accelerator.device.type
    starts = range(0, len(positions), PREDICT_ROWS)
    for start in starts[accelerator.process_index :: accelerator.num_processes]:
        rows = positions[start : start + PREDICT_ROWS]
        # Judged without TF32, wherever that is done; a CPU's faster products are fp32 anyway, or said not to be.
        with torch.no_grad(), fp32_products(kind) if kind != "cpu" else nullcontext():
            logits = model(*source.fetch(rows)).float()
            if tta:
                logits = (logits + model(*source.fetch(rows + source.num_samples)).float()) / 2
        shares.append((start, logits.cpu().numpy()))
    gathered = dict(gather_object(shares))
    if sorted(gathered) != list(starts):
        raise RuntimeError(f"predictions of {len(gathered)} blocks arrived, {len(starts)} were expected")
    return np.concatenate([gathered[start] for start in starts])
