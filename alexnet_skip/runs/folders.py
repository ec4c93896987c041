"""Run folders and published models: what a run leaves, and how the other scripts find and load it."""

import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from accelerate import Accelerator

from alexnet_skip.devices.agreement import on_main_process
from alexnet_skip.settings.records import CONFIG_NAME, is_published
from alexnet_skip.system.commands import train_command
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json

Report = Callable[[str], None]


def create_run_folder(runs_dir: Path, name: str | None, stem: str) -> Path:
    """Make a new run folder; an existing one is never used again.

    Args:
        name: the folder's name as the user gave it, or None for ``<stem>-<date-time>``.

    Raises:
        UserError: if the named run exists, or the folder can't be made.
    """
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")
    candidates = [name] if name else [f"{stem}-{stamp}", *(f"{stem}-{stamp}-{n}" for n in range(2, 100))]
    for candidate in candidates:
        try:
            (runs_dir / candidate).mkdir(parents=True)
        except FileExistsError:
            continue
        except OSError as error:
            raise UserError(
                f"--runs-dir {runs_dir} can't be written ({error.strerror}); choose another folder"
            ) from None
        return runs_dir / candidate
    raise UserError(f"--name {name}: {runs_dir / str(name)} exists already; choose another name or remove that folder")


def create_shared_run_folder(runs_dir: Path, name: str | None, stem: str, accelerator: Accelerator) -> Path:
    """:func:`create_run_folder` on the main process; the same folder, or the same error, on every process."""
    return on_main_process(accelerator, lambda: create_run_folder(runs_dir, name, stem))


def find_run(runs_dir: Path, run: str | None, report: Report = lambda _: None) -> Path:
    """The named run's folder, or the newest one that has a published model; a study's run is ``<study>/<run>``.

    Args:
        report: told which runs can't say whether they are the newest, and why.

    Raises:
        UserError: if there is none, or the name is that of a study.
    """
    if run is not None:
        for folder in (Path(run), runs_dir / run):
            if (folder / "model.safetensors").is_file():
                return _run_of(folder)
            if _is_run(folder):
                return folder
        for folder in (Path(run), runs_dir / run):
            if cells := runs_in(folder):
                names = ", ".join(cell.name for cell in cells)
                raise UserError(f"--run {run} is a study of several runs; add one of them to the path: {names}")
        raise UserError(f"--run {run}: no run there nor in --runs-dir {runs_dir}; existing runs: {_names(runs_dir)}")
    created, damaged = {}, []
    for folder in (folder for folder in runs_in(runs_dir) if is_published(folder / "model")):
        try:
            created[folder] = str(read_json(folder / CONFIG_NAME).get("created", ""))
        except UserError as error:
            damaged.append(str(error))
            report(f"{folder} is left out: {error}")
    if not created:
        none = f"--runs-dir {runs_dir} holds no finished run; train one first:{train_command('--skip')}"
        raise UserError(damaged[0] if damaged else none)
    return max(created, key=lambda folder: (created[folder], folder.name))


def _run_of(published: Path) -> Path:
    """The run that a published model lies in, where it is the one that is meant without ``--checkpoint``.

    Raises:
        UserError: if it is another one, or lies by itself.
    """
    run = run_of_model(published)
    if run is None:
        raise UserError(
            f"--run {published} is a published model without its run: --images and --export take it, the rest needs "
            "the run's folder"
        )
    if published.name != "model":
        checkpoint = published_name(published.name)
        raise UserError(f"--run {published} is one of the models of a run; give --run {run} --checkpoint {checkpoint}")
    return run


def run_of_model(published: Path) -> Path | None:
    """The run that a published model lies in; None where it lies by itself."""
    is_snapshot = published.parent.name == "snapshots"
    run = published.parent.parent if is_snapshot else published.parent
    whole = (is_snapshot or published.name in ("model", "last")) and _is_run(run)
    return run if whole else None


def runs_in(folder: Path) -> list[Path]:
    """Folders of the runs in a folder of runs, and of those in the studies in it; what can't be read holds none."""
    runs: list[Path] = []
    for path in _inside(folder):
        runs += [path] if _is_run(path) else filter(_is_run, _inside(path))
    return runs


def _is_run(folder: Path) -> bool:
    return os.path.isfile(folder / CONFIG_NAME)  # unlike Path's, False where another user's folder can't be read


def _inside(folder: Path) -> list[Path]:
    """What lies in a folder, by name; nothing where it is none, or can't be read (another user's, the system's)."""
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _names(runs_dir: Path) -> str:
    return ", ".join(folder.relative_to(runs_dir).as_posix() for folder in runs_in(runs_dir)) or "none"


def published_name(checkpoint_name: str) -> str:
    """One name for each published model: ``epoch-10`` for ``epoch-0010`` as well."""
    kind, _, number = checkpoint_name.partition("-")
    return f"epoch-{int(number)}" if kind == "epoch" else checkpoint_name


def snapshot_folder(run: Path, epoch: int) -> Path:
    """Where a run keeps the model of one of ``--snapshot-epochs``."""
    return run / "snapshots" / f"epoch-{epoch:04d}"


def snapshot_folders(run: Path) -> list[Path]:
    """The places of a run's snapshots, by epoch; not what somebody has called "epoch-0010 - Copy"."""
    return sorted(place for place in run.glob("snapshots/epoch-*") if place.name[6:].isdecimal())


def published_folder(run: Path, checkpoint_name: str) -> Path:
    """Folder of one of a run's published models: ``best``, ``last`` or ``epoch-N``.

    Raises:
        UserError: if the run does not have it; says which ones it has.
    """
    folders = {"best": run / "model", "last": run / "last"}
    folders |= {published_name(place.name): place for place in snapshot_folders(run)}
    wanted = published_name(checkpoint_name)
    available = [name for name, folder in folders.items() if is_published(folder)]
    if wanted not in available:
        raise UserError(
            f"--checkpoint is {checkpoint_name}, but {run} has {', '.join(available) or 'no published model yet'}; "
            "--snapshot-epochs of train.py keeps more"
        )
    return folders[wanted]


# Before the name of images that are not the run's own, in the name of an evaluation's folder.
ELSEWHERE = "-on-"


def evaluation_folder(run: Path, split: str, checkpoint_name: str, *, tta: bool = False, elsewhere: str = "") -> Path:
    """Where a run keeps the evaluation of one of its published models on one split.

    Args:
        elsewhere: name of the images where they are not the run's own, unlike that of any others.
    """
    name = f"{split}-{published_name(checkpoint_name)}{'-tta' if tta else ''}"
    return run / "evaluation" / (f"{name}{ELSEWHERE}{elsewhere}" if elsewhere else name)
