"""What a report is of: a study, one run, or runs side by side; and what was evaluated of them."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from alexnet_skip.runs.folders import Report, find_run
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.settings.records import RunConfig, is_published, read_model_config, read_run_config
from alexnet_skip.statistics.metrics import usual_topk
from alexnet_skip.study.sides import (
    Side,
    find_study,
    has_predictions,
    left_out,
    newest_study,
    read_sides,
    sides_of_runs,
    sides_of_study,
)
from alexnet_skip.study.verdict import Comparison, compare
from alexnet_skip.system.commands import shell_word
from alexnet_skip.system.errors import UserError

# How much of the names of several runs the name of their report has.
MAX_NAME_LETTERS = 80


@dataclass(frozen=True)
class Stage:
    """What all sides said at one of their published models.

    Attributes:
        checkpoint_name: ``epoch-N``, ``best`` or ``last``.
        predictions: by side, by seed.
    """

    checkpoint_name: str
    predictions: list[list[Predictions]]

    @cached_property
    def comparisons(self) -> list[Comparison]:
        """Every side but the first, held against it."""
        return compare(self.predictions, self.topk) if len(self.predictions) > 1 else []

    @property
    def topk(self) -> tuple[int, ...]:
        """The k's of the accuracies that are told."""
        return usual_topk(self.predictions[0][0].logits.shape[1])


@dataclass(frozen=True)
class Subject:
    """What a report is of.

    Attributes:
        name: of the study or runs, for people.
        folder: of the study, or of the first run.
        study: the same, where it is one.
        split: that was evaluated; empty if nothing was.
        stages: the low and the high epoch, or one model of each run; none where nothing was evaluated.
    """

    name: str
    folder: Path
    study: Path | None
    sides: list[Side]
    split: str
    stages: list[Stage]

    @property
    def config(self) -> RunConfig:
        """The first run's."""
        return self.sides[0].config

    @cached_property
    def configs(self) -> list[list[RunConfig]]:
        """Of all runs, by side, by seed."""
        return [[side.config, *(read_run_config(run) for run in side.runs[1:])] for side in self.sides]

    @cached_property
    def left_out(self) -> list[str]:
        """Names of the study's runs that are on none of its sides."""
        return sorted(left_out(self.study, self.sides))

    @property
    def asks_of_skip(self) -> bool:
        """Whether forms of the skip are held against the network without it."""
        return self.study is not None and len(self.sides) > 1 and self.sides[0].variant == "none"

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the classes, which all runs share."""
        return self.config.dataset.class_names

    @property
    def seeds(self) -> int:
        """How many seeds each side has."""
        return len(self.sides[0].seeds)

    @property
    def last(self) -> Stage | None:
        """The stage that is judged: the high epoch."""
        return self.stages[-1] if self.stages else None

    @property
    def runs(self) -> list[Path]:
        """Folders of all runs, side by side."""
        return [run for side in self.sides for run in side.runs]

    def epoch(self, stage: Stage) -> int | None:
        """The epoch that all models of a stage are from; None where runs differ in it, or do not say (any more)."""
        epochs = {_epoch_of(run, stage.checkpoint_name) for run in self.runs}
        return epochs.pop() if len(epochs) == 1 else None

    def flags(self, stage: Stage | None) -> str:
        """What asks evaluate.py and embed.py for a stage's models and the split they are judged on."""
        if stage is None:
            return ""
        split = "" if self.split == "test" else f" --split {self.split}"
        return split + ("" if stage.checkpoint_name == "best" else f" --checkpoint {stage.checkpoint_name}")

    def evaluations(self) -> list[str]:
        """The commands that evaluate the runs as they are judged here; where nothing is, those that make it so."""
        return [
            f"python evaluate.py --run {shell_word(run.as_posix())}{self.flags(stage)}"
            for run in self.runs
            for stage in self.stages or (None,)
        ]

    def file_name(self, lang: str) -> str:
        """Of its report, unlike that of any other report in the folder."""
        others = "" if self.study else "-".join(side.stem for side in self.sides[1:])
        stem = f"report-against-{others}" if others else "report"
        if len(stem) > MAX_NAME_LETTERS:
            stem = f"{stem[:MAX_NAME_LETTERS]}-{zlib.crc32(others.encode()):08x}"
        return f"{stem}.html" if lang == "en" else f"{stem}.{lang}.html"


def find_subject(runs_dir: Path, names: Sequence[str], report: Report = lambda _: None) -> Subject:
    """The study or runs that are named; the newest study, or else the newest run, if none is.

    Args:
        report: told which runs can't say whether they are the newest, and why.

    Raises:
        UserError: if there is no such study or run, or what its files say does not fit together.
    """
    study = find_study(runs_dir, names) if names else newest_study(runs_dir, report)
    if not names and study is None:
        names = (str(find_run(runs_dir, None, report)),)
    sides = sides_of_study(study, least=1) if study else sides_of_runs(runs_dir, names)
    _refuse_other_classes(sides)
    split, stages = _read_stages(sides)
    name = study.name if study else ", ".join(side.name for side in sides)
    return Subject(name, study or sides[0].runs[0], study, sides, split, stages)


def _refuse_other_classes(sides: Sequence[Side]) -> None:
    first = sides[0]
    for side in sides[1:]:
        if side.config.dataset.class_names != first.config.dataset.class_names:
            raise UserError(
                f"--report: {side.name} has the classes {', '.join(side.config.dataset.class_names)}, but {first.name} "
                f"{', '.join(first.config.dataset.class_names)}; name runs on the same images"
            )


def _read_stages(sides: Sequence[Side]) -> tuple[str, list[Stage]]:
    """What all runs were evaluated at: their first and last snapshot, or the best or last model; test before val."""
    epochs = [side.config.settings.run.snapshot_epochs for side in sides]
    snapshots = [f"epoch-{epoch}" for epoch in dict.fromkeys((epochs[0][0], epochs[0][-1]))] if epochs[0] else []
    choices = [snapshots] if snapshots and all(e == epochs[0] for e in epochs) else []
    runs = [run for side in sides for run in side.runs]
    for split in ("test", "val"):
        for names in (*choices, ["best"], ["last"]):
            if all(has_predictions(run, split, name) for run in runs for name in names):
                return split, [Stage(name, read_sides(sides, split, name)[1]) for name in names]
    return "", []


def _epoch_of(run: Path, checkpoint_name: str) -> int | None:
    """The epoch of one of a run's published models; None where the run does not say (any more)."""
    if checkpoint_name.startswith("epoch-"):
        return int(checkpoint_name.removeprefix("epoch-"))
    folder = run / {"best": "model"}.get(checkpoint_name, checkpoint_name)
    return read_model_config(folder).epoch if is_published(folder) else None
