"""Every language says the same things, of the same values; and the page uses all that they say."""

import json
import re

import pytest

from alexnet_skip.report.page import PAGE
from alexnet_skip.report.text import TEXTS, languages, load_text
from alexnet_skip.system.errors import UserError


def words(lang: str) -> dict[str, str]:
    return json.loads((TEXTS / f"{lang}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("lang", languages())
def test_a_language_has_the_keys_and_placeholders_of_english(lang):
    english, other = words("en"), words(lang)
    assert list(other) == list(english), "in the same order, to be read side by side"
    for key, sentence in english.items():
        assert sorted(re.findall(r"{(\w+)}", other[key])) == sorted(re.findall(r"{(\w+)}", sentence)), key
        assert other[key].strip()


def test_there_are_english_and_korean_and_they_differ():
    assert {"en", "ko"} <= set(languages())
    hangul = [key for key, sentence in words("ko").items() if re.search("[가-힣]", sentence)]
    assert len(hangul) > 0.9 * len(words("ko"))


def test_an_unknown_language_is_refused_with_those_there_are():
    with pytest.raises(UserError, match="--lang is fr, but must be one of en, ko"):
        load_text("fr")


def test_templates_ask_for_no_sentence_that_is_not_there():
    asked = {
        key
        for path in PAGE.iterdir()
        if path.name.endswith(".j2")
        for key in re.findall(r'\bt\(\s*["\']([a-z_]+\.[a-z0-9_]+)["\']\s*[,)]', path.read_text(encoding="utf-8"))
    }
    assert len(asked) > 60
    assert asked <= set(words("en"))
