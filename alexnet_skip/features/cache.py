"""The feature cache on disk: extracted once per image, verified block by block, completed where it lacks something.

A cache entry is a folder of fp16 arrays (N, 9216): ``main``, ``tap`` and their mirrored views. It is worked on in
blocks of rows. A block whose checksum is missing or wrong is extracted, any other is kept: a first pass, an interrupted
pass, a damaged file and a tensor that was not needed before are all the same case.
"""

import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from alexnet_skip.images.split import Images, read_rows
from alexnet_skip.network.backbone import (
    IMAGE_SIZE,
    IMAGENET_DEFAULT_MEAN,
    IMAGENET_DEFAULT_STD,
    NUM_FEATURES,
    FrozenAlexNet,
)
from alexnet_skip.network.layers import TAP_LAYER
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import release_pages, replacing, reserve, write_json
from alexnet_skip.system.tensors import to_device

ARRAYS = ("main", "tap", "main_mirrored", "tap_mirrored")

# One block is extracted, checksummed and lost at a time; fixed, so that the number of processes never changes a result.
BLOCK_ROWS = 512

# What computed the entries whose key does not say it: they are from before it did, keep their names and stay valid. It
# stays as it is when CPU_IMPLEMENTATION becomes another.
UNRECORDED_IMPLEMENTATION = "CPU: first convolution folded with the resize, Winograd of 4×4 outputs, version 1"

Report = Callable[[str], None]


@dataclass(frozen=True)
class FeatureKey:
    """Everything that decides the features' values: two caches with equal keys hold equal numbers."""

    data_digest: str
    weights_digest: str
    num_samples: int
    image_size: int = IMAGE_SIZE
    mean: tuple[float, ...] = IMAGENET_DEFAULT_MEAN
    std: tuple[float, ...] = IMAGENET_DEFAULT_STD
    resize: str = "bilinear, antialias when down-scaling, to a square"
    tap: str = f"features[{TAP_LAYER}] before ReLU, AdaptiveAvgPool2d(6)"
    dtype: str = "float16"
    block_rows: int = BLOCK_ROWS
    format_version: int = 1
    implementation: str = UNRECORDED_IMPLEMENTATION

    def as_json(self) -> dict:
        """The key as it reads back from a manifest: without an implementation where that is the unrecorded one."""
        values = asdict(self)
        if self.implementation == UNRECORDED_IMPLEMENTATION:
            del values["implementation"]
        return json.loads(json.dumps(values))

    @property
    def short(self) -> str:
        """First 12 hex digits of the key's digest: the name of the cache entry."""
        return hashlib.sha256(json.dumps(self.as_json(), sort_keys=True).encode()).hexdigest()[:12]


def array_names(tap: bool, mirrored: bool) -> tuple[str, ...]:
    """Names of the arrays that a run needs."""
    return tuple(n for n in ARRAYS if (tap or not n.startswith("tap")) and (mirrored or not n.endswith("mirrored")))


