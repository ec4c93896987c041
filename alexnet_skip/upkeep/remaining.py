"""What of a training, or of all runs of a study, is not done yet."""

from dataclasses import dataclass
from pathlib import Path

from alexnet_skip.runs.checkpoints import CheckpointStore
from alexnet_skip.runs.folders import evaluation_folder
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.study.cells import cell_settings
from alexnet_skip.study.run import all_cells, has_figures, study_folder, with_snapshots
from alexnet_skip.upkeep.inventory import Images


@dataclass(frozen=True)
class RunLeft:
    """A run that is to be trained, or to be gone on with.

    Attributes:
        settings: its own.
        epochs: of the head that are left; the one that a checkpoint stands in counts whole.
        finetune_epochs: of the second stage that are left.
    """

    settings: TrainSettings
    epochs: int
    finetune_epochs: int


@dataclass(frozen=True)
class Remaining:
    """What is left to do.

    Attributes:
        num_runs: how many runs there are in all.
        runs: those that are left.
        judged: of a study, the epoch of every evaluation that is left.
    """

    num_runs: int
    runs: tuple[RunLeft, ...]
    judged: tuple[int, ...] = ()


def what_is_left(settings: TrainSettings, images: Images) -> Remaining:
    """What a training would do of what it is asked for; to be read on the process whose disk has the runs.

    Args:
        settings: for as many images as there are.
    """
    if not settings.study.study:
        return Remaining(1, (_left_of(settings),))
    settings = with_snapshots(settings)
    epochs = settings.run.snapshot_epochs
    folder, cells = study_folder(settings, images.name), all_cells(settings)
    # A run's summary is written last.
    missing = [cell for cell in cells if not (folder / cell.name / "summary.json").is_file()]
    runs = [_left_of(cell_settings(settings, folder, cell, resume=True)) for cell in missing]
    split = images.judged_split[0]
    places = [
        (epoch, evaluation_folder(folder / cell.name, split, f"epoch-{epoch}")) for cell in cells for epoch in epochs
    ]
    judged = [epoch for epoch, place in places if not has_figures(place)]
    return Remaining(len(cells), tuple(runs), tuple(judged))


def _left_of(settings: TrainSettings) -> RunLeft:
    first, done = settings.training.epochs, _epochs_done(settings)
    return RunLeft(settings, max(0, first - done), settings.last_epoch - max(first, done))


def _epochs_done(settings: TrainSettings) -> int:
    """Whole epochs behind the newest checkpoint, or those of the parent that a run begins with."""
    run = settings.checkpoints.resume
    newest = None if run is None else CheckpointStore(Path(run) / "checkpoints", keep=1).newest(lambda _: None)
    if newest is not None:
        return int(newest[1]["run"]["epoch"]) - 1
    return settings.training.epochs if settings.finetuning.finetune_from else 0
