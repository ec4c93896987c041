"""Train in a PCA basis: the head on coordinates, where they come from, and the basis kept beside the features."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from safetensors.torch import load
from torch import Tensor

from alexnet_skip.devices.agreement import on_main_process
from alexnet_skip.features.basis import EMPHASIS, Basis, fit_basis, joined_in_basis
from alexnet_skip.features.source import CachedFeatures, LiveFeatures
from alexnet_skip.settings.shared import SkipMode
from alexnet_skip.system.console import Console
from alexnet_skip.system.files import file_crc32, release_pages, replacing, reserve, write_json
from alexnet_skip.system.locks import folder_lock
from alexnet_skip.system.machine import writable
from alexnet_skip.system.tensors import save_tensors

# Rows that the basis is fitted on. Any basis folds exactly; more rows choose it a little better (measured: 0 to half a
# point of top-1 over 5,000).
BASIS_ROWS = 15_000
PROJECT_ROWS = 2048


class CoordinateSource:
    """Principal coordinates of features, projected at every fetch."""

    def __init__(self, source: LiveFeatures | CachedFeatures, mode: SkipMode, basis: Basis) -> None:
        self.source = source
        self.num_samples = source.num_samples
        self.skip = joined_in_basis(mode)
        self.keep_tap = mode == "conv"
        self.basis = Basis(basis.mean.to(source.device), basis.projection.to(source.device))

    def fetch(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Coordinates (B, K) and, for ``conv``, the tap (B, 9216) of rows (B,)."""
        main, tap = self.source.fetch(rows)
        with torch.no_grad():
            return self.basis.transform(self.skip(main, tap)), tap if self.keep_tap else None


@dataclass(frozen=True)
class KeptBasis:
    """A basis and its coordinates as they are kept beside features.

    Attributes:
        sample: the rows (M,) that it is fitted on.
        key: all that decides it.
        paths: its files by kind.
    """

    sample: np.ndarray
    key: dict[str, Any]
    paths: dict[str, Path]

    @property
    def recorded(self) -> bool:
        """Whether it is recorded as written; its checksums are verified only when it is used."""
        known = self._record()
        same = isinstance(known, dict) and known.get("key") == self.key
        return same and all(path.is_file() for path in self.paths.values())

    @property
    def intact(self) -> bool:
        """Whether its files are those that were written."""
        try:
            checksums = [file_crc32(self.paths["safetensors"]), file_crc32(self.paths["npy"])]
        except OSError:
            return False
        return self._record() == {"key": self.key, "crc32": checksums}

    def _record(self) -> Any:
        try:
            return json.loads(self.paths["json"].read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None


def kept_basis(
    folder: Path, positions: np.ndarray, num_samples: int, mode: SkipMode, num_components: int, *, mirrored: bool
) -> KeptBasis:
    """The basis that a training set has, or would have, beside features.

    Args:
        folder: of the features' cache entry.
        positions: the training samples (N,).
        num_samples: samples in the whole split.
        mirrored: whether it is fitted on both views, alternating.
    """
    sample = np.random.default_rng(0).permutation(positions)[:BASIS_ROWS]
    if mirrored:
        sample = sample + num_samples * (np.arange(len(sample)) % 2)
    # conv's are those of identity, and lie there once.
    key: dict[str, Any] = {"mode": joined_in_basis(mode).mode, "components": num_components, "mirrored": mirrored}
    key |= {"version": 4, "emphasis": EMPHASIS}
    key["rows"] = hashlib.sha256(np.ascontiguousarray(sample, dtype="<i8").data).hexdigest()
    stem = "basis-" + hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]
    return KeptBasis(sample, key, {kind: folder / f"{stem}.{kind}" for kind in ("safetensors", "npy", "json")})


