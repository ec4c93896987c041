"""The entries of a feature cache: what each holds, for which runs, and whether it is intact."""

import dataclasses
import json
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError

from alexnet_skip.features.cache import ARRAYS, FeatureCache, FeatureKey
from alexnet_skip.network.model import published_weights_digest
from alexnet_skip.settings.records import read_run_config
from alexnet_skip.system import locks
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import file_crc32, part_of_name, read_json


@dataclass(frozen=True)
class Entry:
    """One entry of the cache.

    Attributes:
        state: ``complete``, ``unfinished`` (the next training goes on), ``foreign`` (of another version) or ``damaged``
            (its manifest can't be read).
        arrays: names of the arrays that are there.
        num_bases: PCA bases with their coordinates beside the features.
        changed: time of the last change of any of its files, seconds since 1970.
        runs: names of the runs trained on these features.
    """

    folder: Path
    state: str
    num_samples: int
    arrays: tuple[str, ...]
    num_bases: int
    num_bytes: int
    changed: float
    runs: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The entry for programs."""
        return dataclasses.asdict(self) | {"folder": str(self.folder)}


def read_entries(cache_dir: Path, runs_dir: Path) -> list[Entry]:
    """Every entry of a cache, by name.

    Raises:
        UserError: if there is no such folder.
    """
    if not cache_dir.is_dir():
        raise UserError(f"--cache-dir is {cache_dir}, which is no folder; training makes one (cache, if not told else)")
    uses = _uses(runs_dir)
    entries = []
    for folder in sorted(p for p in cache_dir.iterdir() if p.is_dir()):
        files = [p for p in folder.iterdir() if p.is_file() and p.name not in locks.FILE_NAMES]
        arrays = tuple(name for name in ARRAYS if (folder / f"{name}.npy").is_file())
        if not arrays:
            continue  # not ours: nothing that training has written
        key = _read_key(folder)
        entries.append(
            Entry(
                folder, _state(folder, arrays, key), key.num_samples if key else 0, arrays,
                len(list(folder.glob("basis-*.npy"))),
                sum(p.stat().st_size for p in files), max(p.stat().st_mtime for p in files),
                tuple(run for run, use in uses.items() if key and use.needs(folder.name, key)),
            )
        )  # fmt: skip
    return entries


@dataclass(frozen=True)
class _Use:
    """What of the cache a run needs.

    Attributes:
        weights: digest of the convolutions of its training.
        own: digests of those of its published models that have others, as fine-tuned ones: features of theirs are of
            no other run, whatever the images.
        prefix: how names of entries of its images begin.
        images: digests of its training images and of all that its models were evaluated on, wherever they lay.
    """

    weights: str
    own: frozenset[str]
    prefix: str
    images: frozenset[str]

    def needs(self, name: str, key: FeatureKey) -> bool:
        """Whether an entry of that name and key is the run's."""
        of_images = name.startswith(self.prefix) or key.data_digest in self.images
        return key.weights_digest in self.own or (key.weights_digest == self.weights and of_images)


def _uses(runs_dir: Path) -> dict[str, _Use]:
    """What each run, at any depth, needs."""
    uses = {}
    for path in sorted(runs_dir.glob("**/config.json")):
        try:
            if "num_processes" in read_json(path):  # a run's, not a published model's
                uses[path.parent.relative_to(runs_dir).as_posix()] = _use_of(path.parent)
        except UserError:
            continue  # a run that can't be read keeps no entry
    return uses


def _use_of(run: Path) -> _Use:
    config = read_run_config(run)
    published, images = set(), {config.dataset.digest}
    for path in (run / "model", run / "last", *run.glob("snapshots/*")):
        with suppress(OSError, SafetensorError, KeyError):  # gone or damaged: it can't be evaluated either
            published.add(published_weights_digest(path))
    for path in run.glob("evaluation/*/metrics.json"):
        with suppress(UserError):
            images.add(str(read_json(path).get("images_sha256", "")))
    own = frozenset(published - {config.weights_digest})
    return _Use(config.weights_digest, own, f"{part_of_name(config.dataset.name)}-", frozenset(images))


def _read_key(folder: Path) -> FeatureKey | None:
    """What the features were computed from, or None if the manifest is missing, damaged or of another version."""
    try:
        stored = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["key"]
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        key = FeatureKey(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None
    return key if key.format_version == FeatureKey("", "", 0).format_version else None


def _state(folder: Path, arrays: tuple[str, ...], key: FeatureKey | None) -> str:
    """That of an entry with these arrays; see :class:`Entry`."""
    if key is not None:
        whole = FeatureCache(folder, key).is_finished(arrays) and not any(folder.glob("progress-*.jsonl"))
        return "complete" if whole else "unfinished"
    try:
        json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return "unfinished"
    except (OSError, ValueError, RecursionError):
        return "damaged"
    return "foreign"


def verify_entry(entry: Entry) -> list[str]:
    """What is damaged in an entry, in words; nothing if all that it has checksums of is intact. Reads all of that."""
    key = _read_key(entry.folder)
    if key is None:
        return ["manifest.json can't be read"] if entry.state == "damaged" else []
    damage = []
    cache = FeatureCache(entry.folder, key)
    recorded = cache.recorded_checksums()
    for name in entry.arrays:
        try:
            lacking = cache.missing([name], recorded[name])
        except (OSError, ValueError) as error:
            damage.append(f"{name}.npy can't be read ({error})")
            continue
        if lacking:
            damage.append(f"{name}.npy: {len(lacking)} of {cache.num_blocks} blocks")
    for path in sorted(entry.folder.glob("basis-*.json")):
        try:
            expected = json.loads(path.read_text(encoding="utf-8"))["crc32"]
            found = [file_crc32(path.with_suffix(suffix)) for suffix in (".safetensors", ".npy")]
        except (OSError, ValueError, KeyError, TypeError):
            expected, found = None, []
        if found != expected:
            damage.append(path.stem)
    return damage
