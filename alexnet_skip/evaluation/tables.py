"""Tables of an evaluation for spreadsheets and pandas."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from alexnet_skip.network.prediction import probabilities
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.system.files import write_csv

# Of more classes the table would be too wide to look at; predictions.npz has all.
MAX_PROBABILITIES = 50


def sample_columns(index: np.ndarray, files: Sequence[str]) -> dict[str, Sequence[object]]:
    """The column that says which image a row is: its file, or without files its stable id."""
    return {"file": files} if files else {"index": index.tolist()}


def write_columns(path: Path, columns: dict[str, Sequence[object]]) -> None:
    """Write a table of columns of equal length, by name."""
    write_csv(path, [list(columns), *zip(*columns.values(), strict=True)])


def write_predictions_csv(
    where: Path, predictions: Predictions, class_names: Sequence[str], temperature: float | None
) -> None:
    """Write predictions.csv: one line an image, with the probability of each class where there are few of them.

    Args:
        temperature: that is stored with the model; the probabilities are those that it predicts with.
    """
    names, chances = np.array(class_names), probabilities(predictions.logits, temperature)
    columns = sample_columns(predictions.index, predictions.files) | {
        "true": names[predictions.labels].tolist(),
        "predicted": names[predictions.predicted].tolist(),
        "confidence": chances.max(axis=1).round(6).tolist(),
    }
    if len(names) <= MAX_PROBABILITIES:
        columns |= {f"p_{name}": chances[:, label].round(6).tolist() for label, name in enumerate(class_names)}
    write_columns(where / "predictions.csv", columns)


def write_confusion_csv(where: Path, confusion: np.ndarray, class_names: Sequence[str]) -> None:
    """Write confusion_matrix.csv: rows are true classes, columns predictions."""
    rows = ([name, *counts] for name, counts in zip(class_names, confusion.tolist(), strict=True))
    write_csv(where / "confusion_matrix.csv", [["true \\ predicted", *class_names], *rows])
