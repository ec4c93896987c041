"""How far the work is: rows at the foot of a terminal, and now and then a line in a log."""

import time
from collections.abc import Callable
from typing import Literal

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Column
from rich.text import Text

# On anything but a terminal a line of progress at most this often, so that a log file stays readable.
PLAIN_PROGRESS_SECONDS = 15.0


def duration(seconds: float) -> str:
    """Time for people: "48 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class ProgressHandle:
    """Moves one progress display forward; this one shows nothing."""

    def advance(self, amount: int) -> None:
        """Report that ``amount`` more items are done."""

    def show(self, figures: str) -> None:
        """Set the figures shown beside the bar."""

    def phase(self, title: str) -> None:
        """Say what is being done now."""


class LiveProgress(ProgressHandle):
    """A bar on a terminal."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def advance(self, amount: int) -> None:
        self._bar.update(self._task, advance=amount)

    def show(self, figures: str) -> None:
        self._bar.update(self._task, figures=figures)

    def phase(self, title: str) -> None:
        self._bar.update(self._task, description=title)


class PlainProgress(ProgressHandle):
    """Lines in a log."""

    def __init__(self, line: Callable[[str], None], title: str, total: int) -> None:
        # Of work whose end nobody knows the total is 0.
        self._line, self._title, self._total = line, title, total
        self._figures, self._done = "", 0
        self._began = self._last = time.monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if self._done and now - self._last >= PLAIN_PROGRESS_SECONDS:
            self._last, elapsed = now, now - self._began
            told = f"{duration(elapsed)} so far"
            if self._total:
                left = elapsed / self._done * max(0, self._total - self._done)
                told = f"{100 * self._done // self._total} %, about {duration(left)} left"
            self._line(f"{self._title}: {told} {self._figures}".rstrip())

    def show(self, figures: str) -> None:
        self._figures = figures

    def phase(self, title: str) -> None:
        self._title = title


class _Title(ProgressColumn):
    """What is being done; where nothing can be counted, for how long."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True, overflow="ellipsis"))

    def render(self, task: Task) -> Text:
        counted = task.total is not None
        return Text(task.description if counted else f"{task.description}, {duration(task.elapsed or 0.0)}")


class _Counted(ProgressColumn):
    """Another column, empty where nothing can be counted."""

    def __init__(self, column: ProgressColumn) -> None:
        super().__init__(column.get_table_column())
        self._column = column

    def render(self, task: Task) -> RenderableType:
        return self._column(task) if task.total is not None else ""


def live_display(console: Console) -> Progress:
    """Rows at the foot of a terminal: a bar with share, time left and figures for what is counted, else a spinner."""
    # The figures give way where the terminal is narrow, not the bar and the time left.
    cut: Literal["crop", "ellipsis"] = "crop" if console.options.ascii_only else "ellipsis"
    figures = Column(no_wrap=True, overflow=cut, ratio=1)
    columns = (
        BarColumn(20), TaskProgressColumn(), TimeRemainingColumn(),
        TextColumn("left  {task.fields[figures]}", markup=False, table_column=figures),
    )  # fmt: skip
    # A spinner of plain letters, for all encodings.
    spinner = SpinnerColumn("line", finished_text=" ")
    return Progress(spinner, _Title(), *map(_Counted, columns), console=console, expand=True)
