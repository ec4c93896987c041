"""What train.py is asked for, by its command line or by keywords: a new run, or the one to go on with."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from alexnet_skip.settings.command_line import (
    arguments_or_own,
    command_line,
    flat,
    last_value,
    read_command_line,
    require,
    to_dict,
)
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.keywords import plain, with_keywords
from alexnet_skip.settings.records import has_published, is_finished, read_run_config
from alexnet_skip.settings.shared import CheckpointSettings, StudySettings
from alexnet_skip.settings.train import RECIPES, RunSettings, TrainSettings
from alexnet_skip.system.errors import UserError

# The settings in ``--help``: the everyday ones, then the others by what they are about.
GROUPS = {
    "everyday": ("skip", "skip_mode", "dataset", "data_dir", "weights", "epochs", "name", "runs_dir", "resume", "study",
                 "dry_run", "quiet", "json"),
    "training": ("recipe", "batch_size", "lr", "weight_decay", "dropout", "label_smoothing", "class_weights", "hflip",
                 "val_fraction", "pca_basis", "seed", "mixed_precision", "force_precision"),
    "finetuning": ("finetune", "finetune_from", "finetune_epochs", "finetune_lr", "finetune_layer_decay",
                   "finetune_batch_size", "finetune_reinit"),
    "image": ("data_archive", "data_url", "limit_train", "limit_test", "train_on", "skip_unreadable", "verify_images"),
    "studies": ("study_variants", "seeds"),
    "storage": ("snapshot_epochs", "checkpoint_minutes", "checkpoint_epochs", "keep_checkpoints", "cache_dir", "cache"),
}  # fmt: skip

# What an interrupted run may go on with changed: where things lie and are looked at, what is shown and what is kept.
# Settings that are easily given for the one that they go with: `--skip-mode conv` alone would train without a skip.
IDLE_ALONE = ("skip_mode", "study_variants", "seeds")
# That images and weights are those it was started with, their digests tell (RunConfig.require_same).
MAY_CHANGE = frozenset(
    ("runs_dir", "quiet", "json", "dry_run", "snapshot_epochs", "resume", "checkpoint_minutes", "checkpoint_epochs",
     "keep_checkpoints", "cache_dir", "dataset", "data_dir", "data_archive", "data_url", "verify_images", "weights")
)  # fmt: skip

# What a run that begins with another's model may have of its own: its second stage, and its place.
MAY_DIFFER_FROM_PARENT = frozenset((*GROUPS["finetuning"], "name"))


def with_optional_value(arguments: Sequence[str], flag: str) -> list[str]:
    """Arguments in which a bare ``flag`` has an empty value, so that a parser may demand one."""
    following = [*arguments, "--"][1:]
    return [f"{a}=" if a == flag and b.startswith("--") else a for a, b in zip(arguments, following, strict=True)]


def find_unfinished(runs_dir: Path, run: str) -> Path:
    """Folder of the run to go on with: the named one, or for an empty name the newest that is not finished.

    Raises:
        UserError: if there is none.
    """
    if run:
        return _named_run("--resume", run, runs_dir)
    folders = [path.parent for path in runs_dir.glob("*/config.json")]
    finished = {folder for folder in folders if is_finished(folder)}
    unfinished = {f: read_run_config(f).created for f in folders if f not in finished and _can_go_on(f)}
    if not unfinished:
        raise UserError(
            f"--resume: {runs_dir} holds no unfinished run ({len(finished)} finished); to train a finished one "
            "further that kept its checkpoints (--checkpoint-epochs), name it and give more epochs: --resume RUN "
            "--epochs MORE, unless it has a second stage (--finetune); otherwise start a new run"
        )
    return max(unfinished, key=lambda folder: (unfinished[folder], folder.name))


def _can_go_on(folder: Path) -> bool:
    """Whether a run came to its first step, and has a checkpoint if it has published: else nothing is to go on with."""
    left: tuple[str, ...] = ("metrics.jsonl", "checkpoints", "events.out.tfevents.*")
    if has_published(folder):
        left = ("checkpoints/step-*/complete.json",)
    return any(any(folder.glob(pattern)) for pattern in left)


def refuse_changes(before: Any, after: Any, folder: Path) -> None:
    """Refuse to go on with a run under settings that would make it another run.

    Args:
        before: as it was started.
        after: as the command line asks for; ``epochs`` may have grown, and :data:`MAY_CHANGE` may differ.

    Raises:
        UserError: naming each setting that differs, and both values.
    """
    # A second stage counts on from the epochs of the first.
    grown = after.training.epochs > before.training.epochs and not after.finetuning.finetune
    if told := _changes(before, after, MAY_CHANGE | ({"epochs"} if grown else set())):
        raise UserError(
            f"--resume {folder}: {told}. A run goes on with the settings it was started with (only --epochs may grow, "
            "and not with --finetune): leave these out, or start a new run"
        )


def _changes(before: Any, after: Any, may_differ: frozenset[str]) -> str:
    """The settings that differ and may not, with both values, in words."""
    old, new = flat(to_dict(before)), flat(to_dict(after))
    changed = [name for name in new if new[name] != old.get(name) and name not in may_differ]
    return "; ".join(f"--{name.replace('_', '-')} is {new[name]}, but was {old.get(name)}" for name in changed)


def _named_run(flag: str, run: str, runs_dir: Path) -> Path:
    """Folder of a run by its name or path.

    Raises:
        UserError: if there is none, or it is one of a run's published models: to go on there would overwrite it.
    """
    for folder in (Path(run), runs_dir / run):
        if (folder / "model.safetensors").is_file():
            own = folder.parent.parent if folder.parent.name == "snapshots" else folder.parent
            way = f"give the run's folder: {own}" if (own / "config.json").is_file() else "it lies without its run here"
            raise UserError(f"{flag} is {run}, which is a published model and no run; {way}")
        if (folder / "config.json").is_file():
            return folder
    raise UserError(f"{flag} is {run}, but neither {Path(run)} nor {runs_dir / run} holds a run's config.json")


def _from_parent(run: str, runs_dir: Path, read: Callable[[TrainSettings], TrainSettings]) -> TrainSettings:
    """The settings of a new run that begins with the model of a finished one."""
    folder = _named_run("--finetune-from", run, runs_dir)
    config = read_run_config(folder)
    before = dataclasses.replace(
        config.settings, data=config.data, finetuning=FinetuneSettings(), run=RunSettings(runs_dir=runs_dir),
        study=StudySettings(), checkpoints=CheckpointSettings(),
    )  # fmt: skip
    after = read(before)
    if told := _changes(before, after, MAY_CHANGE | MAY_DIFFER_FROM_PARENT):
        raise UserError(
            f"--finetune-from {folder}: {told}. What its head was trained with stays as it was: leave these out, or "
            "train a new run with --finetune"
        )
    epochs = after.training.epochs
    early = [epoch for epoch in after.run.snapshot_epochs if epoch <= epochs]
    require(not early, "--snapshot-epochs", early, f"above {epochs}: the epochs up to it were those of {folder}")
    # Where it was found, as --resume has it: nobody looks for the name again.
    return dataclasses.replace(after, finetuning=dataclasses.replace(after.finetuning, finetune_from=str(folder)))


def parse_train(argv: Sequence[str] | None = None) -> TrainSettings:
    """Read train.py's command line; raises as :func:`alexnet_skip.settings.command_line.read_command_line`."""
    arguments = with_optional_value(arguments_or_own(argv), "--resume")
    names = ("--resume", "--finetune-from", "--runs-dir", "--recipe")
    run, parent, runs_dir, recipe = (last_value(arguments, flag) for flag in names)
    typed = [name for name in IDLE_ALONE if last_value(arguments, f"--{name.replace('_', '-')}") is not None]
    return _asked(
        run, parent, runs_dir, recipe, lambda default: read_command_line(default, arguments, "train.py", GROUPS), typed
    )


