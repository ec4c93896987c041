"""Modes of a script: which flag asks for one, where its function is, and which other flags have an effect in it."""

import dataclasses
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from alexnet_skip.system.console import is_first_process
from alexnet_skip.system.errors import UserError


@dataclass(frozen=True)
class Mode:
    """Something that a script does instead of its own work, for which every flag counts that is no mode's.

    Attributes:
        setting: the field of the settings that asks for it.
        place: of its function, which takes the settings, as ``module:function``.
        takes: the other fields that have an effect in it.
        alone: those of them that have an effect nowhere else.
        shared: whether several processes that a launcher has started do it together; otherwise the first one does, and
            the others leave: they would write the same files.
    """

    setting: str
    place: str
    takes: tuple[str, ...]
    alone: tuple[str, ...] = ()
    shared: bool = False

    def load(self) -> Callable[[Any], Any]:
        """Its function, imported now: torch takes seconds, a refused command line should not."""
        if not self.shared and not is_first_process():
            return lambda settings: ({}, False)
        function: Callable[[Any], Any] = pkgutil.resolve_name(self.place)
        return function


def chosen_mode(settings: Any, modes: Sequence[Mode]) -> Mode | None:
    """The first mode that settings ask for; None for the script's own work."""
    given = _given(settings)
    return next((mode for mode in modes if mode.setting in given), None)


def refuse_idle_flags(settings: Any, modes: Sequence[Mode]) -> None:
    """Refuse flags that would have no effect in the mode that is asked for, those of other modes included.

    A flag that is given with its default value can't be told from one that is left out, and does no harm.

    Raises:
        UserError: naming the mode, each such flag with its value, and the flags that have an effect.
    """
    mode, given = chosen_mode(settings, modes), _given(settings)
    if mode is None:
        for other in modes:
            for name in set(given).intersection(other.alone):
                raise UserError(
                    f"{_flag(name)} is {_shown(given[name])}, which has no effect without {_flag(other.setting)}; "
                    f"give {_flag(other.setting)} as well, or leave out {_flag(name)}"
                )
        return
    idle = [name for name in given if name not in (mode.setting, *mode.takes)]
    if idle:
        told = _listed([f"{_flag(name)} is {_shown(given[name])}" for name in idle])
        raise UserError(
            f"{told}, which has no effect with {_flag(mode.setting)}: only {_listed(map(_flag, mode.takes))} have; "
            f"leave out {_flag(mode.setting)}, or {_listed(map(_flag, idle))}"
        )


def _given(settings: Any) -> dict[str, Any]:
    """The settings that differ from their defaults, by field."""
    values = {field.name: (getattr(settings, field.name), field.default) for field in dataclasses.fields(settings)}
    return {name: value for name, (value, default) in values.items() if value != default}


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _shown(value: Any) -> str:
    """A flag's value; "given" for one that has none."""
    text = " ".join(map(str, value)) if isinstance(value, tuple) else str(value)
    return "given" if value is True or not text else text


def _listed(words: Iterable[str]) -> str:
    """Words as a sentence has them: "a, b and c"."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
