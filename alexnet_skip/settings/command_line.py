"""Command lines from typed dataclasses (tyro), their checks, and their settings as JSON.

Nothing here imports torch, so that ``--help`` and a mistyped flag are answered at once.
"""

import dataclasses
import functools
import importlib
import sys
import types
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import tyro

from alexnet_skip.settings.form import VERSION, Groups, description_of, filled_in, form_of, values_of
from alexnet_skip.system.errors import UserError

Settings = TypeVar("Settings")


def require(condition: bool, flag: str, value: object, allowed: str) -> None:
    """Refuse a setting's value unless the condition holds.

    Raises:
        UserError: naming the flag, the value found and what is allowed.
    """
    if not condition:
        raise UserError(f"{flag} is {value}, but must be {allowed}; give {flag} another value or leave it out")


def require_checkpoint(value: str) -> None:
    """Refuse a ``--checkpoint`` that can't be the name of a published model; raises as :func:`require`."""
    kind, _, number = value.partition("-")
    valid = value in ("best", "last") or (kind == "epoch" and number.isdecimal())
    require(valid, "--checkpoint", value, "best, last or epoch-N")


def read_command_line(default: Settings, arguments: Sequence[str], prog: str, groups: Groups) -> Settings:
    """Read settings from a command line.

    Args:
        default: settings with the values that the command line does not give.
        arguments: without the program's name.
        prog: the script's name, for ``--help``.
        groups: in which ``--help`` shows the settings.

    Raises:
        SystemExit: with 0 after ``--help`` and ``--version``, with 2 and a suggestion for an unknown flag or a value of
            the wrong type.
        UserError: for a value out of range.
    """
    form, description = form_of(default, groups), description_of(type(default))
    values = values_of(tyro.cli(form, args=list(arguments), prog=prog, description=description))
    if values.pop(VERSION):
        # By name: to the check of layers the package itself imports torch, which it does on first use only.
        package = importlib.import_module("alexnet_skip")
        print(f"{package.__name__} {package.__version__}")
        raise SystemExit(0)
    return cast(Settings, filled_in(default, values))


def arguments_or_own(argv: Sequence[str] | None) -> list[str]:
    """The arguments given, or this process's own, their flags spelt as ``--help`` spells them.

    tyro takes ``--runs_dir`` for ``--runs-dir``; whoever looks at arguments before it must see the same.
    """
    return [_plain_flag(argument) for argument in (sys.argv[1:] if argv is None else argv)]


def _plain_flag(argument: str) -> str:
    if not argument.startswith("--"):
        return argument
    flag, equals, value = argument.partition("=")
    return flag.replace("_", "-") + equals + value


def last_value(arguments: Sequence[str], flag: str) -> str | None:
    """The value that a flag has in the end, or None if it is not given."""
    last = None
    for argument, following in pairwise([*arguments, ""]):
        if argument == flag:
            last = following
        elif argument.startswith(flag + "="):
            last = argument.partition("=")[2]
    return last


def to_dict(settings: Any) -> dict[str, Any]:
    """The settings as a JSON-ready dictionary, groups nested, paths as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return {key: plain(value) for key, value in dataclasses.asdict(settings).items()}


def flat(values: dict[str, Any]) -> dict[str, Any]:
    """A dictionary's entries with those of its inner ones beside them: settings by the names of their flags."""
    entries: dict[str, Any] = {}
    for name, value in values.items():
        entries |= flat(value) if isinstance(value, dict) else {name: value}
    return entries


def from_dict(kind: type[Settings], values: dict[str, Any], *, skip_unknown: bool = False) -> Settings:
    """Undo :func:`alexnet_skip.settings.command_line.to_dict`; fields that are not there get their defaults.

    Args:
        skip_unknown: leave out names that another version has written.

    Raises:
        ValueError: for an unknown name, a missing one without a default, or a value that its field can't have.
    """
    fields, hints = dataclasses.fields(cast(Any, kind)), _hints(cast(Any, kind))
    names = {field.name for field in fields}
    if (unknown := sorted(set(values) - names)) and not skip_unknown:
        raise ValueError(f"unknown setting {unknown[0]}")
    required = [f.name for f in fields if f.default is dataclasses.MISSING is f.default_factory]
    if missing := [name for name in required if name not in values]:
        raise ValueError(f"it lacks {missing[0]!r}")
    given = {name: value for name, value in values.items() if name in names}
    return kind(**{name: _convert(hints[name], value, name, skip_unknown) for name, value in given.items()})


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    # Half of the time that reading a config takes; a study's runs are told apart by reading dozens.
    return get_type_hints(kind)


def _convert(kind: Any, value: Any, name: str, skip_unknown: bool) -> Any:
    if dataclasses.is_dataclass(kind) and isinstance(value, dict):
        return from_dict(cast(type, kind), value, skip_unknown=skip_unknown)
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return None if value is None else _convert(inner[0], value, name, skip_unknown)
    if origin is dict and isinstance(value, dict):
        return dict(value)
    if kind is Path and isinstance(value, str):
        return Path(value)
    if origin is Literal and value in inner:
        return value
    if origin is tuple and isinstance(value, list):
        kinds = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
        if len(kinds) == len(value):
            return tuple(_convert(k, v, name, skip_unknown) for k, v in zip(kinds, value, strict=True))
    if kind is float and type(value) is int:
        return float(value)
    if kind in (bool, int, float, str) and type(value) is kind:
        return value
    raise ValueError(f"{name} is {value!r}")


def command_line(settings: Any, defaults: Any, leave_out: Iterable[str] = ()) -> list[str]:
    """The flags, with their values as words, that make settings out of defaults; the inverse of reading them.

    Args:
        leave_out: names of settings that are not told.
    """
    before, words = flat(to_dict(defaults)), []
    for name, value in flat(to_dict(settings)).items():
        if value == before[name] or name in leave_out:
            continue
        flag = name.replace("_", "-")
        if isinstance(value, bool):
            words.append(f"--{flag}" if value else f"--no-{flag}")
        elif isinstance(value, list):
            words += [f"--{flag}", *map(str, value)]
        else:
            words += [f"--{flag}", str(value)]
    return words
