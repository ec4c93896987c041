"""What a figure depends on: images, weights, settings, machine, versions; and the commands that make it again."""

import dataclasses
import inspect
import textwrap
from collections.abc import Sequence

from alexnet_skip import __version__
from alexnet_skip.network.head import SkipConnection
from alexnet_skip.network.layers import upper_layers
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.train import StudySettings
from alexnet_skip.settings.train_arguments import train_command
from alexnet_skip.system.commands import shell_word

# The lines of the backbone's second half that tap it: from the fourth convolution to what is kept of it.
TAPPED = ('x = layers["8"]', "tap =")


def settings_rows(subject: Subject) -> list[tuple[str, str]]:
    """Settings of the training by flag; a study's seeds and forms are told beside them."""
    settings = subject.config.settings
    training = to_dict(settings.training) | (to_dict(settings.finetuning) if settings.finetuning.finetune else {})
    rows: list[tuple[str, str]] = [("recipe", settings.recipe)]
    rows += [(name, " ".join(map(str, v)) if isinstance(v, list) else str(v)) for name, v in training.items()]
    seeds = " ".join(str(seed) for seed in subject.sides[0].seeds)
    return [(f"--{name.replace('_', '-')}", seeds if name == "seed" else value) for name, value in rows]


def data_rows(subject: Subject, text: Text) -> list[tuple[str, str]]:
    """Images, weights and machine."""
    config = subject.config
    height, width = config.image_size or (0, 0)
    rows = [
        (text("facts.dataset"), config.dataset.name),
        (text("facts.train_images"), f"{config.num_train:,}"),
        (text("facts.val_images"), f"{config.num_val:,}"),
        (text("facts.image_size"), f"{height}×{width}"),
        (text("facts.images_digest"), config.dataset.digest),
    ]
    if subject.last is not None:
        first = subject.last.predictions[0][0]
        rows.append((text("facts.judged_on"), f"{subject.split}, {len(first.labels):,}"))
        rows.append((text("facts.judged_digest"), first.digest))
    if config.weights is not None:
        rows.append((text("facts.weights"), config.weights.source))
        rows.append((text("facts.weights_digest"), config.weights.sha256))
    rows.append((text("facts.device"), f"{config.device} × {config.num_processes}"))
    if config.precision is not None:
        rows.append((text("facts.precision"), f"{config.precision.mixed_precision} ({config.precision.reason})"))
    rows += [(name, str(value)) for name, value in config.environment.items() if value is not None]
    return [(name, value) for name, value in rows if value not in ("", "0×0")]


def commands(subject: Subject) -> list[str]:
    """The commands that make the study or runs, and their evaluation, again."""
    if subject.study is not None:
        return [_study_command(subject), f"python evaluate.py --report {shell_word(subject.study.as_posix())}"]
    made = []
    for side, run in zip(subject.sides, subject.runs, strict=True):
        settings = side.config.settings
        settings = dataclasses.replace(settings, data=side.config.data)
        made.append(_joined("train.py", train_command(settings, ("resume",))))
        made.append(f"python evaluate.py --run {shell_word(run.as_posix())}")
    return made


def _study_command(subject: Subject) -> str:
    """The command that the runs of a study were started by: their settings, less what tells one from another."""
    assert subject.study is not None
    config, variants = subject.config, tuple(side.variant for side in subject.sides)
    settings = config.settings
    settings = dataclasses.replace(
        settings,
        skip=False,
        skip_mode="conv",
        data=config.data,
        training=dataclasses.replace(settings.training, seed=0),
        run=dataclasses.replace(settings.run, runs_dir=subject.study.parent, name=None),
        study=StudySettings(study=True, study_variants=variants, seeds=subject.sides[0].seeds),  # type: ignore[arg-type]
    )
    # Not through the settings: a folder may have been given a name since that --name would refuse.
    return _joined("train.py", [*train_command(settings, ("resume",)), "--name", subject.study.name])


def _joined(script: str, words: Sequence[str]) -> str:
    return f"accelerate launch {script} {' '.join(shell_word(word) for word in words)}"


def embeddings_wanted(subject: Subject) -> list[str]:
    """The commands that draw the space of the first and the last side, at the low and the high epoch."""
    runs = dict.fromkeys((subject.sides[0].runs[0], subject.sides[-1].runs[0]))
    names = [stage.checkpoint_name for stage in subject.stages] or ["best"]
    return [
        f"python embed.py --run {shell_word(run.as_posix())} --layer hidden2"
        + ("" if name == "best" else f" --checkpoint {name}")
        for run in runs
        for name in names
    ]


def skip_code() -> list[tuple[str, str]]:
    """The lines that are the skip, by the place they stand in: where it taps the network, and where it joins."""
    lines = [line.strip() for line in inspect.getsource(upper_layers).splitlines()]
    first, last = (next(n for n, line in enumerate(lines) if line.startswith(start)) for start in TAPPED)
    return [
        ("alexnet_skip/network/layers.py", "\n".join(lines[first : last + 1])),
        ("alexnet_skip/network/head.py", textwrap.dedent(inspect.getsource(SkipConnection.forward))),
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
