"""The notebook of the documentation runs from its first cell to its last, small; it carries no outputs."""

import ast
import json
from pathlib import Path
from typing import Any

from tiny_run import shrink

from alexnet_skip.images import dataset

NOTEBOOK = json.loads((Path(__file__).resolve().parents[2] / "docs" / "quickstart.ipynb").read_text("utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell as a notebook does; returns what it would show: the value of a last line that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None


def test_it_carries_no_outputs_and_needs_no_room_of_the_package():
    assert (NOTEBOOK["nbformat"], len(CODE) >= 5) == (4, True)
    assert [(cell["outputs"], cell["execution_count"]) for cell in CODE] == [([], None)] * len(CODE)
    assert not [cell for cell in CODE if "alexnet_skip." in "".join(cell["source"])]


def test_every_cell_runs_and_shows_what_it_says(tmp_path, monkeypatch, capsys):
    shrink(monkeypatch.setattr, pictures=True)
    # Ten of a class: a tenth of them is held out.
    monkeypatch.setattr(dataset, "SHAPES_TRAIN", 100)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = [run_cell("".join(cell["source"]), names) for cell in CODE]
    (figures,) = [value for value in shown if hasattr(value, "_repr_html_")]
    assert "evaluation/test-best/confusion_matrix" in figures._repr_html_()
    printed = capsys.readouterr().out
    assert any(name in printed for name in names["classes"])
    assert names["points"].shape == (len(names["pictures"]), 2)