def train_settings(options: Mapping[str, Any]) -> TrainSettings:
    """The same from keywords, named as the flags; raises as :func:`with_keywords`, and UserError as a command line."""
    names = ("resume", "finetune_from", "runs_dir", "recipe")
    run, parent, runs_dir, recipe = (plain(options.get(name)) for name in names)
    return _asked(run, parent, runs_dir, recipe, lambda default: with_keywords(default, options))


def _asked(
    run: Any, parent: Any, runs_dir: Any, recipe: Any, read: Callable[[TrainSettings], TrainSettings],
    typed: Sequence[str] = (),
) -> TrainSettings:  # fmt: skip
    """What is read over the settings that it starts from: the recipe's, or those of the run to go on with.

    Args:
        typed: settings that were given, be it with their usual value, which must not stay without effect.
    """
    if run is not None:
        return _resumed(str(run), Path(runs_dir or RunSettings.runs_dir), read)
    if parent is not None:
        return _from_parent(str(parent), Path(runs_dir or RunSettings.runs_dir), read)
    # The recipe's values become the defaults, so that --help shows them and every flag overrides them.
    # One that there is not is refused when it is read.
    asked = read(TrainSettings.of_recipe(str(recipe)) if str(recipe) in RECIPES else TrainSettings())
    for name, lacking in _idle(asked, typed).items():
        value = flat(to_dict(asked))[name]
        shown = " ".join(map(str, value)) if isinstance(value, list) else value
        flag = f"--{name.replace('_', '-')}"
        if name == "skip_mode" and asked.study.study:
            raise UserError(
                f"{flag} is {shown}, but has no effect with --study; give --study-variants {shown}, or leave out {flag}"
            )
        raise UserError(f"{flag} is {shown}, but without {lacking} it has no effect; give both, or leave out {flag}")
    return asked


