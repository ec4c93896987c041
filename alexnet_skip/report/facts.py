"""What a figure depends on: images, weights, settings, machine, versions; and the commands that make it again."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from alexnet_skip import __version__
from alexnet_skip.report.names import by_run
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.records import RunConfig, read_run_config
from alexnet_skip.settings.train_arguments import train_command
from alexnet_skip.study.grid import study_command
from alexnet_skip.system.commands import shell_word
from alexnet_skip.system.errors import UserError


def settings_rows(subject: Subject, text: Text) -> list[tuple[str, str]]:
    """Settings of the training by flag; a study's forms are told beside them."""
    found = [
        [_settings_of(config, side.seeds) for config in of_side]
        for side, of_side in zip(subject.sides, subject.configs, strict=True)
    ]
    return _rows(subject, found, text)


def _settings_of(config: RunConfig, seeds: Sequence[int]) -> dict[str, str]:
    settings = config.settings
    values = {"recipe": settings.recipe} | to_dict(settings.training) | {"seed": seeds}
    values |= to_dict(settings.finetuning) if settings.finetuning.finetune else {}
    return {
        f"--{name.replace('_', '-')}": " ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
        for name, value in values.items()
    }


def data_rows(subject: Subject, text: Text) -> list[tuple[str, str]]:
    """Images, weights and machine."""
    found = [[_data_of(subject, config, text) for config in of_side] for of_side in subject.configs]
    return _rows(subject, found, text)


def _data_of(subject: Subject, config: RunConfig, text: Text) -> dict[str, str]:
    height, width = config.image_size or (0, 0)
    rows = {
        text("facts.dataset"): config.dataset.name,
        text("facts.train_images"): f"{config.num_train:,}",
        text("facts.val_images"): f"{config.num_val:,}",
        text("facts.image_size"): f"{height}×{width}",
        text("facts.images_digest"): config.dataset.digest,
    }
    if subject.last is not None:
        first = subject.last.predictions[0][0]
        rows[text("facts.judged_on")] = f"{subject.split}, {len(first.labels):,}"
        rows[text("facts.judged_digest")] = first.digest
    if config.weights is not None:
        rows[text("facts.weights")] = config.weights.source
        rows[text("facts.weights_digest")] = config.weights.sha256
    rows[text("facts.device")] = f"{config.device} × {config.num_processes}" if config.device else ""
    if config.precision is not None:
        rows[text("facts.precision")] = f"{config.precision.mixed_precision} ({config.precision.reason})"
    rows |= {name: str(value) for name, value in config.environment.items() if value is not None}
    return {name: value for name, value in rows.items() if value not in ("", "0×0")}


def _rows(subject: Subject, found: Sequence[Sequence[Mapping[str, str]]], text: Text) -> list[tuple[str, str]]:
    """The rows of all runs, by side and by run, as one table."""
    names = dict.fromkeys(name for of_side in found for of_run in of_side for name in of_run)
    return [
        (name, by_run(subject, [[of_run.get(name, "") for of_run in of_side] for of_side in found], text))
        for name in names
    ]


def commands(subject: Subject, text: Text) -> list[str]:
    """The commands that make the study or runs, and their evaluation, again."""
    if subject.study is not None:
        return [_study_command(subject), f"python evaluate.py --report {shell_word(subject.study.as_posix())}"]
    trained: dict[Path, str] = {}
    for side in subject.sides:
        parent = side.config.settings.finetuning.finetune_from
        if parent is not None:
            trained.setdefault(Path(parent).resolve(), _parent_command(Path(parent), text))
        trained.setdefault(side.runs[0].resolve(), _run_command(side.config))
    return [*trained.values(), *subject.evaluations()]


def _run_command(config: RunConfig) -> str:
    settings = dataclasses.replace(config.settings, data=config.data)
    return _joined("train.py", train_command(settings, ("resume",)))


def _parent_command(parent: Path, text: Text) -> str:
    """The command of the run that another one begins with, in the place where that one looks for it."""
    try:
        config = read_run_config(parent)
    except UserError:
        return f"# {text('again.no_parent', parent=parent.as_posix())}"
    place = dataclasses.replace(config.settings.run, runs_dir=parent.parent, name=None)
    made = _run_command(dataclasses.replace(config, settings=dataclasses.replace(config.settings, run=place)))
    return f"{made} --name {shell_word(parent.name)}"


def _study_command(subject: Subject) -> str:
    """The command that goes on with the study, or trains it again where it is not."""
    assert subject.study is not None
    variants = tuple(side.config.settings.joined for side in subject.sides)
    return _joined("train.py", study_command(subject.study, subject.config, variants, subject.sides[0].seeds))


def _joined(script: str, words: Sequence[str]) -> str:
    return f"accelerate launch {script} {' '.join(shell_word(word) for word in words)}"


def embeddings_wanted(subject: Subject) -> list[str]:
    """The commands that draw the space of the first and the last side, at the low and the high epoch."""
    runs = dict.fromkeys((subject.sides[0].runs[0], subject.sides[-1].runs[0]))
    return [
        f"python embed.py --run {shell_word(run.as_posix())} --layer hidden2{subject.flags(stage)}"
        for run in runs
        for stage in subject.stages or (None,)
    ]


def citation(subject: Subject) -> str:
    """A BibTeX entry of the program that made the figures."""
    commit = subject.config.environment.get("git_commit")
    note = f"Version {__version__}" + (f", commit {commit}" if commit else "")
    title = "alexnet\\_skip: transfer learning with a frozen AlexNet, with and without a skip connection"
    year = subject.config.created[:4]
    return "\n".join(
        ["@misc{alexnet_skip,", f"  title = {{{title}}},", f"  year = {{{year}}},", f"  note = {{{note}}}", "}"]
    )
