"""Care of the feature cache: what lies in it and for what, whether it is intact, and what can go.

python -m alexnet_skip.features list
python -m alexnet_skip.features verify
python -m alexnet_skip.features prune --older-than 30
"""

import dataclasses
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from alexnet_skip.basis import file_crc32
from alexnet_skip.command_line import arguments_or_own, require
from alexnet_skip.console import Console, duration, run_script
from alexnet_skip.errors import UserError
from alexnet_skip.feature_cache import ARRAYS, FeatureCache, FeatureKey
from alexnet_skip.files import read_json
from alexnet_skip.inventory import size

PROG = "python -m alexnet_skip.features"
SECONDS_PER_DAY = 86_400


@dataclass(frozen=True)
class CacheCommand:
    """Which cache, and how to answer."""

    cache_dir: Path = Path("cache")
    """Folder of the feature cache."""
    runs_dir: Path = Path("runs")
    """Folder of all runs: an entry is for the runs that were trained on its features."""
    quiet: bool = False
    """Print nothing but the last line, one JSON object."""


@dataclass(frozen=True)
class ListCache(CacheCommand):
    """Say what lies in the cache: sizes, ages, and what each entry is for."""


@dataclass(frozen=True)
class VerifyCache(CacheCommand):
    """Hold every block against its checksum; exit code 2 if one is damaged. The next training mends what is."""


@dataclass(frozen=True)
class PruneCache(CacheCommand):
    """Say what would be removed: entries that no run uses, or those named; with --yes remove them."""

    entries: tuple[str, ...] = ()
    """Names of entries, as list shows them, whether a run uses them or not."""
    older_than: float = 0.0
    """Only entries that nothing was written to for so many days."""
    yes: bool = False
    """Remove them."""

    def __post_init__(self) -> None:
        require(0 <= self.older_than < float("inf"), "--older-than", self.older_than, "a number of days, 0 or more")


