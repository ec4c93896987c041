"""The settings of a run that is to go on: found, read back, and held against what the command line asks for now."""

import dataclasses
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json

Settings = TypeVar("Settings")

# What an interrupted run may go on with changed: where things lie, what is shown and what is kept.
MAY_CHANGE = frozenset(
    ("runs_dir", "quiet", "dry_run", "snapshot_epochs", "resume", "checkpoint_minutes", "checkpoint_epochs",
     "keep_checkpoints", "cache_dir", "data_dir", "data_archive")
)  # fmt: skip


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
        for folder in (Path(run), runs_dir / run):
            if (folder / "config.json").is_file():
                return folder
        raise UserError(f"--resume is {run}, but neither {Path(run)} nor {runs_dir / run} holds a run's config.json")
    folders = [path.parent for path in runs_dir.glob("*/config.json")]
    unfinished = {f: str(read_json(f / "config.json").get("created", "")) for f in folders if not _finished(f)}
    if not unfinished:
        raise UserError(
            f"--resume: {runs_dir} holds no unfinished run ({len(folders)} finished); to train a finished one "
            "further, name it and give more epochs: --resume RUN --epochs MORE"
        )
    return max(unfinished, key=lambda folder: (unfinished[folder], folder.name))


def _finished(folder: Path) -> bool:
    """Whether a run has come to the end that its config asks for; a damaged config counts as finished."""
    try:
        wanted = read_json(folder / "config.json")["settings"]["training"]["epochs"]
        return bool(read_json(folder / "summary.json")["epochs"] >= wanted)
    except UserError:
        return not _readable(folder / "config.json")
    except (KeyError, TypeError):
        return True


def _readable(path: Path) -> bool:
    try:
        return bool(read_json(path))
    except UserError:
        return False


def read_settings(kind: type[Settings], folder: Path) -> Settings:
    """The settings that a run was started with, its images named as they were found.

    Raises:
        UserError: if its config.json is damaged or of another version.
    """
    config = read_json(folder / "config.json")
    try:
        values = dict(config["settings"])
        # "auto" must find the same images again, whatever has been downloaded since.
        values["data"] = values["data"] | {"dataset": config["dataset"]["source"]}
        return from_dict(kind, values)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{folder / 'config.json'} holds no settings of this version ({error}); start a new run"
        ) from None


def from_dict(kind: type[Settings], values: dict[str, Any]) -> Settings:
    """Undo :func:`alexnet_skip.settings.command_line.to_dict`; fields that are not there get their defaults.

    Raises:
        ValueError: for an unknown name, or a value that its field can't have.
    """
    names, hints = {field.name for field in dataclasses.fields(cast(Any, kind))}, get_type_hints(kind)
    if unknown := sorted(set(values) - names):
        raise ValueError(f"unknown setting {unknown[0]}")
    return kind(**{name: _convert(hints[name], value, name) for name, value in values.items()})


def _convert(kind: Any, value: Any, name: str) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return from_dict(cast(type, kind), value)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _convert(inner[0], value, name)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) == len(value):
            return tuple(_convert(k, v, name) for k, v in zip(kinds, value, strict=True))
    if kind is float and type(value) is int:
        return float(value)
    if kind in (bool, int, float, str) and type(value) is kind:
        return value
    raise ValueError(f"{name} is {value!r}")


def refuse_changes(before: Any, after: Any, folder: Path) -> None:
    """Refuse to go on with a run under settings that would make it another run.

    Args:
        before: as it was started.
        after: as the command line asks for; ``epochs`` may have grown, and :data:`MAY_CHANGE` may differ.

    Raises:
        UserError: naming each setting that differs, and both values.
    """
    old, new = _flat(to_dict(before)), _flat(to_dict(after))
    changed = [name for name in new if new[name] != old.get(name) and name not in MAY_CHANGE]
    changed = [name for name in changed if name != "epochs" or new[name] < old[name]]
    if changed:
        told = "; ".join(f"--{n.replace('_', '-')} is {new[n]}, but was {old.get(n)}" for n in changed)
        raise UserError(
            f"--resume {folder}: {told}. A run goes on with the settings it was started with (only --epochs may grow): "
            "leave these out, or start a new run"
        )


def _flat(values: dict[str, Any]) -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        flat |= _flat(value) if isinstance(value, dict) else {name: value}
    return flat


def continue_config(before: dict[str, Any], now: dict[str, Any], folder: Path) -> dict[str, Any]:
    """What config.json says of a run that goes on: as before, with its settings of now and where it was taken up.

    Raises:
        UserError: if the images or the backbone's weights are not those it was started with.
    """
    for what, old, new in (
        ("the training images", before["dataset"]["digest"], now["dataset"]["digest"]),
        ("the classes", before["dataset"]["class_names"], list(now["dataset"]["class_names"])),
        ("the backbone's weights", before["weights"]["sha256"], now["weights"]["sha256"]),
    ):
        if old != new:
            raise UserError(f"--resume {folder}: {what} have changed since it was started; start a new run")
    about = ("device", "num_processes", "precision", "environment")
    taken_up = {"time": now["created"]} | {key: now[key] for key in about}
    return before | {"settings": now["settings"], "resumed": [*before.get("resumed", []), taken_up]}
