"""The runs of a study: what each is trained with, which are finished, and which can be gone on with."""

import dataclasses
import shutil
from pathlib import Path
from typing import Any, NamedTuple

from accelerate.utils import broadcast_object_list

from alexnet_skip.runs.checkpoints import CheckpointStore
from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.records import read_run_config
from alexnet_skip.settings.shared import SkipMode
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.system.errors import UserError
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


def unfinished_cells(
    folder: Path, cells: list[Cell], settings: TrainSettings, session: Session
) -> list[tuple[Cell, bool]]:
    """The runs to train, and whether each goes on from a checkpoint; the same, or the same error, on every process.

    What an interruption left of a run without a checkpoint is removed.

    Raises:
        UserError: if a finished run has other settings, naming the first that differs.
    """
    outcome: list[list[tuple[Cell, bool]] | str] = [[]]
    if session.accelerator.is_main_process:
        digest = session.dataset.splits["train"].digest
        identity = _identity(settings, digest, session.weights.sha256)
        try:
            if (folder / "config.json").is_file():
                raise UserError(f"--name {folder.name}: {folder} is a single run; choose another name for the study")
            missing = [cell for cell in cells if not _finished(folder / cell.name, identity)]
            outcome = [[(cell, _can_go_on(folder / cell.name, identity)) for cell in missing]]
        except UserError as error:
            outcome = [str(error)]
    (found,) = broadcast_object_list(outcome)
    if isinstance(found, str):
        raise UserError(found)
    return [(Cell(*cell), resume) for cell, resume in found]


class _Setting(NamedTuple):
    """What a flag decides, and how to tell its value: the same images and weights may lie at another place."""

    decides: Any
    told: str


def _identity(settings: TrainSettings, dataset_digest: str, weights_digest: str) -> dict[str, _Setting]:
    """What must be equal in two runs of a study, by the flag that decides it."""
    training = {key: value for key, value in to_dict(settings.training).items() if key != "seed"}
    second = to_dict(settings.finetuning)
    # Of a stage that is not trained, nothing decides anything.
    training |= second if settings.finetuning.finetune else dict.fromkeys(second) | {"finetune": 0}
    plain = {"recipe": settings.recipe, **training, "snapshot_epochs": list(settings.run.snapshot_epochs)}
    weights = f"{settings.weights} (SHA-256 {weights_digest[:12]})"
    images = f"{settings.data.dataset} (training images' SHA-256 {dataset_digest[:12]})"
    return {
        **{f"--{key.replace('_', '-')}": _Setting(value, str(value)) for key, value in plain.items()},
        "--weights": _Setting(weights_digest, weights),
        "--dataset": _Setting(dataset_digest, images),
    }


def _difference(run: Path, identity: dict[str, _Setting]) -> tuple[str, str] | None:
    """The first setting in which a run differs from the study, and its value there."""
    config = read_run_config(run)
    found = _identity(config.settings, config.dataset.digest, config.weights_digest)
    differing = (flag for flag, value in identity.items() if found[flag].decides != value.decides)
    return next(((flag, found[flag].told) for flag in differing), None)


def _finished(run: Path, identity: dict[str, _Setting]) -> bool:
    """Whether a run of the study is complete: its summary is written last."""
    if not (run / "summary.json").is_file():
        return False
    if different := _difference(run, identity):
        flag, value = different
        raise UserError(
            f"{flag} is {identity[flag].told}, but {run} was trained with {value}; give the same to add to this study, "
            "or --name for another one"
        )
    return True


def _can_go_on(run: Path, identity: dict[str, _Setting]) -> bool:
    """Whether an unfinished run has a checkpoint of these settings; without one, what is there of it is removed.

    Raises:
        UserError: if that would remove a published model.
    """
    if not run.exists():
        return False
    try:
        if CheckpointStore(run / "checkpoints", keep=1).complete() and not _difference(run, identity):
            return True
    except UserError:
        pass  # its config is damaged: there is nothing to go on with
    if (run / "model").exists() or (run / "last").exists():
        raise UserError(
            f"{run} is not complete, but has a published model and no checkpoint of these settings to go on from; "
            "nothing published is removed: move that folder away to train the run again, or give another --name"
        )
    try:
        shutil.rmtree(run)
    except OSError as error:
        raise UserError(f"{run} is unfinished and can't be removed ({error}); remove it and start again") from None
    return False