@dataclass(frozen=True)
class Entry:
    """One entry of the cache.

    Attributes:
        state: ``complete``, ``unfinished`` (the next training goes on) or ``foreign`` (of another version).
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
        files = [p for p in folder.iterdir() if p.is_file()]
        arrays = tuple(name for name in ARRAYS if (folder / f"{name}.npy").is_file())
        if not arrays:
            continue  # not ours: nothing that training has written
        key = _read_key(folder)
        state = "unfinished" if not (folder / "manifest.json").is_file() else "foreign" if key is None else "complete"
        if any(folder.glob("progress-*.jsonl")):
            state = "unfinished"
        entries.append(
            Entry(
                folder, state, key.num_samples if key else 0, arrays, len(list(folder.glob("basis-*.npy"))),
                sum(p.stat().st_size for p in files), max(p.stat().st_mtime for p in files),
                tuple(run for run, sources in uses.items() if key and key.weights_digest in sources
                      and folder.name.startswith(sources[key.weights_digest])),
            )
        )  # fmt: skip
    return entries


def _uses(runs_dir: Path) -> dict[str, dict[str, str]]:
    """By run, at any depth: the digest of its weights, and how names of its entries begin."""
    uses = {}
    for path in sorted(runs_dir.glob("**/config.json")):
        try:
            config = read_json(path)
            digest, name = config["weights"]["sha256"], config["dataset"]["name"]
            if "num_processes" in config:  # a run's, not a published model's
                uses[path.parent.relative_to(runs_dir).as_posix()] = {digest: f"{name}-"}
        except (UserError, KeyError, TypeError):
            continue  # a run that can't be read keeps no entry
    return uses


def _read_key(folder: Path) -> FeatureKey | None:
    """What the features were computed from, or None if the manifest is missing, damaged or of another version."""
    try:
        stored = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["key"]
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        key = FeatureKey(**values)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return key if key.format_version == FeatureKey("", "", 0).format_version else None


def verify_entry(entry: Entry) -> list[str]:
    """What is damaged in an entry, in words; nothing if all is intact. Reads all of it."""
    key = _read_key(entry.folder)
    if key is None:
        return []
    damage = []
    cache = FeatureCache(entry.folder, key)
    for name in entry.arrays:
        try:
            lacking = cache.missing([name], range(cache.num_blocks))
        except (OSError, ValueError) as error:
            damage.append(f"{name}.npy can't be read ({error})")
            continue
        if lacking and entry.state == "complete" and cache.recorded_checksums()[name]:
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


def to_prune(entries: Sequence[Entry], command: PruneCache) -> list[Entry]:
    """The entries that a prune would remove.

    Raises:
        UserError: if a named entry does not exist.
    """
    unknown = sorted(set(command.entries) - {entry.folder.name for entry in entries})
    if unknown:
        known = ", ".join(entry.folder.name for entry in entries) or "none"
        raise UserError(f"--entries names {unknown[0]}, which {command.cache_dir} does not hold; it holds {known}")
    latest = time.time() - command.older_than * SECONDS_PER_DAY
    chosen = [e for e in entries if (e.folder.name in command.entries if command.entries else not e.runs)]
    return [entry for entry in chosen if entry.changed <= latest]


def show(console: Console, title: str, entries: Sequence[Entry]) -> None:
    """Print a table of entries."""
    if not entries:
        console.line(title)
        return
    rows = [
        [
            entry.folder.name, size(entry.num_bytes), duration(max(0.0, time.time() - entry.changed)), entry.state,
            f"{entry.num_samples:,}", ", ".join(entry.arrays) + (f", {entry.num_bases} bases" * bool(entry.num_bases)),
            ", ".join(entry.runs[:3]) + (f" and {len(entry.runs) - 3} more" if len(entry.runs) > 3 else "") or "no run",
        ]
        for entry in entries
    ]  # fmt: skip
    console.table(title, ("entry", "size", "unchanged for", "state", "images", "holds", "for"), rows)


def care(command: CacheCommand) -> tuple[dict[str, Any], bool]:
    """Do what the command says; returns the figures a program needs, and that they are to be printed."""
    console = Console(command.quiet)
    entries = read_entries(command.cache_dir, command.runs_dir)
    result: dict[str, Any] = {"cache_dir": str(command.cache_dir)}
    if isinstance(command, VerifyCache):
        damaged = {}
        with console.progress("Verify", len(entries)) as progress:
            for entry in entries:
                if damage := verify_entry(entry):
                    damaged[entry.folder.name] = damage
                progress.advance(1)
        if damaged:
            told = "; ".join(f"{name}: {', '.join(damage)}" for name, damage in damaged.items())
            raise UserError(f"{command.cache_dir} is damaged in {told}; the next training computes just these again")
        console.line(f"{len(entries)} entries, all intact")
        return result | {"verified": [entry.folder.name for entry in entries]}, True
    if isinstance(command, PruneCache):
        entries = to_prune(entries, command)
        total = size(sum(entry.num_bytes for entry in entries))
        show(console, f"{'Removed' if command.yes else 'Would be removed'}: {total}", entries)
        if command.yes:
            for entry in entries:
                shutil.rmtree(entry.folder)
        elif entries:
            console.line("Nothing was removed; give --yes to remove them.")
        return result | {"removed": [e.folder.name for e in entries] if command.yes else []}, True
    free = size(shutil.disk_usage(command.cache_dir).free)
    total = size(sum(entry.num_bytes for entry in entries))
    show(console, f"{command.cache_dir}: {len(entries)} entries, {total}; {free} free", entries)
    return result | {"entries": [entry.as_json() for entry in entries]}, True


Command = (
    Annotated[ListCache, tyro.conf.subcommand("list")]
    | Annotated[VerifyCache, tyro.conf.subcommand("verify")]
    | Annotated[PruneCache, tyro.conf.subcommand("prune")]
)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and care for the cache; returns the exit code."""
    form: Any = Command
    return run_script(lambda: care(tyro.cli(form, args=arguments_or_own(argv), prog=PROG, description=__doc__)))