def open_basis(
    source: CachedFeatures | LiveFeatures,
    positions: np.ndarray,
    mode: SkipMode,
    num_components: int,
    accelerator: Accelerator,
    console: Console,
    *,
    mirrored: bool,
) -> tuple[Basis, CachedFeatures | CoordinateSource]:
    """The basis of a training set and the coordinates of all its rows.

    Both are kept beside features from the cache, unless that lies on a disk that can't be written.

    Args:
        positions: the training samples; the basis is fitted on up to 15,000 of them.
        mirrored: whether to fit on both views, alternating.
    """
    skip = joined_in_basis(mode)
    # Beside features that are kept nowhere there is no place, and none is used.
    folder = (source.folder if isinstance(source, CachedFeatures) else None) or Path()
    entry = kept_basis(folder, positions, source.num_samples, mode, num_components, mirrored=mirrored)
    sample, paths = entry.sample, entry.paths

    def fit() -> Basis:
        def parts() -> Iterator[Tensor]:
            for start in range(0, len(sample), PROJECT_ROWS):
                yield skip(*source.fetch(sample[start : start + PROJECT_ROWS])).cpu()

        most = min(num_components, len(sample) - 1)
        with console.working(f"PCA basis: {most} coordinates from {len(sample):,} images"):
            # What is computed from the images anew at every pass is kept instead.
            kept = None if isinstance(source, CachedFeatures) else list(parts())
            return fit_basis(lambda: kept or parts(), num_components, seed=0)

    def keep(cached: CachedFeatures, folder: Path) -> bool:
        """Make the entry where it is not there; whether it is then."""
        if entry.intact:
            return True
        with folder_lock(folder, console.line):
            if entry.intact:  # somebody else has made it while this one waited
                return True
            if not writable(folder):
                console.line(f"{folder} can't be written: the PCA basis is not kept for other runs", style="yellow")
                return False
            basis = fit()
            paths["json"].unlink(missing_ok=True)  # complete or absent: the record comes last
            _write_coordinates(entry, CoordinateSource(source, mode, basis), len(cached.views), console)
            return True

    if isinstance(source, CachedFeatures) and source.folder is not None:
        cached, folder = source, source.folder
        if on_main_process(accelerator, lambda: keep(cached, folder)):
            # Not load_file, whose tensors stay maps of the file: it could not be replaced while they live.
            loaded = load(paths["safetensors"].read_bytes())
            coordinates = np.load(paths["npy"], mmap_mode="r")
            taps = [view[1] if mode == "conv" else None for view in source.views]
            n = source.num_samples
            views = [(coordinates[v * n : (v + 1) * n], tap) for v, tap in enumerate(taps)]
            return Basis(loaded["mean"], loaded["projection"]), CachedFeatures(views, source.device)

    basis = fit()
    for tensor in (basis.mean, basis.projection):
        # One process's axes for all: the last bits of a fit may depend on the number of threads.
        tensor.copy_(_from_main_process(tensor, accelerator))
    return basis, CoordinateSource(source, mode, basis)


def _from_main_process(tensor: Tensor, accelerator: Accelerator) -> Tensor:
    """The main process's tensor, on every process."""
    return broadcast(tensor.to(accelerator.device)).to(tensor.device)


def _write_coordinates(kept: KeptBasis, source: CoordinateSource, num_views: int, console: Console) -> None:
    paths, basis, total = kept.paths, source.basis, source.num_samples * num_views
    shape = (total, basis.projection.shape[1])
    # Beside its place, since another run may be reading what stands there.
    with replacing(paths["npy"]) as temporary, console.progress("Project onto the basis", total) as progress:
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        try:
            reserve(temporary)
            for start in range(0, total, PROJECT_ROWS):
                rows = np.arange(start, min(start + PROJECT_ROWS, total))
                array[rows[0] : rows[-1] + 1] = source.fetch(rows)[0].half().cpu().numpy()
                release_pages(array)
                progress.advance(len(rows))
            array.flush()
        finally:
            del array  # close the map: Windows refuses to move or to remove an open file
    save_tensors(paths["safetensors"], {"mean": basis.mean.cpu(), "projection": basis.projection.cpu()})
    checksums = [file_crc32(paths["safetensors"]), file_crc32(paths["npy"])]
    write_json(paths["json"], {"key": kept.key, "crc32": checksums})
