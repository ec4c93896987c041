"""Curves of training and diagrams of calibration, from metrics.jsonl and from predictions."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_skip.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Chart, Series, line_chart
from alexnet_skip.report.findings import side_name
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.statistics.metrics import (
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
    softmax,
)
from alexnet_skip.system.console import per_cent
from alexnet_skip.system.errors import UserError

# Of metrics.jsonl, by the key of the chart's title; whether it is a fraction, shown in per cent.
QUANTITIES = (
    ("val_top1", True), ("train_eval_top1", True), ("val_top3", True), ("val_loss", False), ("train_eval_loss", False),
    ("train_loss", False),
)  # fmt: skip
# Side of the frame of a reliability diagram.
FRAME = HEIGHT - TOP - BOTTOM


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
            found.append(line_chart(text(f"curves.{name}"), text("curves.epoch"), series, 0 if fraction else 2))
    return found


def _values(histories: Sequence[Sequence[dict[str, Any]]], name: str) -> np.ndarray | None:
    """A figure (S, N) of S runs over the epochs that all of them have; None where one of them lacks it."""
    count = min(len(history) for history in histories)
    values = [[record.get(name) for record in history[:count]] for history in histories]
    if not count or any(value is None for of_run in values for value in of_run):
        return None
    return np.array(values, np.float64)


@dataclass(frozen=True)
class Bar:
    """A bin of a reliability diagram: its bar, the gap to the diagonal, and what it holds in words."""

    x: float
    width: float
    y: float
    height: float
    confidence_y: float
    told: str


@dataclass(frozen=True)
class Calibration:
    """How sure a side is, and how often right.

    Attributes:
        nll, ece, confidence, accuracy: means over seeds, for people; ECE, confidence and accuracy in per cent.
        judged: key of the sentence that says it: over- or under-confident, or neither.
    """

    name: str
    nll: str
    ece: str
    confidence: str
    accuracy: str
    judged: str
    bars: list[Bar]


def calibrations(subject: Subject, text: Text) -> list[Calibration]:
    """The calibration of every side at the last stage, its bins over the images of all seeds."""
    if subject.last is None:
        return []
    found = []
    for side, predictions in zip(subject.sides, subject.last.predictions, strict=True):
        chances, labels = [softmax(one.logits) for one in predictions], predictions[0].labels
        nll = np.mean([negative_log_likelihood(one, labels) for one in chances])
        ece = np.mean([expected_calibration_error(one, labels) for one in chances])
        confidence = float(np.mean([one.max(axis=1).mean() for one in chances]))
        accuracy = float(np.mean([one.correct.mean() for one in predictions]))
        gap = confidence - accuracy
        judged = "even" if abs(gap) < 0.01 else "over" if gap > 0 else "under"
        bars = _bars(np.concatenate(chances), np.tile(labels, len(chances)), text)
        found.append(Calibration(
            side_name(side, text), f"{nll:.4f}", per_cent(float(ece), 2), per_cent(confidence), per_cent(accuracy),
            f"calibration.{judged}", bars,
        ))  # fmt: skip
    return found


def _bars(probabilities: np.ndarray, labels: np.ndarray, text: Text) -> list[Bar]:
    confidence, accuracy, count = reliability_bins(probabilities, labels)
    width, bottom = (WIDTH - LEFT - RIGHT) / len(count), HEIGHT - BOTTOM
    bars = []
    for number in np.flatnonzero(count):
        share = float(accuracy[number])
        told = text(
            "calibration.bin", images=f"{count[number]:,}", confidence=per_cent(float(confidence[number])),
            accuracy=per_cent(share),
        )  # fmt: skip
        bars.append(Bar(
            round(LEFT + number * width, 1), round(width - 1, 1), round(bottom - share * FRAME, 1),
            round(share * FRAME, 1), round(bottom - float(confidence[number]) * FRAME, 1), told,
        ))  # fmt: skip
    return bars
