"""Confusion matrices as tables of shares, and what a form of the skip changes in them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from alexnet_skip.plots.confusion import SHARE_GAMMA
from alexnet_skip.report.names import side_name, when
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.study.verdict import signed, sum_of_confusions

# Above this many classes only the most confused are shown: more cells than this can't be read, and a page of all of
# CIFAR-100's would hold a hundred thousand.
MAX_SHOWN_CLASSES = 20


@dataclass(frozen=True)
class Cell:
    """One cell.

    Attributes:
        shown: what is written in it: per cent, or points of difference with their sign.
        value: of the colour, from −1 to 1.
        told: the whole sentence, for who points at it.
    """

    shown: str
    value: float
    told: str

    @property
    def level(self) -> int:
        """Of the colour, 0 to 10; a straight scale would hide the few per cent of most cells off the diagonal."""
        return round(10 * abs(self.value) ** SHARE_GAMMA)


@dataclass(frozen=True)
class Matrix:
    """One matrix.

    Attributes:
        names: of the classes that are shown.
        rows: by true class.
        difference: whether it is one of two matrices.
    """

    title: str
    names: list[str]
    rows: list[list[Cell]]
    difference: bool
    of: int

    @property
    def labelled(self) -> list[tuple[str, list[Cell]]]:
        """Rows with the names of their classes."""
        return list(zip(self.names, self.rows, strict=True))


@dataclass(frozen=True)
class Group:
    """The matrices of one stage."""

    when: str
    matrices: list[Matrix]


def groups(subject: Subject, text: Text) -> list[Group]:
    """Matrices of every stage, the last first: the first side's, then each other's with its difference from it."""
    found, count = [], len(subject.class_names)
    for stage in reversed(subject.stages):
        sums = [sum_of_confusions(of_side, count) for of_side in stage.predictions]
        shown = _shown(np.sum(sums, axis=0))
        names = [subject.class_names[label] for label in shown]
        matrices = []
        for number, (side, confusion) in enumerate(zip(subject.sides, sums, strict=True)):
            name = side_name(side, text)
            matrices.append(_matrix(name, confusion, shown, names, text))
            if number:
                reference = side_name(subject.sides[0], text)
                title = text("confusion.difference", name=name, reference=reference)
                matrices.append(_difference(title, sums[0], confusion, shown, names, text))
        found.append(Group(when(subject, stage, text), matrices))
    return found


def _shown(confusion: np.ndarray) -> np.ndarray:
    """Classes to show, ascending: all, or those of the largest cells off the diagonal."""
    if len(confusion) <= MAX_SHOWN_CLASSES:
        return np.arange(len(confusion))
    wrong = confusion - np.diag(np.diag(confusion))
    largest = np.maximum(wrong.max(axis=0), wrong.max(axis=1))
    return np.sort(np.argsort(-largest, kind="stable")[:MAX_SHOWN_CLASSES])


def _matrix(title: str, confusion: np.ndarray, shown: np.ndarray, names: Sequence[str], text: Text) -> Matrix:
    support = confusion.sum(axis=1)

    def cell(row: int, column: int) -> Cell:
        true, predicted = shown[row], shown[column]
        count, of = int(confusion[true, predicted]), int(support[true])
        share = count / max(1, of)
        told = text(
            "confusion.right" if true == predicted else "confusion.wrong", true=names[row], predicted=names[column],
            count=f"{count:,}", of=f"{of:,}", share=f"{100 * share:.1f}",
        )  # fmt: skip
        return Cell(f"{100 * share:.0f}" if count else "", share, told)

    return Matrix(title, list(names), _square(cell, len(shown)), False, len(confusion))


def _difference(
    title: str, a: np.ndarray, b: np.ndarray, shown: np.ndarray, names: Sequence[str], text: Text
) -> Matrix:
    support = np.maximum(a.sum(axis=1, keepdims=True), 1)
    points = 100 * (b - a) / support
    largest = np.abs(points[np.ix_(shown, shown)]).max() or 1.0

    def cell(row: int, column: int) -> Cell:
        true, predicted = shown[row], shown[column]
        change = float(points[true, predicted])
        told = text(
            "confusion.changed", true=names[row], predicted=names[column], change=signed(change / 100),
            before=f"{a[true, predicted]:,}", after=f"{b[true, predicted]:,}", of=f"{support[true, 0]:,}",
        )  # fmt: skip
        # More on the diagonal is better, more beside it is worse: blue is better everywhere.
        better = change if true == predicted else -change
        whole = signed(change / 100, 0)
        return Cell("" if whole == "+0" else whole, better / largest, told)

    return Matrix(title, list(names), _square(cell, len(shown)), True, len(a))


def _square(cell: Callable[[int, int], Cell], count: int) -> list[list[Cell]]:
    return [[cell(row, column) for column in range(count)] for row in range(count)]
