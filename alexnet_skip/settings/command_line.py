"""Command lines from typed dataclasses (tyro), their checks, and their settings as JSON.

Nothing here imports torch, so that ``--help`` and a mistyped flag are answered at once.
"""

import dataclasses
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar, cast

import tyro

from alexnet_skip.system.errors import UserError

Settings = TypeVar("Settings")


def require(condition: bool, flag: str, value: object, allowed: str) -> None:
    """Refuse a setting's value unless the condition holds.

    Raises:
        UserError: naming the flag, the value found and what is allowed.
    """
    if not condition:
        raise UserError(f"{flag} is {value}, but must be {allowed}; give {flag} another value or leave it out")


def read_command_line(
    kind: type[Settings], arguments: Sequence[str], prog: str, default: Settings | None = None
) -> Settings:
    """Read settings of the given dataclass from a command line.

    Args:
        arguments: without the program's name.
        prog: the script's name, for ``--help``.
        default: the values of settings that the command line does not give; the dataclass's own if None.

    Raises:
        SystemExit: with 0 after ``--help``, with 2 and a suggestion for an unknown flag or a value of the wrong type.
        UserError: for a value out of range.
    """
    form = cast(Any, tyro.conf.OmitArgPrefixes)[kind]
    return tyro.cli(form, args=list(arguments), default=default or kind(), prog=prog)


def arguments_or_own(argv: Sequence[str] | None) -> list[str]:
    """The arguments given, or this process's own."""
    return list(sys.argv[1:] if argv is None else argv)


def last_value(arguments: Sequence[str], flag: str) -> str | None:
    """The value that a flag has in the end, or None if it is not given."""
    values = [b for a, b in pairwise(arguments) if a == flag]
    values += [a.partition("=")[2] for a in arguments if a.startswith(flag + "=")]
    return values[-1] if values else None


def to_dict(settings: Any) -> dict[str, Any]:
    """The settings as a JSON-ready dictionary, groups nested, paths as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return {key: plain(value) for key, value in dataclasses.asdict(settings).items()}
