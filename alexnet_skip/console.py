"""What people see: lines, tables, panels and progress on stderr; and the one JSON line on stdout for programs."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import console as rich_console
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from alexnet_skip.errors import UserError

# On anything but a terminal a line of progress at most this often, so that a log file stays readable.
PLAIN_PROGRESS_SECONDS = 15.0


class ProgressHandle:
    """Moves one progress display forward."""

    def __init__(self, advance: Callable[[int, str], None]) -> None:
        self._advance = advance
        self._figures = ""

    def advance(self, amount: int) -> None:
        """Report that ``amount`` more items are done."""
        self._advance(amount, self._figures)

    def show(self, figures: str) -> None:
        """Set the figures shown beside the bar."""
        self._figures = figures


class Console:
    """Output of one process; silent when quiet or not the main process.

    Args:
        quiet: print nothing.
        main_process: whether this process speaks for all.
    """

    def __init__(self, quiet: bool = False, main_process: bool = True) -> None:
        self.silent = quiet or not main_process
        self._rich = rich_console.Console(file=sys.stderr, quiet=self.silent, highlight=False)

    def line(self, text: str) -> None:
        """Print one line."""
        self._rich.print(text, markup=False, soft_wrap=True)

    def panel(self, title: str, text: str, style: str = "bold yellow") -> None:
        """Print a framed note that can't be missed."""
        self._rich.print(Panel(text, title=title, border_style=style, padding=(1, 2)))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table: the first column left-aligned, the others right-aligned."""
        table = Table(title=title, title_justify="left")
        for position, column in enumerate(columns):
            table.add_column(column, justify="right" if position else "left")
        for row in rows:
            table.add_row(*row)
        self._rich.print(table)

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[ProgressHandle]:
        """Show the progress of ``total`` items: a live bar with ETA on a terminal, now and then a line elsewhere."""
        if self.silent:
            yield ProgressHandle(lambda amount, figures: None)
        elif self._rich.is_terminal:
            columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
            with Progress(
                *columns, TimeRemainingColumn(), TextColumn("{task.fields[figures]}"), console=self._rich
            ) as bar:
                task = bar.add_task(title, total=total, figures="")
                yield ProgressHandle(lambda amount, figures: bar.update(task, advance=amount, figures=figures))
        else:
            yield ProgressHandle(self._plain(title, total))

    def _plain(self, title: str, total: int) -> Callable[[int, str], None]:
        done, began = 0, time.monotonic()
        last = began

        def advance(amount: int, figures: str) -> None:
            nonlocal done, last
            done += amount
            now = time.monotonic()
            if now - last >= PLAIN_PROGRESS_SECONDS:
                last = now
                left = (now - began) / done * (total - done)
                self.line(f"{title}: {done:,}/{total:,}, {left:.0f} s left {figures}".rstrip())

        return advance


def evaluation_rows(summary: Mapping[str, Any], topk: Sequence[int]) -> list[list[str]]:
    """Rows of the table of top-k accuracies: name, per cent, and for top-1 its 95 % interval."""
    low, high = summary["top1_ci95"]
    rows = []
    for k in topk:
        interval = f"{100 * low:.2f} to {100 * high:.2f}" if k == 1 else ""
        rows.append([f"top-{k}", f"{100 * summary['topk'][str(k)]:.2f} %", interval])
    return rows


def show_evaluation(
    console: Console, title: str, summary: Mapping[str, Any], confused: Sequence[tuple[str, str, int]]
) -> None:
    """Print top-k accuracies, per-class figures and the strongest confusions.

    Args:
        title: dataset, split and run.
        summary: as :func:`alexnet_skip.metrics.summarize` makes it.
        confused: (true class, predicted class, count), strongest first.
    """
    ks = sorted(int(k) for k in summary["topk"])
    console.table(title, ("accuracy", "value", "95 % interval"), evaluation_rows(summary, ks))
    rows = [
        [name, *(f"{100 * values[figure]:.1f}" for figure in ("precision", "recall", "f1")), str(values["support"])]
        for name, values in summary["per_class"].items()
    ]
    console.table(f"Per class ({title})", ("class", "precision %", "recall %", "F1 %", "images"), rows)
    if confused:
        rows = [[true, predicted, str(count)] for true, predicted, count in confused]
        console.table("Strongest confusions", ("true class", "taken for", "images"), rows)


def run_script(body: Callable[[], tuple[dict[str, Any], bool]]) -> int:
    """Run a script's body and turn its end into an exit code: 0, 2 for a user's mistake, 130 for Ctrl-C.

    Args:
        body: returns the figures and paths a program needs, and whether this process prints them as the last line.
    """
    try:
        result, speaks = body()
    except UserError as error:
        Console().line(f"Error: {error}")
        return 2
    except KeyboardInterrupt:
        Console().line("Interrupted.")
        return 130
    if speaks:
        print(json.dumps(result, allow_nan=False), flush=True)
    return 0
