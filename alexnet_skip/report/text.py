"""The page's words: one file for each language, of the same keys."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_skip.system.errors import UserError

TEXTS = Path(__file__).resolve().parent / "text"


@dataclass(frozen=True)
class Text:
    """Words of one language.

    Attributes:
        lang: as in ``<html lang>``.
        words: sentences with placeholders as of :meth:`str.format`, by key.
    """

    lang: str
    words: Mapping[str, str]

    def __call__(self, key: str, **values: Any) -> str:
        """The sentence of a key, its placeholders filled."""
        return self.words[key].format(**values)


def languages() -> list[str]:
    """The languages there are, by the names of their files."""
    return sorted(path.name.removesuffix(".json") for path in TEXTS.iterdir() if path.name.endswith(".json"))


def load_text(lang: str) -> Text:
    """The words of a language.

    Raises:
        UserError: if there is no such language.
    """
    known = languages()
    if lang not in known:
        raise UserError(f"--lang is {lang}, but must be one of {', '.join(known)}; give one of these or leave it out")
    return Text(lang, json.loads((TEXTS / f"{lang}.json").read_text(encoding="utf-8")))
