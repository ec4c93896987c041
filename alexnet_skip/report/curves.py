"""Curves of training, from metrics.jsonl."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_skip.report.charts import Chart, Series, line_chart
from alexnet_skip.report.findings import side_name
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.system.errors import UserError

# Of metrics.jsonl, by the key of the chart's title; whether it is a fraction, shown in per cent.
QUANTITIES = (
    ("val_top1", True), ("train_eval_top1", True), ("val_top3", True), ("val_loss", False), ("train_eval_loss", False),
    ("train_loss", False),
)  # fmt: skip


def read_history(run: Path) -> list[dict[str, Any]]:
    """A run's figures epoch by epoch; nothing where it left none.

    Raises:
        UserError: if the file is damaged.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        return []
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it or train the run again") from None


def charts(subject: Subject, text: Text) -> list[Chart]:
    """A chart for every quantity that all epochs of some runs have, with a line for each side."""
    histories = [[read_history(run) for run in side.runs] for side in subject.sides]
    found = []
    for name, fraction in QUANTITIES:
        series = []
        for number, side in enumerate(subject.sides):
            values = _values(histories[number], name)
            if values is not None:
                epochs = np.arange(1, values.shape[1] + 1)
                series.append(Series(side_name(side, text), number, epochs, 100 * values if fraction else values))
        if series:
            digits, largest = (0, 100.0) if fraction else (2, math.inf)
            found.append(line_chart(text(f"curves.{name}"), text("curves.epoch"), series, digits, largest))
    return found


def _values(histories: Sequence[Sequence[dict[str, Any]]], name: str) -> np.ndarray | None:
    """A figure (S, N) of S runs over the epochs that all of them have; None where one of them lacks it."""
    count = min(len(history) for history in histories)
    values = [[record.get(name) for record in history[:count]] for history in histories]
    if not count or any(value is None for of_run in values for value in of_run):
        return None
    return np.array(values, np.float64)
