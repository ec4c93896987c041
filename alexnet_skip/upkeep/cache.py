"""Care of the feature cache: what lies in it and for what, whether it is intact, and what can go.

python -m alexnet_skip.features list
python -m alexnet_skip.features verify
python -m alexnet_skip.features prune --older-than 30
"""

import os
import shutil
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from alexnet_skip.settings.command_line import arguments_or_own, require
from alexnet_skip.system.console import Console, size
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.locks import folder_lock
from alexnet_skip.system.progress import duration
from alexnet_skip.system.script import run_script

if TYPE_CHECKING:  # torch takes seconds to import, --help should not
    from alexnet_skip.features.entries import Entry

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
    json: bool = False
    """Print that line on a terminal, too; elsewhere it always is."""


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


def to_prune(entries: Sequence["Entry"], command: PruneCache) -> list["Entry"]:
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


def show(console: Console, title: str, entries: Sequence["Entry"]) -> None:
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
    columns = ("entry", "size", "unchanged for", "state", "images", "holds", "for")
    console.table(title, columns, rows, optional=(5, 2, 4))


def remove_emptied(folders: Sequence[Path]) -> None:
    """The folders that the locks have kept.

    Raises:
        UserError: if one is not empty.
    """
    for folder in folders:
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UserError(
                f"{folder} can't be removed ({error.strerror}): another program has a file in it open; end "
                "that and try again"
            ) from None


def care(command: CacheCommand) -> tuple[dict[str, Any], bool]:
    """Do what the command says; returns the figures a program needs, and that they are to be printed."""
    from alexnet_skip.features.entries import read_entries, verify_entry

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
        whole = [entry.folder.name for entry in entries if entry.state == "complete"]
        others = ", ".join(f"{entry.folder.name} ({entry.state})" for entry in entries if entry.state != "complete")
        console.line(f"{len(whole)} entries intact" + (f"; not judged: {others}" if others else ""))
        return result | {"verified": whole}, True
    if isinstance(command, PruneCache):
        entries = to_prune(entries, command)
        total = size(sum(entry.num_bytes for entry in entries))
        if command.yes:
            with ExitStack() as locks:  # all first: nothing is removed if one is being written
                for entry in entries:
                    locks.enter_context(folder_lock(entry.folder, console.line, wait=False))
                for entry in entries:
                    # On Windows the lock's own file is open, and goes with the lock.
                    shutil.rmtree(entry.folder, ignore_errors=os.name == "nt")
            remove_emptied([entry.folder for entry in entries])
        show(console, f"{'Removed' if command.yes else 'Would be removed'}: {total}", entries)
        if entries and not command.yes:
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
    description = (__doc__ or "").replace("\npython", "\n  python")
    return run_script(lambda: tyro.cli(form, args=arguments_or_own(argv), prog=PROG, description=description), care)
