"""What the page says of accuracy: the verdict, the forest plot, the table beside the source report's, and classes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from alexnet_skip.report.charts import ForestScale, Interval, Tick
from alexnet_skip.report.names import side_name, when, where
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.statistics.metrics import precision_recall_f1_support, topk_accuracy, wilson_interval
from alexnet_skip.study import source_report
from alexnet_skip.study.table import Column, beside_the_report, column_of, report_figures
from alexnet_skip.study.verdict import (
    LITTLE_POINTS,
    Comparison,
    conclusion,
    interval,
    p_text,
    points,
    signed,
    sum_of_confusions,
)
from alexnet_skip.system.console import per_cent

# Above this many classes only the weakest, or those that change most, are listed.
MAX_CLASS_ROWS = 25


def verdict(subject: Subject, text: Text) -> str:
    """The page's first sentence: what may be claimed of every form, or how good the one run is."""
    if subject.last is None:
        return text("verdict.nothing")
    if len(subject.sides) == 1:
        return _one_side(subject, text)
    reference = side_name(subject.sides[0], text)
    parts = []
    for side, comparison in zip(subject.sides[1:], subject.last.comparisons, strict=True):
        said: str = conclusion(comparison)
        name, method = side_name(side, text), comparison.method
        if method and not subject.asks_of_skip:
            name = text("verdict.instead", name=name, reference=reference)
        if said in ("helps", "hurts") and method and abs(100 * method.mean) < LITTLE_POINTS:
            said += "_little"
        gain = points(comparison.differences[1])
        parts.append(text(f"verdict.{said}", name=name, reference=reference, points=gain))
    return text("verdict.all", where=where(subject, text), parts="; ".join(parts))


def _one_side(subject: Subject, text: Text) -> str:
    """Top-1 of one run with its interval, or of one form's seeds with their range."""
    assert subject.last is not None
    predictions = subject.last.predictions[0]
    top1 = [float(one.correct.mean()) for one in predictions]
    more = ""
    for k in subject.last.topk[1:]:
        among = [topk_accuracy(one.logits, one.labels, k) for one in predictions]
        more += text("verdict.topk", k=k, share=per_cent(float(np.mean(among)), 2))
    low, high = min(top1), max(top1)
    if len(top1) == 1:
        low, high = wilson_interval(int(predictions[0].correct.sum()), len(predictions[0].labels))
    return text(
        "verdict.run" if len(top1) == 1 else "verdict.form",
        where=where(subject, text), name=side_name(subject.sides[0], text), more=more,
        top1=per_cent(float(np.mean(top1)), 2), low=per_cent(low, 2), high=per_cent(high, 2),
    )  # fmt: skip


@dataclass(frozen=True)
class ForestRow:
    """One form's difference from the reference, in words and in places of the plot.

    Attributes:
        over_seeds, seeds, p_seeds: for other seeds too; None and empty with one seed.
    """

    name: str
    points: str
    p_images: str
    images: Interval
    over_seeds: str
    p_seeds: str
    seeds: Interval | None


@dataclass(frozen=True)
class Forest:
    """The forest plot of one stage: differences of top-1 from the first side."""

    when: str
    rows: list[ForestRow]
    ticks: list[Tick]
    zero: float


def forests(subject: Subject, text: Text) -> list[Forest]:
    """The forest plots, the last stage first, all on one scale; none of one side."""
    if len(subject.sides) < 2 or not subject.stages:
        return []
    scale = ForestScale([end for stage in subject.stages for one in stage.comparisons for end in _ends(one)])
    found = []
    for stage in reversed(subject.stages):
        rows = []
        for side, one in zip(subject.sides[1:], stage.comparisons, strict=True):
            method, gain = one.method, one.differences[1]
            wider = method.interval() if method else None
            rows.append(ForestRow(
                name=side_name(side, text),
                points=points(gain).replace(" points", ""),
                p_images=p_text(one.p_holm),
                images=scale.interval(*gain),
                over_seeds=interval(wider) if wider else "",
                p_seeds=p_text(method.p_holm) if method else "",
                seeds=scale.interval(*wider) if wider else None,
            ))  # fmt: skip
        found.append(Forest(when(subject, stage, text), rows, scale.ticks, scale.place(0.0)))
    return found


def _ends(one: Comparison) -> tuple[float, ...]:
    """Ends of both intervals of a difference."""
    return (*one.differences[1], *(one.method.interval() if one.method else ()))


@dataclass(frozen=True)
class TableCell:
    """Top-1 and top-3 in per cent, of two classes without; and the range of top-1 over seeds, empty with one."""

    top1: str
    top3: str
    range: str


@dataclass(frozen=True)
class Table:
    """The source report's table.

    Attributes:
        columns: their names, and whether they are the source report's.
        rows: what a row is called, and its cells.
        facts: figures of the source report's own table; empty where it isn't shown.
    """

    columns: list[tuple[str, bool]]
    rows: list[tuple[str, list[TableCell]]]
    facts: dict[str, Any]


def table(subject: Subject, text: Text) -> Table | None:
    """The table of the stages, with the source report's beside it where the classes are its classes."""
    if subject.last is None:
        return None
    low, high = subject.stages[0].predictions, subject.last.predictions
    columns = [column_of(side, *of_side) for side, *of_side in zip(subject.sides, low, high, strict=True)]
    names = {id(c): side_name(side, text) for side, c in zip(subject.sides, columns, strict=True)}
    beside = subject.class_names == source_report.CLASS_NAMES and len(subject.stages) == 2
    if beside:
        columns = beside_the_report(columns)
    heads = [(names.get(id(c)) or text(f"table.{c.name.replace(', ', '_').replace(' ', '_')}"), id(c) not in names)
             for c in columns]  # fmt: skip
    rows = []
    for number, stage in enumerate(subject.stages):
        name = when(subject, stage, text)
        if len(subject.stages) == 2:
            name = text(("table.low", "table.high")[number], epoch=subject.epoch(stage))
        rows.append((name, [_cell(c, number) for c in columns]))
    return Table(heads, rows, report_figures() if beside else {})


def _cell(column: Column, row: int) -> TableCell:
    top1 = column.topk[1][row]
    top3 = per_cent(float(np.mean(column.topk[3][row])), 2) if 3 in column.topk else ""
    spread = f"{per_cent(min(top1), 2)}–{per_cent(max(top1), 2)}" if len(top1) > 1 else ""
    return TableCell(per_cent(float(np.mean(top1)), 2), top3, spread)


def class_rows(subject: Subject) -> tuple[list[list[str]], int]:
    """Rows of the table of classes, and of how many: with several sides gains of recall in points, else the figures."""
    names, last = subject.class_names, subject.last
    if last is None:
        return [], 0
    if len(subject.sides) > 1:
        gains = np.stack([one.recall_gains for one in last.comparisons], axis=1)
        order = _first(-np.abs(gains).max(axis=1))
        return [[names[c], *(signed(gain) for gain in gains[c])] for c in order], len(names)
    confusion = sum_of_confusions(last.predictions[0], len(names))
    precision, recall, f1, support = precision_recall_f1_support(confusion)
    shown = [[per_cent(float(figure[c])) for figure in (precision, recall, f1)] for c in range(len(names))]
    return [[names[c], *shown[c], f"{support[c]:,}"] for c in _first(f1)], len(names)


def _first(rank: np.ndarray) -> Sequence[int]:
    """All classes in order, or of many the lowest by rank."""
    count = len(rank)
    return range(count) if count <= MAX_CLASS_ROWS else np.argsort(rank, kind="stable")[:MAX_CLASS_ROWS].tolist()
