"""The table of a study or of four runs as text and as data, with every confusion matrix."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alexnet_skip.plots.confusion import MAX_SHOWN_CLASSES
from alexnet_skip.statistics.metrics import most_confused_pairs

# Of more classes than a matrix shows, so many pairs are listed instead of its cells, whose number is the square.
MAX_LISTED_PAIRS = 50


@dataclass(frozen=True)
class Column:
    """One column of the table.

    Attributes:
        name: what is in it.
        topk: accuracies of the low and the high epoch by k, one value per seed.
        confusions: of the low and the high epoch (C, C), summed over seeds.
    """

    name: str
    topk: Mapping[int, tuple[Sequence[float], Sequence[float]]]
    confusions: tuple[np.ndarray, np.ndarray]


def listed_pairs(columns: Sequence[Column]) -> list[tuple[int, int]]:
    """The cells (true, predicted) that the files list: all, or of many classes the most confused pairs."""
    confusions = [confusion for column in columns for confusion in column.confusions]
    if len(confusions[0]) <= MAX_SHOWN_CLASSES:
        return list(np.ndindex(confusions[0].shape))
    largest = most_confused_pairs(np.sum(confusions, axis=0), MAX_LISTED_PAIRS)
    return [(true, predicted) for true, predicted, _ in largest]


def as_markdown(
    title: str,
    rows: Sequence[str],
    columns: Sequence[Column],
    cells: Sequence[Sequence[str]],
    facts: Sequence[str],
    class_names: Sequence[str],
    pairs: Sequence[tuple[int, int]],
) -> str:
    """The table, and below it every cell's confusion matrix, or of many classes the pairs."""
    lines = [f"# {title}", "", f"| | {' | '.join(c.name for c in columns)} |", "|---|" + "---|" * len(columns)]
    for name, texts in zip(rows, cells, strict=True):
        lines.append(f"| {name} | " + " | ".join(text.replace("\n", "<br>") for text in texts) + " |")
    lines += ["", *facts, ""]
    if len(class_names) > MAX_SHOWN_CLASSES:
        return "\n".join(lines + _pair_table(rows, columns, class_names, pairs))
    lines += [f"Rows are true classes, columns predictions: {', '.join(class_names)}.", ""]
    for row, name in enumerate(rows):
        for column in columns:
            confusion = column.confusions[row]
            width, seeds = len(str(confusion.max())), len(column.topk[1][row])
            lines += [f"## {name}, {column.name}" + (f" (sum of {seeds} seeds)" if seeds > 1 else ""), "", "```"]
            lines += [" ".join(f"{value:{width}d}" for value in values) for values in confusion]
            lines += ["```", ""]
    return "\n".join(lines)


def _pair_table(
    rows: Sequence[str], columns: Sequence[Column], class_names: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> list[str]:
    """Images of each pair of classes in every cell of the table, as lines of Markdown."""
    heads = ["true class", "taken for", *(f"{row}, {column.name}" for row in rows for column in columns)]
    lines = [f"| {' | '.join(heads)} |", "|" + "---|" * len(heads)]
    for pair in pairs:
        counts = [str(column.confusions[row][pair]) for row in range(len(rows)) for column in columns]
        lines.append(f"| {' | '.join([*(class_names[label] for label in pair), *counts])} |")
    return [*lines, ""]


def as_csv(
    epochs: Sequence[int], columns: Sequence[Column], class_names: Sequence[str], pairs: Sequence[tuple[int, int]]
) -> list[list[Any]]:
    """One line per cell and seed's mean: accuracies as fractions, then images of each pair of classes."""
    others = [k for k in columns[0].topk if k > 1]
    named = [f"{class_names[true]} as {class_names[predicted]}" for true, predicted in pairs]
    accuracies = ["top1", "top1_min", "top1_max", *(f"top{k}" for k in others)]
    lines: list[list[Any]] = [["epoch", "our_epoch", "column", "seeds", *accuracies, *named]]
    for row, epoch in enumerate(("low", "high")):
        for column in columns:
            top1 = column.topk[1][row]
            own = "" if column.name.startswith("report") else epochs[row]
            means = [np.mean(column.topk[k][row]) for k in others]
            figures = [f"{value:.6f}" for value in (np.mean(top1), min(top1), max(top1), *means)]
            lines.append([epoch, own, column.name, len(top1), *figures, *(column.confusions[row][p] for p in pairs)])
    return lines
