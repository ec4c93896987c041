"""What is compared: runs, or the variants of a study with all their seeds; and their predictions."""

import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_skip.network.prediction import probabilities
from alexnet_skip.runs.folders import Report, evaluation_folder, find_run, published_folder, runs_in
from alexnet_skip.runs.predictions import (
    Predictions,
    another_model,
    no_predictions,
    of_another_model,
    read_predictions,
)
from alexnet_skip.settings.records import RunConfig, read_model_config, read_run_config
from alexnet_skip.settings.shared import VARIANTS, SkipMode, StudySettings
from alexnet_skip.study.grid import FinishedRun, comparable, finished_runs, is_judged, study_command
from alexnet_skip.system.commands import train_command
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import MAX_NAME_BYTES, part_of_name


@dataclass(frozen=True)
class Side:
    """One side of a comparison.

    Attributes:
        name: for people.
        variant: how the tap joins.
        runs: folders, one per seed.
        config: the first run's.
    """

    name: str
    variant: str
    runs: tuple[Path, ...]
    seeds: tuple[int, ...]
    config: RunConfig

    @property
    def stem(self) -> str:
        """The name as part of a file's name."""
        if self.name in VARIANTS.values():
            return self.variant
        # Two of them are in one name. Of one that is too long the digits of its checksum tell it from others.
        whole, most = self.name.replace("/", "-").replace("\\", "-"), MAX_NAME_BYTES // 2
        if len(whole.encode()) <= most:
            return whole
        return f"{part_of_name(whole, most - 9)}-{zlib.crc32(whole.encode()):08x}"

    def temperatures(self, checkpoint_name: str) -> list[float | None]:
        """Those of each run's published model of that name; None for models without, or that are gone."""
        found: list[float | None] = []
        for run in self.runs:
            try:
                found.append(read_model_config(published_folder(run, checkpoint_name)).temperature)
            except UserError:
                found.append(None)
        return found

    def probabilities(self, predictions: Sequence[Predictions], checkpoint_name: str) -> list[np.ndarray]:
        """What each run's published model of that name tells (N, C), from its predictions."""
        fitted = self.temperatures(checkpoint_name)
        return [probabilities(one.logits, t) for one, t in zip(predictions, fitted, strict=True)]


def newest_study(runs_dir: Path, report: Report) -> Path | None:
    """The study whose newest run is the newest; None where no folder of runs is one.

    Args:
        report: told which runs can't say whether they are of one, and why.
    """
    created = {}
    for run in (run for run in runs_in(runs_dir) if run.parent != runs_dir):
        try:
            config = read_run_config(run)
        except UserError as error:
            report(f"{run} is left out: {error}")
            continue
        if is_judged(config):
            created[run] = config.created
    return max(created, key=lambda run: created[run]).parent if created else None


def find_study(runs_dir: Path, names: Sequence[str], report: Report = lambda _: None) -> Path | None:
    """The study that is named; :func:`newest_study` if none is; None where the names are those of runs."""
    if not names:
        newest = newest_study(runs_dir, report)
        if newest is None:
            raise UserError(f"--runs-dir {runs_dir} holds no study: name runs, or make one:{train_command('--study')}")
        return newest
    for folder in (Path(names[0]), runs_dir / names[0]):
        if not (folder / "config.json").is_file() and runs_in(folder):
            if len(names) > 1:
                raise UserError(f"{names[0]} is a study; give one study alone, or only runs")
            return folder
    return None


def sides_of_study(study: Path, least: int = 2) -> list[Side]:
    """The variants of a study, without the skip first, with the seeds that all of them have finished.

    What is :func:`left_out` is the least that can be (:func:`~alexnet_skip.study.grid.comparable`).

    Args:
        least: how many variants there must be.

    Raises:
        UserError: if there are not as many variants with a seed in common, or the folder is no study.
    """
    found = finished_runs(study)
    chosen = comparable(found, least)
    if chosen is None:
        have = "; ".join(f"{variant}: {', '.join(map(str, sorted(runs)))}" for variant, runs in found.items())
        raise UserError(
            f"{study} has no seed that two variants have finished ({have or 'nothing is finished'}); go on with it by "
            f"the command that began it{_command_going_on(study, found)}"
        )
    variants, seeds = chosen
    return [
        Side(
            VARIANTS[variant],
            variant,
            tuple(found[variant][seed].folder for seed in seeds),
            seeds,
            found[variant][seeds[0]].config,
        )
        for variant in variants
    ]


