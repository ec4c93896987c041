"""Everything that is drawn and counted from the predictions of one evaluation: no model is needed to make it again."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from alexnet_skip.images.dataset import Split
from alexnet_skip.plots import figures
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.runs.samples import images_at
from alexnet_skip.statistics import metrics
from alexnet_skip.system.files import write_text
from alexnet_skip.training.dashboard import confident_mistakes, gallery

MAX_CONFUSED_PAIRS = 10


def summarize_predictions(
    predictions: Predictions, class_names: Sequence[str], topk: Sequence[int], temperature: float | None
) -> dict[str, Any]:
    """:func:`metrics.summarize` with the most confused pairs and, with a temperature, what that mends."""
    summary = metrics.summarize(predictions.logits, predictions.labels, class_names, topk)
    pairs = metrics.most_confused_pairs(np.array(summary["confusion_matrix"]), MAX_CONFUSED_PAIRS)
    summary["most_confused"] = [
        {"true": class_names[true], "predicted": class_names[predicted], "images": count}
        for true, predicted, count in pairs
    ]
    if temperature is not None:
        probabilities = metrics.softmax(predictions.logits / temperature)
        summary["temperature"] = temperature
        summary["nll_calibrated"] = metrics.negative_log_likelihood(probabilities, predictions.labels)
        summary["ece_calibrated"] = metrics.expected_calibration_error(probabilities, predictions.labels)
    return summary


def draw_evaluation(
    where: Path,
    title: str,
    summary: dict[str, Any],
    predictions: Predictions,
    images: Split | None,
) -> Figure:
    """Write the confusion matrix (CSV and PNG), the reliability diagram and the gallery of confident mistakes.

    Args:
        summary: as :func:`summarize_predictions` makes it.
        images: the split that the samples come from; None leaves the gallery as it is.

    Returns:
        The figure of the confusion matrix.
    """
    class_names, confusion = list(summary["per_class"]), np.array(summary["confusion_matrix"])
    write_text(where / "confusion_matrix.csv", _confusion_csv(class_names, confusion))
    figure = figures.confusion_matrix_figure(confusion, class_names, title)
    figures.save_figure(figure, where / "confusion_matrix.png")
    for suffix, temperature in (("", 1.0), ("_calibrated", summary.get("temperature"))):
        if temperature is not None:
            probabilities = metrics.softmax(predictions.logits / temperature)
            bins = metrics.reliability_bins(probabilities, predictions.labels)
            shown = f"{title}, temperature {temperature:.2f}" if suffix else title
            figures.save_figure(figures.reliability_figure(*bins, shown), where / f"reliability{suffix}.png")
    if images is not None:
        probabilities = metrics.softmax(predictions.logits)
        rows = confident_mistakes(probabilities, predictions.labels)
        mistakes = gallery(
            images_at(images, predictions, rows), probabilities[rows], predictions.labels[rows], class_names,
            np.arange(len(rows)), f"{title}: most confident mistakes",
        )  # fmt: skip
        figures.save_figure(mistakes, where / "mistakes.png")
    return figure


def _confusion_csv(class_names: Sequence[str], confusion: np.ndarray) -> str:
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["true \\ predicted", *class_names])
    writer.writerows([name, *row] for name, row in zip(class_names, confusion.tolist(), strict=True))
    return table.getvalue()
