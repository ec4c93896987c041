"""Care of the runs: what they are, what they take on the disk, and which can go.

python -m alexnet_skip.runs list
python -m alexnet_skip.runs prune --runs NAME
python -m alexnet_skip.runs prune --runs NAME --yes
"""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from alexnet_skip.settings.command_line import arguments_or_own, require
from alexnet_skip.system.console import Console, per_cent, size
from alexnet_skip.system.disk import disk_usage
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.locks import FILE_NAMES, folder_lock
from alexnet_skip.system.script import run_script
from alexnet_skip.upkeep.cache import remove_emptied

if TYPE_CHECKING:  # torch takes seconds to import, --help should not
    from alexnet_skip.runs.entries import Entry

PROG = "python -m alexnet_skip.runs"


@dataclass(frozen=True)
class RunsCommand:
    """Which runs, and how to answer."""

    runs_dir: Path = Path("runs")
    """Folder of all runs."""
    quiet: bool = False
    """Print nothing but the last line, one JSON object."""
    json: bool = False
    """Print that line on a terminal, too; elsewhere it always is."""


@dataclass(frozen=True)
class ListRuns(RunsCommand):
    """Say which runs and studies there are: size, date, skip, top-1 of the held-out images, state and models."""


@dataclass(frozen=True)
class PruneRuns(RunsCommand):
    """Say what would go if the named runs or studies were removed, and how much that frees; with --yes remove them."""

    runs: tuple[str, ...] = ()
    """Names of runs or studies, as list shows them."""
    published: bool = False
    """Those with a published model, too."""
    dry_run: bool = False
    """Only say it; so it is without --yes."""
    yes: bool = False
    """Remove them."""

    def __post_init__(self) -> None:
        require(bool(self.runs), "--runs", "empty", "names of runs or studies, as list shows them")
        require(not (self.yes and self.dry_run), "--dry-run", "given", "left out with --yes")


def chosen(entries: Sequence["Entry"], command: PruneRuns) -> tuple[list[Path], list["Entry"]]:
    """The folders that a prune would remove, those of runs and of whole studies, and the runs in them.

    Raises:
        UserError: if a name is that of no run or study, or a run has a published model and that was not asked for.
    """
    folders: list[Path] = []
    runs: list[Entry] = []
    for name in dict.fromkeys(_name(given, command.runs_dir) for given in command.runs):
        found = [entry for entry in entries if name in (entry.name, entry.study)]
        if not found:
            known = ", ".join(dict.fromkeys(e for entry in entries for e in (entry.study, entry.name) if e)) or "none"
            raise UserError(f"--runs names {name}, which {command.runs_dir} does not hold; it holds {known}")
        folders.append(command.runs_dir / name)
        runs += [entry for entry in found if entry not in runs]
    kept = [entry.name for entry in runs if entry.models]
    if kept and not command.published:
        raise UserError(
            f"--runs: {', '.join(kept)} with a published model: nothing is removed; give --published to remove such "
            "runs as well, or name others"
        )
    return [folder for folder in folders if folder.parent not in folders], runs


def _name(given: str, runs_dir: Path) -> str:
    """The name of what may be given by its path, too."""
    path = Path(given)
    return (path.relative_to(runs_dir) if path.is_relative_to(runs_dir) else path).as_posix()


def show(console: Console, title: str, entries: Sequence["Entry"]) -> None:
    """Print a table of runs, and of what each study takes as a whole."""
    if not entries:
        console.line(title)
        return
    rows: list[list[str]] = []
    study = ""
    for entry in entries:
        if entry.study and entry.study != study:
            whole = disk_usage([entry.folder.parent])
            count = sum(other.study == entry.study for other in entries)
            rows.append([f"{entry.study}/", "", f"{count} runs", "", "", "", size(whole.num_bytes)])
        study = entry.study
        top1 = "" if entry.val_top1 is None else per_cent(entry.val_top1, 2)
        models = ", ".join(entry.models) or "none"
        num_bytes = size(entry.usage.num_bytes)
        rows.append([entry.name, entry.created[:10], entry.skip, top1, entry.state, models, num_bytes])
    columns = ("run", "begun", "skip", "val top-1 %", "state", "published", "size")
    console.table(title, columns, rows, optional=(1, 5))


def remove(folder: Path) -> None:
    """Remove all of a run or study but the files of its lock, which are held.

    What other programs may have open comes first, so that they stop it before anything is lost; a run's config comes
    last, so that what an interruption leaves can be removed by the same name.
    """
    inner = [path for path in folder.iterdir() if path.name not in FILE_NAMES]
    for path in sorted(inner, key=lambda p: (p.name == "config.json", not p.name.startswith("events."), p.name)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def prune(command: PruneRuns, entries: Sequence["Entry"], console: Console) -> list[str]:
    """Remove what a command names, if it says yes; returns the names of the runs that are gone.

    Raises:
        UserError: if one of them is in use: nothing is removed then.
    """
    folders, runs = chosen(entries, command)
    usage = disk_usage(folders)
    show(console, f"To be removed: {len(runs)} run(s), which frees {size(usage.own_bytes)}", runs)
    if usage.own_bytes < usage.num_bytes:
        console.line(f"{size(usage.num_bytes - usage.own_bytes)} of their files are other runs' as well, and stay.")
    if command.yes:
        studies = {entry.folder.parent for entry in runs if entry.study}
        with ExitStack() as locks:  # all first: nothing is removed if one is in use
            for folder in sorted(studies | {entry.folder for entry in runs}):
                locks.enter_context(folder_lock(folder, console.line, wait=False))
            for entry in runs:
                remove(entry.folder)
        remove_emptied([entry.folder for entry in runs])
        for study in set(folders) & studies:
            with folder_lock(study, console.line, wait=False):
                remove(study)
            remove_emptied([study])
    console.line("Removed." if command.yes else "Nothing was removed; give --yes to remove them.")
    return [entry.name for entry in runs] if command.yes else []


def care(command: RunsCommand) -> tuple[dict[str, Any], bool]:
    """Do what the command says; returns the figures a program needs, and that they are to be printed."""
    from alexnet_skip.runs.entries import read_entries

    console = Console(command.quiet)
    entries = read_entries(command.runs_dir)
    result: dict[str, Any] = {"runs_dir": str(command.runs_dir)}
    if isinstance(command, PruneRuns):
        frees = disk_usage(chosen(entries, command)[0]).own_bytes
        return result | {"frees_bytes": frees, "removed": prune(command, entries, console)}, True
    total = disk_usage([command.runs_dir]).num_bytes
    free = size(shutil.disk_usage(command.runs_dir).free)
    show(console, f"{command.runs_dir}: {len(entries)} runs, {size(total)}; {free} free", entries)
    return result | {"num_bytes": total, "runs": [entry.as_json() for entry in entries]}, True


Command = Annotated[ListRuns, tyro.conf.subcommand("list")] | Annotated[PruneRuns, tyro.conf.subcommand("prune")]


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and care for the runs; returns the exit code."""
    form: Any = Command
    description = (__doc__ or "").replace("\npython", "\n  python")
    return run_script(lambda: tyro.cli(form, args=arguments_or_own(argv), prog=PROG, description=description), care)
