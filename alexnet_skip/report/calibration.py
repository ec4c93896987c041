"""Diagrams of calibration: how sure the models are, at the temperature that each has, and how often right."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from alexnet_skip.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH
from alexnet_skip.report.names import side_name
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.statistics import metrics
from alexnet_skip.system.console import per_cent

# Side of the frame of a reliability diagram.
FRAME = HEIGHT - TOP - BOTTOM


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
        plain_nll, plain_ece: the same without the temperatures.
        temperatures: the lowest and the highest of the seeds', for people; empty where a model has none.
        judged: key of the sentence that says it: over- or under-confident, or neither.
        why: key of the sentence that says why it is so, or would be without a temperature; empty if nothing does.
    """

    name: str
    nll: str
    ece: str
    plain_nll: str
    plain_ece: str
    temperatures: str
    confidence: str
    accuracy: str
    judged: str
    why: str
    bars: list[Bar]


def calibrations(subject: Subject, text: Text) -> list[Calibration]:
    """The calibration of every side at the last stage, its bins over the images of all seeds."""
    if subject.last is None:
        return []
    found = []
    for side, predictions in zip(subject.sides, subject.last.predictions, strict=True):
        fitted, labels = side.temperatures(subject.last.checkpoint_name), predictions[0].labels
        chances = side.probabilities(predictions, subject.last.checkpoint_name)
        plain = [metrics.softmax(one.logits) for one in predictions]
        known = [t for t in fitted if t is not None]
        ends = [f"{t:.2f}" for t in (min(known), max(known))] if len(known) == len(fitted) else []
        judged = _judged(chances, predictions)
        smoothed = side.config.settings.training.label_smoothing > 0 and _judged(plain, predictions) == "under"
        found.append(Calibration(
            side_name(side, text), *_figures(chances, labels), *_figures(plain, labels),
            "–".join(dict.fromkeys(ends)), per_cent(_confidence(chances)), per_cent(_accuracy(predictions)),
            f"calibration.{judged}", "calibration.smoothed" if smoothed else "",
            _bars(np.concatenate(chances), np.tile(labels, len(chances)), text),
        ))  # fmt: skip
    return found


def _figures(chances: Sequence[np.ndarray], labels: np.ndarray) -> tuple[str, str]:
    """NLL and ECE in per cent, means over seeds."""
    nll = np.mean([metrics.negative_log_likelihood(one, labels) for one in chances])
    ece = np.mean([metrics.expected_calibration_error(one, labels) for one in chances])
    return f"{nll:.4f}", per_cent(float(ece), 2)


def _confidence(chances: Sequence[np.ndarray]) -> float:
    return float(np.mean([one.max(axis=1).mean() for one in chances]))


def _accuracy(predictions: Sequence[Predictions]) -> float:
    return float(np.mean([one.correct.mean() for one in predictions]))


def _judged(chances: Sequence[np.ndarray], predictions: Sequence[Predictions]) -> str:
    gap = _confidence(chances) - _accuracy(predictions)
    return "even" if abs(gap) < metrics.EVEN_GAP else "over" if gap > 0 else "under"


def _bars(probabilities: np.ndarray, labels: np.ndarray, text: Text) -> list[Bar]:
    confidence, accuracy, count = metrics.reliability_bins(probabilities, labels)
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
