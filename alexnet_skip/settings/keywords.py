"""Settings as keywords of a Python call: named, typed and checked as the flags are."""

import dataclasses
import difflib
import inspect
import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar, cast, get_args, get_type_hints

from alexnet_skip.settings.command_line import flat, from_dict, to_dict
from alexnet_skip.system.errors import UserError

Settings = TypeVar("Settings")


def parameters_of(kind: type, leave_out: Collection[str] = ()) -> list[inspect.Parameter]:
    """What ``help()`` and a notebook show of a call that takes these settings by keyword, groups made flat.

    Args:
        leave_out: settings that it does not take.
    """
    found, hints = [], get_type_hints(kind)
    for field in dataclasses.fields(cast(Any, kind)):
        hint = hints[field.name]
        if dataclasses.is_dataclass(hint):
            found += parameters_of(cast(type, hint), leave_out)
        elif field.name not in leave_out:
            default = field.default
            found.append(
                inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=hint)
            )
    return found


def with_keywords(settings: Settings, options: Mapping[str, Any]) -> Settings:
    """The settings with some of them changed, whichever group they are in; paths may be text, tuples lists.

    Raises:
        TypeError: for a name that is none of them, with the nearest that is.
        UserError: for a value of the wrong type or out of range.
    """
    before = to_dict(settings)
    known = flat(before)
    for name in options:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise TypeError(f"{name!r} is no setting" + (f"; did you mean {near[0]!r}?" if near else ""))

    def changed(values: dict[str, Any]) -> dict[str, Any]:
        return {
            name: changed(value) if isinstance(value, dict) else plain(options.get(name, value))
            for name, value in values.items()
        }

    try:
        return from_dict(type(settings), changed(before))
    except UserError:
        raise
    except ValueError as error:
        name = str(error).partition(" ")[0]
        kinds = {parameter.name: parameter.annotation for parameter in parameters_of(type(settings))}
        raise UserError(f"{error}, but must be {_spelt(kinds[name])}") from None


def plain(value: Any) -> Any:
    """As JSON would have it."""
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return [plain(item) for item in value] if isinstance(value, Sequence) and not isinstance(value, str) else value


def _spelt(kind: Any) -> str:
    """A type for people: ``Literal['none', 'balanced']``, ``Path | None``."""
    # A class's own text is <class 'int'>; tuple[int, ...] is one, too, but has arguments.
    plain = isinstance(kind, type) and not get_args(kind)
    return kind.__name__ if plain else re.sub(r"\b(typing|pathlib)\.", "", str(kind))
