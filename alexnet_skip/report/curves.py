"""Curves of training, from metrics.jsonl."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_skip.report.charts import Chart, Series, line_chart
from alexnet_skip.report.names import by_run, side_name
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.settings.records import RunConfig
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.inputs import MAX_TRAIN_SAMPLE

# Of metrics.jsonl, by the key of the chart's title; whether it is a fraction, shown in per cent.
QUANTITIES = (
    ("val_top1", True), ("train_eval_top1", True), ("val_top3", True), ("val_loss", False), ("train_eval_loss", False),
    ("train_loss", False),
)  # fmt: skip


# All figures of a run, by epoch.
History = dict[int, dict[str, Any]]


def read_history(run: Path) -> History:
    """A run's figures by epoch; nothing where it left none.

    Raises:
        UserError: if the file is damaged.
    """
    path = run / "metrics.jsonl"
    if not path.is_file():
        return {}
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {int(record["epoch"]): record for record in records}
    except (ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error!r}); restore it or train the run again") from None


def charts(subject: Subject, text: Text) -> list[Chart]:
    """A chart for every quantity that all epochs of some runs have, with a line for each side."""
    histories = [[read_history(run) for run in side.runs] for side in subject.sides]
    found = []
    for name, fraction in QUANTITIES:
        series = []
        for number, side in enumerate(subject.sides):
            # A run that goes on with another's model begins behind that one's epochs.
            epochs = sorted(set.intersection(*(set(history) for history in histories[number])))
            values = _values(histories[number], epochs, name)
            if values is not None:
                series.append(
                    Series(side_name(side, text), number, np.array(epochs), 100 * values if fraction else values)
                )
        if series:
            digits, largest = (0, 100.0) if fraction else (2, math.inf)
            found.append(line_chart(text(f"curves.{name}"), text("curves.epoch"), series, digits, largest))
    return found


def lead(subject: Subject, text: Text) -> str:
    """The images that the figures are measured on."""
    measured = by_run(subject, [[_measured(run, text) for run in of_side] for of_side in subject.configs], text)
    return text("curves.lead", measured=measured) if measured else text("curves.lead_unmeasured")


def _measured(config: RunConfig, text: Text) -> str:
    """Images of one run; nothing where none is held out."""
    train = min(config.num_train, config.num_val, MAX_TRAIN_SAMPLE)
    return text("curves.measured", val=f"{config.num_val:,}", train=f"{train:,}") if config.num_val else ""


def _values(histories: Sequence[History], epochs: Sequence[int], name: str) -> np.ndarray | None:
    """A figure (S, N) of S runs over N epochs that all of them have; None where one of them lacks it."""
    values = [[history[epoch].get(name) for epoch in epochs] for history in histories]
    if not epochs or any(value is None for of_run in values for value in of_run):
        return None
    return np.array(values, np.float64)
