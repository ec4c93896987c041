"""A study: every form of the skip connection with every seed, trained alike, as ordinary runs in one folder.

All runs share one cache of features, one split and, for equal seeds, the order of batches. They are judged at two
fixed epochs, never at an epoch that was chosen on the samples they are judged on.

They are trained one after the other. Side by side, heads could share only the gathering of a batch, and that only where
the first layer sees the same values: it is 1.4 % of a step without the skip and 2.5 % with conv (2 cores, 512 images).
"""

import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
from accelerate.utils import gather_object, release_memory

from alexnet_skip.devices.agreement import on_main_process
from alexnet_skip.evaluation.evaluate import EvaluationSet, evaluate_model, made_of
from alexnet_skip.features.source import CachedFeatures, FrozenFeatures, LiveFeatures
from alexnet_skip.images.splits import Selection, choose_split
from alexnet_skip.runs.folders import evaluation_folder
from alexnet_skip.runs.opened import open_run
from alexnet_skip.runs.predictions import published_digest, read_predictions
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.study.cells import Cell, cell_settings, unfinished_cells
from alexnet_skip.system.console import Console, per_cent
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import part_of_name, read_json
from alexnet_skip.system.interruption import InterruptedRunError
from alexnet_skip.system.locks import folder_lock
from alexnet_skip.training.log import Stopwatch
from alexnet_skip.training.run import train_run
from alexnet_skip.training.session import Session


def run_study(settings: TrainSettings, session: Session, watch: Stopwatch) -> dict[str, Any]:
    """Train and evaluate what a study lacks; returns the figures and paths a program needs.

    Raises:
        UserError: if there is nothing to judge on, or the folder holds runs with other settings.
    """
    console, accelerator = session.console, session.accelerator
    settings = with_snapshots(settings)
    epochs = settings.run.snapshot_epochs
    samples = _measured(settings, session)
    folder, cells = study_folder(settings, session.dataset.name), all_cells(settings)
    with _locked(folder, session):
        unfinished = unfinished_cells(folder, cells, settings, session)
        console.line(
            f"Study {folder}: {len(cells)} runs, {len(unfinished)} to train; judged on {samples.name}, "
            f"{len(samples.positions):,} images, after epochs {epochs[0]} and {epochs[1]}"
        )
        if samples.name == "val":
            console.line(
                f"{session.dataset.name} has no test split: val is what the study measures, at these fixed epochs. "
                "The best epoch of each run was chosen on the same images, so its figures would flatter."
            )
        _train(folder, unfinished, settings, session, watch)
        with watch.phase("evaluate"):
            _evaluate(folder, cells, settings, session, samples)
    figures = _figures(folder, cells, epochs, samples) if accelerator.is_main_process else {}
    _show(console, figures, epochs)
    return {
        "study": str(folder),
        "dataset": session.dataset.name,
        "split": samples.name,
        "num_samples": len(samples.positions),
        "snapshot_epochs": epochs,
        "trained": [cell.name for cell, _ in unfinished],
        "variants": figures,
    }


def study_folder(settings: TrainSettings, dataset_name: str) -> Path:
    """Where the runs of a study lie."""
    return settings.run.runs_dir / (settings.run.name or f"study-{part_of_name(dataset_name)}")


def all_cells(settings: TrainSettings) -> list[Cell]:
    """The runs of a study; seed by seed, so that an interrupted one holds whole comparisons."""
    return [Cell(variant, seed) for seed in settings.study.seeds for variant in settings.study.study_variants]


