"""Tables that say which test tries a setting: a test that is named there exists, and speaks of the setting."""

import ast
from collections.abc import Mapping
from pathlib import Path

TESTS = Path(__file__).resolve().parent


def untried(table: Mapping[str, str]) -> list[str]:
    """The settings whose test, named as ``room/test_module.py::test_name``, is not there or gives another file's flags.

    Args:
        table: the name of a test by setting; what stands before a colon of a setting is its script's mode.
    """
    return [setting for setting, test in table.items() if not _speaks_of(test, setting.rpartition(":")[2])]


def _speaks_of(test: str, setting: str) -> bool:
    place, _, name = test.partition("::")
    text = (TESTS / place).read_text(encoding="utf-8")
    there = {node.name for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)}
    return name in there and setting.replace("_", "-") in text.replace("_", "-")
