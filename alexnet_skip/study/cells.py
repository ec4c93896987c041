"""The runs of a study: what each is trained with, which are finished, and which can be gone on with."""

import dataclasses
import shutil
from pathlib import Path
from typing import NamedTuple

from alexnet_skip.devices.agreement import on_main_process
from alexnet_skip.runs.checkpoints import CheckpointStore
from alexnet_skip.runs.folders import runs_in
from alexnet_skip.settings.records import RunConfig, has_published, read_run_config
from alexnet_skip.settings.shared import SkipMode
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.study.identity import difference
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.run import describe_run
from alexnet_skip.training.session import Session


class Cell(NamedTuple):
    """One run of a study."""

    variant: SkipMode
    seed: int

    @property
    def name(self) -> str:
        """The run's folder in the study's."""
        return f"{self.variant}-seed{self.seed}"


def cell_settings(settings: TrainSettings, folder: Path, cell: Cell, resume: bool) -> TrainSettings:
    """Settings of one run of the study in a folder."""
    skip = {"skip": False} if cell.variant == "none" else {"skip": True, "skip_mode": cell.variant}
    resumed = str(folder / cell.name) if resume else None
    return dataclasses.replace(
        settings,
        training=dataclasses.replace(settings.training, seed=cell.seed),
        run=dataclasses.replace(settings.run, runs_dir=folder, name=cell.name),
        study=dataclasses.replace(settings.study, study=False),
        checkpoints=dataclasses.replace(settings.checkpoints, resume=resumed),
        **skip,
    )


def require_no_run(folder: Path) -> None:
    """Refuse a study in the folder of a run."""
    if (folder / "config.json").is_file():
        raise UserError(f"--name {folder.name}: {folder} is a single run; choose another name for the study")


def cells_left(folder: Path, cells: list[Cell], now: RunConfig) -> dict[Cell, bool]:
    """The runs to train, and whether each goes on from a checkpoint; nothing is changed.

    Args:
        now: what a run would say of itself here and now.

    Raises:
        UserError: if the folder is a run's, or holds one that is finished, or has a checkpoint, with other settings.
    """
    require_no_run(folder)
    # Every run there, asked for or not: all of them are compared in the end.
    finished = [run for run in runs_in(folder) if _finished(run, now)]
    missing = [cell for cell in cells if folder / cell.name not in finished]
    return {cell: _can_go_on(folder / cell.name, now) for cell in missing}


def unfinished_cells(
    folder: Path, cells: list[Cell], settings: TrainSettings, session: Session
) -> list[tuple[Cell, bool]]:
    """The runs to train, and whether each goes on from a checkpoint; the same, or the same error, on every process.

    What an interruption left of a run without a checkpoint is removed.

    Raises:
        UserError: as :func:`cells_left`.
    """

    def find() -> list[tuple[Cell, bool]]:
        # Looked at before anything is removed: a command that is refused changes nothing.
        left = cells_left(folder, cells, describe_run(settings, session))
        for cell, goes_on in left.items():
            if not goes_on:
                _remove_remains(folder / cell.name)
        return list(left.items())

    return on_main_process(session.accelerator, find)


def _refuse_other_settings(run: Path, now: RunConfig) -> None:
    """Refuse a study under settings that are not those of one of its runs."""
    if differs := difference(now, read_run_config(run)):
        raise UserError(
            f"{differs.flag} is {differs.a}, but {run} was trained with {differs.b}; give the same to add to this "
            "study, or --name for another one"
        )


def _finished(run: Path, now: RunConfig) -> bool:
    """Whether a run of the study is complete: its summary is written last.

    Raises:
        UserError: if it is, with other settings.
    """
    if not (run / "summary.json").is_file():
        return False
    _refuse_other_settings(run, now)
    return True


def _can_go_on(run: Path, now: RunConfig) -> bool:
    """Whether an unfinished run has a checkpoint to go on from; nothing is changed.

    Raises:
        UserError: if it has one, of other settings or with a damaged config, or has none but a published model.
    """
    if CheckpointStore(run / "checkpoints", keep=1).complete():
        _refuse_other_settings(run, now)
        return True
    if has_published(run):
        raise UserError(
            f"{run} is not complete, but has a published model and no checkpoint to go on from; nothing published is "
            "removed: move that folder away to train the run again, or give another --name"
        )
    return False


def _remove_remains(run: Path) -> None:
    """Remove what an interruption left of a run without a checkpoint."""
    if not run.exists():
        return
    try:
        shutil.rmtree(run)
    except OSError as error:
        raise UserError(f"{run} is unfinished and can't be removed ({error}); remove it and start again") from None