def _command_going_on(study: Path, found: Mapping[SkipMode, Mapping[int, FinishedRun]]) -> str:
    """A command that makes more of a study, as the end of a message; nothing where no run tells its settings."""
    if not found:
        return ""
    runs = [run for of_variant in found.values() for run in of_variant.values()]
    variants = tuple(found) if len(found) > 1 else StudySettings.study_variants
    words = study_command(study, runs[0].config, variants, sorted({run.seed for run in runs}))
    return f", or by this one, which has its settings:{train_command(*words)}"


def left_out(study: Path | None, sides: Sequence[Side]) -> dict[str, str]:
    """Why runs of a study are on none of its sides, by their names; nothing where there is no study."""
    kept, compared = {run for side in sides for run in side.runs}, {side.variant for side in sides}
    why = {}
    for run in (run for run in (runs_in(study) if study else ()) if run not in kept):
        why[run.name] = "not finished"
        if (run / "summary.json").is_file():
            settings = read_run_config(run).settings
            lacking = "some form compared lacks this seed" if settings.joined in compared else "too few seeds in common"
            why[run.name] = f"{VARIANTS[settings.joined]}, seed {settings.training.seed}: {lacking}"
    return why


def in_words(left: Mapping[str, str]) -> list[str]:
    """What is :func:`left_out` in a sentence; none where nothing is."""
    runs = "; ".join(f"{name} ({why})" for name, why in left.items())
    return [f"Left out, {len(left)} of the study's runs: {runs}."] if left else []


def sides_of_runs(runs_dir: Path, names: Sequence[str]) -> list[Side]:
    """One side for each run."""
    runs = [find_run(runs_dir, name) for name in names]
    sides = []
    for run, name in zip(runs, _names_of(runs, runs_dir), strict=True):
        config = read_run_config(run)
        sides.append(Side(name, config.settings.joined, (run,), (config.settings.training.seed,), config))
    return sides


def _names_of(runs: Sequence[Path], runs_dir: Path) -> list[str]:
    """What each run is called: its place in the folder of all runs, elsewhere as much of its path as tells it apart."""
    top, *places = (Path(os.path.abspath(path)) for path in (runs_dir, *runs))
    names = []
    for place in places:
        ends = [place.parts[-count:] for count in range(1, len(place.parts))]
        apart = (end for end in ends if all(other == place or other.parts[-len(end) :] != end for other in places))
        inside = place != top and place.is_relative_to(top)
        names.append(place.relative_to(top).as_posix() if inside else "/".join(next(apart, place.parts)))
    return names


def read_sides(sides: Iterable[Side], split: str, checkpoint_name: str) -> tuple[str, list[list[Predictions]]]:
    """Predictions of every run of every side on one split: the one wanted, or val where it stands in for test.

    It does where no run has any on test, nor is known to have a test split.

    Returns:
        The split, and a list of predictions per side, in the order of its seeds.

    Raises:
        UserError: if predictions are missing (says the command that makes them), damaged, or of different samples.
    """
    sides = list(sides)
    runs = [run for side in sides for run in side.runs]
    has = {name: [run for run in runs if has_predictions(run, name, checkpoint_name)] for name in ("test", "val")}
    known = any("test" in side.config.dataset.splits for side in sides)
    if split == "test" and not has["test"] and has["val"] and not known:
        split = "val"
    predictions = []
    for side in sides:
        predictions.append([_read(run, split, checkpoint_name) for run in side.runs])
    first = predictions[0][0]
    for side, of_side in zip(sides, predictions, strict=True):
        for run, one in zip(side.runs, of_side, strict=True):
            if one.digest != first.digest:
                raise UserError(
                    f"the {split} images of {run} are other ones than those of {runs[0]} (SHA-256 {one.digest[:12]} "
                    f"and {first.digest[:12]}, {len(one.labels):,} and {len(first.labels):,} samples): only runs whose "
                    "own images are the same can be compared, whatever others they were evaluated on (--dataset); give "
                    "others, or evaluate again the one whose images have changed since"
                )
            if not one.same_samples(first):
                raise UserError(
                    f"{run} was evaluated on other samples of the same images than {runs[0]} ({len(one.labels):,} and "
                    f"{len(first.labels):,}): compare runs with the same --val-fraction, on the same --split"
                )
    return split, predictions


def has_predictions(run: Path, split: str, checkpoint_name: str) -> bool:
    """Whether one of a run's published models was evaluated on a split."""
    return (evaluation_folder(run, split, checkpoint_name) / "predictions.npz").is_file()


def _read(run: Path, split: str, checkpoint_name: str) -> Predictions:
    where = evaluation_folder(run, split, checkpoint_name)
    try:
        found = read_predictions(where)
    except FileNotFoundError:
        raise UserError(no_predictions(run, split, checkpoint_name)) from None
    if of_another_model(found, where, run, checkpoint_name):
        raise UserError(another_model(run, split, checkpoint_name))
    return found