class FeatureCache:
    """One entry of the feature cache.

    Args:
        folder: where the entry is, made if it is missing.
        key: what the features were, or will be, computed from.
    """

    def __init__(self, folder: Path, key: FeatureKey) -> None:
        self.folder = folder
        self.key = key
        self.num_blocks = -(-key.num_samples // BLOCK_ROWS)
        self.shape = (key.num_samples, NUM_FEATURES)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.npy"

    def progress_file(self, rank: int) -> Path:
        """Where a process records the blocks that it has written, until the manifest is."""
        return self.folder / f"progress-{rank:04d}.jsonl"

    def open(self, name: str, mode: str = "r") -> np.ndarray:
        """Memory-map one array (N, 9216), fp16."""
        return np.lib.format.open_memmap(self._path(name), mode=mode)

    def rows(self, block: int) -> slice:
        """Which rows a block is made of; the last one may be shorter."""
        return slice(block * BLOCK_ROWS, min((block + 1) * BLOCK_ROWS, self.key.num_samples))

    def block_length(self, block: int) -> int:
        """How many rows a block has."""
        return self.rows(block).stop - self.rows(block).start

    def _intact(self, name: str) -> bool:
        """Whether the array's file has the right form; its values are checked block by block."""
        try:
            array = self.open(name)
            return array.shape == self.shape and array.dtype == np.float16
        except (OSError, ValueError):
            return False

    def prepare(self, names: Sequence[str], report: Report) -> None:
        """Make room for the named arrays; to be called by one process, before any block is written.

        Raises:
            UserError: if the disk is too small.
            OSError: if it fills up meanwhile.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        for stale in self.folder.glob("*.tmp"):
            with suppress(OSError):  # from a disk that is read-only by now; whatever lacks will say so
                stale.unlink()
        absent = [name for name in names if not self._intact(name)]
        need = len(absent) * self.shape[0] * self.shape[1] * 2
        free = shutil.disk_usage(self.folder).free
        if absent:
            report(f"Feature cache {self.folder}: {need / 2**20:,.0f} MiB for {', '.join(absent)}")
        if need > free:
            raise UserError(
                f"--cache-dir {self.folder.parent} has {free / 2**20:,.0f} MiB free, but the features need "
                f"{need / 2**20:,.0f} MiB; choose another --cache-dir, or --no-cache of train.py, or make room"
            )
        for name in absent:
            with replacing(self._path(name)) as temporary:
                array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=self.shape)
                del array  # close the map: Windows refuses to replace an open file
                reserve(temporary)

    def recorded_checksums(self) -> dict[str, dict[int, int]]:
        """CRC-32 of every block known to be written: the manifest's, then those of an unfinished pass."""
        known: dict[str, dict[int, int]] = {name: {} for name in ARRAYS}
        for name, values in self._manifest().items():
            known[name].update(enumerate(values))
        for path in sorted(self.folder.glob("progress-*.jsonl")):
            for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
                with suppress(ValueError, KeyError, TypeError):  # the line that an interruption cut off
                    name, block, crc = json.loads(line)
                    known[name][block] = crc
        return known

    def _manifest(self) -> dict[str, list[int]]:
        """Checksums of the arrays that the manifest calls complete; none where it is of no use."""
        try:
            manifest = json.loads((self.folder / "manifest.json").read_text(encoding="utf-8"))
            arrays = {name: list(manifest["crc32"].get(name, ())) for name in ARRAYS}
            return arrays if manifest["key"] == self.key.as_json() else {}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return {}

    def is_finished(self, names: Sequence[str]) -> bool:
        """Whether the manifest has these arrays: not where a pass was killed between its last block and that."""
        return all(map(self._manifest().get, names))

    def missing(self, names: Sequence[str], blocks: Iterable[int]) -> dict[int, list[str]]:
        """Blocks (of those given) to extract, with the arrays that lack them; every recorded checksum is verified."""
        known = self.recorded_checksums()
        maps = {name: self.open(name) for name in names}
        wanted: dict[int, list[str]] = {}
        for block in blocks:
            rows = self.rows(block)
            lacking = [
                name
                for name in names
                if block not in known[name]  # nothing is read where there is nothing to hold it against
                or known[name][block] != zlib.crc32(np.ascontiguousarray(maps[name][rows]).data)
            ]
            if lacking:
                wanted[block] = lacking
            for array in maps.values():
                release_pages(array)
        return wanted

    def write(self, name: str, block: int, values: np.ndarray, array: np.ndarray) -> str:
        """Store one block; returns the line that records it, to be appended to the pass's progress file."""
        array[self.rows(block)] = values
        return json.dumps([name, block, zlib.crc32(np.ascontiguousarray(values).data)]) + "\n"

    def finish(self) -> None:
        """Write the manifest, which makes the entry complete, and drop the progress files; one process only.

        But where an array was begun and is not complete: the next pass over it goes on with the blocks that there are.
        """
        known = self.recorded_checksums()
        complete = {n: [c for _, c in sorted(v.items())] for n, v in known.items() if len(v) == self.num_blocks}
        write_json(self.folder / "manifest.json", {"key": self.key.as_json(), "crc32": complete})
        if any(0 < len(blocks) < self.num_blocks for blocks in known.values()):
            return
        for path in self.folder.glob("progress-*.jsonl"):
            path.unlink()


def extract(
    cache: FeatureCache, images: Images, backbone: FrozenAlexNet, wanted: dict[int, list[str]], rank: int,
    advance: Callable[[int], None],
) -> None:  # fmt: skip
    """Extract the wanted blocks into the cache.

    Args:
        images: uint8 images (N, H, W, 3) of the whole entry.
        wanted: blocks to extract and the arrays to write of each (:meth:`FeatureCache.missing`).
        rank: this process, which names its progress file.
        advance: called with the number of images after each block.
    """
    arrays = {name: cache.open(name, "r+") for name in {n for names in wanted.values() for n in names}}
    with cache.progress_file(rank).open("a", encoding="utf-8") as progress:
        pixels = read_rows(images, [cache.rows(block) for block in wanted])
        for (block, names), rows in zip(wanted.items(), pixels, strict=True):
            for name, values in compute_features(backbone, rows, names).items():
                progress.write(cache.write(name, block, values, arrays[name]))
                release_pages(arrays[name])
            progress.flush()
            advance(len(rows))
    for array in arrays.values():
        array.flush()  # type: ignore[attr-defined]


def compute_features(backbone: FrozenAlexNet, images: np.ndarray, names: Iterable[str]) -> dict[str, np.ndarray]:
    """The named arrays (B, 9216) in fp16 for uint8 images (B, H, W, 3)."""
    device = next(backbone.parameters()).device
    results: dict[str, np.ndarray] = {}
    for view in ("", "_mirrored"):
        wanted = [name for name in names if name.removesuffix("_mirrored") + view == name]
        if not wanted:
            continue
        batch = to_device(np.ascontiguousarray(images), device)
        with torch.inference_mode():
            main, tap = backbone(batch.flip(2) if view else batch)
            for name in wanted:
                values = main if name.startswith("main") else tap
                results[name] = values.flatten(1).half().cpu().numpy()
    return results