def _idle(settings: TrainSettings, typed: Sequence[str] = ()) -> dict[str, str]:
    """Settings without effect, which configs of runs may hold, and what each lacks."""
    lacking = {} if settings.skip else {"skip_mode": "--skip"}  # which a study does not have
    if not settings.study.study:
        lacking |= dict.fromkeys(("study_variants", "seeds"), "--study")
    if not settings.finetuning.finetune:
        lacking |= dict.fromkeys(to_dict(settings.finetuning), "--finetune 1, 2 or 3")
    given, usual = flat(to_dict(settings)), flat(to_dict(TrainSettings()))
    return {name: what for name, what in lacking.items() if given[name] != usual[name] or name in typed}


def train_command(settings: TrainSettings, leave_out: Sequence[str] = ()) -> list[str]:
    """The words of a command line that asks for these settings; :func:`parse_train` of them trains the same.

    Args:
        leave_out: names of settings that are not told; nor are those without effect.
    """
    # The recipe itself has to be named.
    start = dataclasses.replace(TrainSettings.of_recipe(settings.recipe), recipe=TrainSettings.recipe)
    return command_line(settings, start, (*leave_out, *_idle(settings)))


def _resumed(run: str, runs_dir: Path, read: Callable[[TrainSettings], TrainSettings]) -> TrainSettings:
    """The settings of the run to go on with, and of them what may be changed."""
    folder = find_unfinished(runs_dir, run)
    config = read_run_config(folder)
    # "auto" must find the same images again, whatever has been downloaded since.
    before = dataclasses.replace(config.settings, data=config.data)
    after = read(before)
    refuse_changes(before, after, folder)
    return dataclasses.replace(
        after,
        run=dataclasses.replace(after.run, runs_dir=folder.parent),
        checkpoints=dataclasses.replace(after.checkpoints, resume=str(folder)),
    )
