"""Everything that is drawn and counted from the predictions of one evaluation: no model is needed to make it again."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_skip.evaluation.tables import write_confusion_csv
from alexnet_skip.images.dataset import Split
from alexnet_skip.network.prediction import probabilities
from alexnet_skip.plots.confusion import MAX_SHOWN_CLASSES, confusion_matrix_figure
from alexnet_skip.plots.curves import reliability_figure
from alexnet_skip.plots.gallery import confident_mistakes, gallery
from alexnet_skip.plots.style import save_figure
from alexnet_skip.runs.own_images import images_at
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.settings.records import ModelConfig
from alexnet_skip.statistics import metrics
from alexnet_skip.system.console import Console, per_cent

MAX_CONFUSED_PAIRS = 10


def summarize_predictions(
    predictions: Predictions, class_names: Sequence[str], topk: Sequence[int], model: ModelConfig
) -> dict[str, Any]:
    """:func:`metrics.summarize` with the most confused pairs and, where the model has a temperature, what that mends.

    Of more classes than a picture of it shows, the confusion matrix is left out: as JSON, the square of their number
    takes longer to write than all else takes to compute, and confusion_matrix.csv has it.
    """
    summary = metrics.summarize(predictions.logits, predictions.labels, class_names, topk)
    pairs = metrics.most_confused_pairs(np.array(summary["confusion_matrix"]), MAX_CONFUSED_PAIRS)
    if len(class_names) > MAX_SHOWN_CLASSES:
        del summary["confusion_matrix"]
    summary["most_confused"] = [
        {"true": class_names[true], "predicted": class_names[predicted], "images": count}
        for true, predicted, count in pairs
    ]
    if model.settings is not None:
        summary["label_smoothing"] = model.settings.training.label_smoothing
    if model.temperature is not None:
        chances = probabilities(predictions.logits, model.temperature)
        summary["temperature"] = model.temperature
        summary["temperature_images"] = model.temperature_images
        summary["nll_calibrated"] = metrics.negative_log_likelihood(chances, predictions.labels)
        summary["ece_calibrated"] = metrics.expected_calibration_error(chances, predictions.labels)
    return summary


def draw_evaluation(
    where: Path,
    title: str,
    summary: dict[str, Any],
    predictions: Predictions,
    images: Split | None,
) -> Path:
    """Write the confusion matrix (CSV and PNG), the reliability diagram and the gallery of confident mistakes.

    Args:
        summary: as :func:`summarize_predictions` makes it.
        images: the split that the samples come from; None leaves the gallery as it is.

    Returns:
        The picture of the confusion matrix.
    """
    class_names = list(summary["per_class"])
    confusion = metrics.confusion_matrix(predictions.labels, predictions.predicted, len(class_names))
    write_confusion_csv(where, confusion, class_names)
    picture = where / "confusion_matrix.png"
    save_figure(confusion_matrix_figure(confusion, class_names, title), picture)
    temperature = summary.get("temperature")
    for suffix, divisor in (("", 1.0), ("_calibrated", temperature)):
        if divisor is not None:
            bins = metrics.reliability_bins(probabilities(predictions.logits, divisor), predictions.labels)
            note = calibration_note(bins, None if suffix else summary.get("label_smoothing"))
            shown = f"{title}, temperature {divisor:.2f}" if suffix else title
            save_figure(reliability_figure(*bins, shown, note), where / f"reliability{suffix}.png")
    if images is not None:
        chances = probabilities(predictions.logits, temperature)
        rows = confident_mistakes(chances, predictions.labels)
        mistakes = gallery(
            images_at(images, predictions, rows), chances[rows], predictions.labels[rows], class_names,
            f"{title}: most confident mistakes",
        )  # fmt: skip
        save_figure(mistakes, where / "mistakes.png")
    return picture


def calibration_note(bins: metrics.ReliabilityBins, label_smoothing: float | None) -> str:
    """Whether a model is surer than right or less sure, in words, and why.

    Args:
        label_smoothing: that it was trained with, of logits as they are; None if that is not the reason.
    """
    gap = metrics.confidence_gap(bins)
    if abs(gap) < metrics.EVEN_GAP:
        return "as sure as it is right, on the whole"
    points = f"{per_cent(abs(gap))} points"
    if gap > 0:
        why = "" if label_smoothing is None else ": training goes on to make sure what is right already"
        return f"over-confident, {points} surer than right{why}"
    why = f": label smoothing {label_smoothing:g} teaches it doubt" if label_smoothing else ""
    return f"under-confident, {points} less sure than right{why}"


# Above this many classes only the weakest are shown on screen.
MAX_CLASS_ROWS = 25


def accuracy_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the table of top-k accuracies with their intervals, then of figures that have none."""
    rows = []
    for k, value in summary["topk"].items():
        low, high = summary["topk_ci95"][k]
        rows.append([f"top-{k}", f"{per_cent(value, 2)} %", f"{per_cent(low, 2)} to {per_cent(high, 2)}"])
    rows.append(["balanced accuracy", f"{per_cent(summary['balanced_accuracy'], 2)} %", ""])
    rows.append(["macro F1", f"{per_cent(summary['macro_f1'], 2)} %", ""])
    calibrated = "temperature" in summary
    nll, ece = (
        (summary["nll_calibrated"], summary["ece_calibrated"]) if calibrated else (summary["nll"], summary["ece"])
    )
    rows.append(["negative log-likelihood", f"{nll:.4f}", ""])
    rows.append(["calibration error (ECE)", f"{per_cent(ece, 2)} %", ""])
    if calibrated:
        rows.append([f"NLL without its temperature of {summary['temperature']:.2f}", f"{summary['nll']:.4f}", ""])
        rows.append(["ECE without it", f"{per_cent(summary['ece'], 2)} %", ""])
    else:
        rows.append(["temperature", "1: none was fitted", ""])
    return rows


def class_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """Rows of the table of per-class figures: all classes in order, or the weakest by F1 where there are many."""
    classes = list(summary["per_class"].items())
    if len(classes) > MAX_CLASS_ROWS:
        classes = sorted(classes, key=lambda item: item[1]["f1"])[:MAX_CLASS_ROWS]
    return [
        [name, *(per_cent(values[figure]) for figure in ("precision", "recall", "f1")), f"{values['support']:,}"]
        for name, values in classes
    ]


def show_evaluation(
    console: Console, title: str, summary: Mapping[str, Any], confused: Sequence[tuple[str, str, int]]
) -> None:
    """Print top-k accuracies, per-class figures and the strongest confusions.

    Args:
        title: dataset, split and run.
        summary: as :func:`alexnet_skip.statistics.metrics.summarize` makes it.
        confused: (true class, predicted class, count), strongest first.
    """
    headline = f"{title}: {summary['num_samples']:,} images"
    console.table(headline, ("figure", "value", "95 % interval"), accuracy_rows(summary))
    rows, count = class_rows(summary), len(summary["per_class"])
    which = (
        "Per class" if len(rows) == count else f"The {len(rows)} weakest of {count} classes by F1 (all in metrics.json)"
    )
    console.table(which, ("class", "precision %", "recall %", "F1 %", "images"), rows)
    if confused:
        rows = [[true, predicted, f"{count:,}"] for true, predicted, count in confused]
        console.table("Strongest confusions", ("true class", "taken for", "images"), rows)
