"""The form of a command line: settings in groups, as ``--help`` shows them, whatever dataclasses they are fields of."""

import ast
import dataclasses
import functools
import inspect
import textwrap
import types
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Union, cast, get_args, get_origin, get_type_hints

import tyro

# Settings by the title of their group; those of the first, the everyday ones, stand above all groups.
Groups = Mapping[str, Sequence[str]]

VERSION = "version"
MORE = "more"
METAVARS = {Path: "PATH", int: "N", float: "X", str: "NAME"}


@dataclasses.dataclass(frozen=True)
class Setting:
    """A field of settings, as the command line knows it."""

    name: str
    kind: Any
    default: Any
    help: str

    @property
    def field(self) -> tuple[str, Any, Any]:
        """For ``dataclasses.make_dataclass``."""
        about = tyro.conf.arg(help=self.help, help_behavior_hint=_told_default, metavar=_metavar(self.kind))
        return self.name, Annotated[self.kind, about], dataclasses.field(default=self.default)


def settings_of(settings: Any) -> Iterator[Setting]:
    """All settings of a dataclass and of those in it; their help is the string below each field, as flowing text."""
    hints, told = get_type_hints(type(settings)), _field_docstrings(cast(Any, type(settings)))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from settings_of(value)
        else:
            yield Setting(field.name, hints[field.name], value, told.get(field.name, ""))


def form_of(settings: Any, groups: Groups) -> Any:
    """A dataclass for tyro with these settings as defaults, and ``version``; what no group names is in one of its own.

    Args:
        groups: the everyday settings first; titles are single words.
    """
    known = {setting.name: setting for setting in settings_of(settings)}
    flag: Any = tyro.conf.FlagCreatePairsOff
    version = Setting(VERSION, flag[bool], False, "Say which version this is, and end.")
    (_, everyday), *others = groups.items() if groups else (("", tuple(known)),)
    named = {name for names in groups.values() for name in names} if groups else set(known)
    others.append((MORE, [name for name in known if name not in named]))
    fields = [*(known[name].field for name in everyday), version.field]
    for title, names in others:
        if names:
            group: Any = dataclasses.make_dataclass(title, [known[name].field for name in names], frozen=True)
            fields.append((title, Annotated[group, tyro.conf.arg(help="")], dataclasses.field(default=group())))
    form: Any = dataclasses.make_dataclass("Form", fields, frozen=True)
    unprefixed: Any = tyro.conf.OmitArgPrefixes
    return unprefixed[form]


def description_of(kind: type) -> str:
    """A class's docstring for ``--help``: its first paragraph as flowing text, then examples, one a line."""
    purpose, *examples = inspect.cleandoc(kind.__doc__ or "").split("\n\n")
    return "\n".join([" ".join(purpose.split()), *(textwrap.indent(lines, "  ") for lines in examples)])


def filled_in(settings: Any, values: Mapping[str, Any]) -> Any:
    """Settings with these values, by field; what their checks raise goes on to the caller."""
    found = {}
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        found[field.name] = filled_in(value, values) if dataclasses.is_dataclass(value) else values[field.name]
    return dataclasses.replace(settings, **found)


def values_of(form: Any) -> dict[str, Any]:
    """The values of a form that was read, by field, without their groups."""
    values: dict[str, Any] = {}
    for field in dataclasses.fields(form):
        value = getattr(form, field.name)
        values |= values_of(value) if dataclasses.is_dataclass(value) else {field.name: value}
    return values


@functools.cache
def _field_docstrings(kind: type) -> dict[str, str]:
    """The string literal below each field of a dataclass, by field."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    found = {}
    for field, below in pairwise(tree.body):
        if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            found[ast.unparse(field.target)] = " ".join(str(below.value.value).split())
    return found


def _told_default(text: str) -> str:
    return f"(default: {text})" if text not in ("", "None", "False", "True") else ""


def _metavar(kind: Any) -> str | None:
    """What stands for a value that may be left out, or for several; tyro's own word for others."""
    inner = [one for one in get_args(kind) if one is not type(None)]
    if get_origin(kind) in (Union, types.UnionType) and len(inner) == 1:
        return _metavar(inner[0])
    if get_origin(kind) is tuple and inner[-1] is Ellipsis and inner[0] in METAVARS:
        return f"{METAVARS[inner[0]]} ..."
    return METAVARS.get(kind)