def with_snapshots(settings: TrainSettings) -> TrainSettings:
    """Settings with the epochs that are judged: as asked for, or a low and a high one, of two stages the ends."""
    first = settings.training.epochs
    usual = (first, settings.last_epoch) if settings.finetuning.finetune else (max(1, first // 5), first)
    epochs = settings.run.snapshot_epochs or usual
    return dataclasses.replace(settings, run=dataclasses.replace(settings.run, snapshot_epochs=epochs))


@contextmanager
def _locked(folder: Path, session: Session) -> Iterator[None]:
    """The study's folder, made and held by the main process: a second study in it would remove the first one's runs.

    Raises:
        UserError: on every process, if it can't be made, another process holds it, or not all of this study see it.
    """

    def take() -> None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(
                f"--runs-dir {folder.parent} can't be written ({error.strerror}); choose another one"
            ) from None
        held.enter_context(folder_lock(folder, session.console.line, wait=False))

    with ExitStack() as held:
        on_main_process(session.accelerator, take)
        seen = gather_object([folder.is_dir()])
        if blind := [str(rank) for rank, sees in enumerate(seen) if not sees]:
            raise UserError(
                f"--runs-dir {folder.parent}: process {', '.join(blind)} does not see {folder.name}, which the first "
                "one has made there, and all of them read the runs of a study; give a --runs-dir on a disk that the "
                "machines share, or start the study on one machine"
            )
        yield


def _measured(settings: TrainSettings, session: Session) -> Selection:
    """What the study is judged on: test, or val where there is no test split."""
    if "test" not in session.dataset.splits and "val" not in session.dataset.splits and not len(session.val_positions):
        raise UserError(
            f"--val-fraction is 0 and {session.dataset.name} has no test split: nothing is left to judge a study on; "
            "give a part to hold out, such as --val-fraction 0.2"
        )
    # Without the note on the best epoch, which a study does not judge.
    return choose_split("test", session.dataset, settings.training.val_fraction, Console(quiet=True))


def _train(
    folder: Path, cells: list[tuple[Cell, bool]], settings: TrainSettings, session: Session, watch: Stopwatch
) -> None:
    """Train runs one after the other, each from its start or, where that is said, from its checkpoint."""
    if cells and settings.cache.cache:
        # The tap at once, whatever the first run needs: asked for later, it costs a second pass over the images.
        with watch.phase("extract"):
            _features("train", settings, session, mirrored=settings.training.hflip)
    for number, (cell, resume) in enumerate(cells, start=1):
        session.console.line(f"Run {number} of {len(cells)}: {cell.name}", style="bold")
        try:
            train_run(cell_settings(settings, folder, cell, resume), session, Stopwatch())
        except InterruptedRunError:
            session.console.line("The whole study goes on with the command that it was started with.")
            raise
        session.accelerator.free_memory()
        release_memory()  # what it has let go of only then: in mixed precision a run is held in cycles


def _evaluate(folder: Path, cells: list[Cell], settings: TrainSettings, session: Session, samples: Selection) -> None:
    """Evaluate every run at both epochs from the cache, where that is not done yet.

    Raises:
        UserError: if a published model has other convolutions than those that made the features.
    """
    accelerator = session.accelerator
    both = [(cell, epoch) for cell in cells for epoch in settings.run.snapshot_epochs]
    missing = on_main_process(
        accelerator,
        lambda: [(c, e) for c, e in both if not _is_evaluated(folder / c.name, f"epoch-{e}", samples)],
    )
    if not missing:
        return
    features = _features(samples.source_split, settings, session, mirrored=False)
    digest, dataset = session.backbone.weights_digest, session.dataset
    shared = EvaluationSet(dataset.name, samples, features, samples.positions)
    with session.console.progress("Evaluate", len(missing)) as progress:
        for (variant, seed), epoch in missing:
            run = open_run(folder, str(folder / Cell(variant, seed).name), f"epoch-{epoch}")
            on = shared
            if run.model_config.finetuned_layers:
                # Nobody else has use for them: computed once, kept nowhere.
                own = LiveFeatures(samples.split.images, run.model.backbone.to(accelerator.device), accelerator.device)
                on = dataclasses.replace(shared, features=own)
            elif run.model.backbone.weights_digest != digest:
                raise UserError(
                    f"{run.folder}: the convolutions of its model epoch-{epoch} are not the study's (SHA-256 "
                    f"{run.model.backbone.weights_digest[:12]} and {digest[:12]}): the file was changed; remove that "
                    "run, and the same command trains it again"
                )
            # Without figures: two for each run and epoch would take longer than the predictions. --redraw makes them.
            evaluate_model(run, on, accelerator, session.console, draw=False)
            progress.advance(1)


def _features(
    split: str, settings: TrainSettings, session: Session, *, mirrored: bool
) -> CachedFeatures | LiveFeatures:
    cache_dir = settings.cache.cache_dir if settings.cache.cache else None
    frozen = FrozenFeatures(session.backbone, cache_dir, session.accelerator, session.console)
    tap = settings.study.study_variants != ("none",)
    return frozen.open(session.dataset, split, tap=tap, mirrored=mirrored)


def _is_evaluated(run: Path, checkpoint_name: str, samples: Selection) -> bool:
    where = evaluation_folder(run, samples.name, checkpoint_name)
    try:
        found, model = read_predictions(where), published_digest(run, checkpoint_name)
    except (FileNotFoundError, UserError):
        return False
    # Those that do not say whose they are, are made again: with the features in the cache that takes a moment.
    same = (found.model, found.digest) == (model, samples.split.digest) and np.array_equal(found.index, samples.index)
    return same and has_figures(where)


def has_figures(where: Path) -> bool:
    """Whether an evaluation's metrics.json is there, whole, and of the predictions beside it."""
    with suppress(FileNotFoundError, UserError):
        told = read_json(where / "metrics.json")
        # Figures of a version that did not say of what are taken for those of the predictions.
        of = made_of(read_predictions(where))
        return "top1" in told and all(told.get(name, digest) == digest for name, digest in of.items())
    return False


def _figures(folder: Path, cells: list[Cell], epochs: tuple[int, ...], samples: Selection) -> dict[str, Any]:
    """Top-1 and top-3 of every run by variant and epoch, in the order of the seeds."""
    figures: dict[str, Any] = {}
    for variant in dict.fromkeys(cell.variant for cell in cells):
        figures[variant] = {}
        for epoch in epochs:
            runs = [folder / cell.name for cell in cells if cell.variant == variant]
            places = [evaluation_folder(run, samples.name, f"epoch-{epoch}") for run in runs]
            summaries = [read_json(place / "metrics.json") for place in places]
            kept = {key: [summary[key] for summary in summaries] for key in ("top1", "top3") if key in summaries[0]}
            figures[variant][f"epoch-{epoch}"] = kept
    return figures


def _show(console: Console, figures: dict[str, Any], epochs: tuple[int, ...]) -> None:
    """The table of a study: mean top-1 and its range over seeds."""
    columns = ["skip", *(f"after epoch {epoch}: top-1 %, mean (range over seeds)" for epoch in epochs)]
    rows = []
    for variant, by_epoch in figures.items():
        row = [str(variant)]
        for epoch in epochs:
            top1 = by_epoch[f"epoch-{epoch}"]["top1"]
            row.append(f"{per_cent(sum(top1) / len(top1), 2)} ({per_cent(min(top1), 2)} to {per_cent(max(top1), 2)})")
        rows.append(row)
    if rows:
        console.table(f"Top-1 accuracy of {len(figures)} variants", columns, rows)
