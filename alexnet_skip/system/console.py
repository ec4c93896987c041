"""What people see: lines, tables, panels and progress on stderr; and the one JSON line on stdout for programs."""

import errno
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich import console as rich_console
from rich.panel import Panel
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from alexnet_skip.system.errors import UserError
from alexnet_skip.system.interruption import InterruptedRunError, sigterm_as_exception

# On anything but a terminal a line of progress at most this often, so that a log file stays readable.
PLAIN_PROGRESS_SECONDS = 15.0
# A log file has no width of its own; rich's 80 would cut tables of runs.
PLAIN_WIDTH = 120
MAX_PANEL_WIDTH = 100
# What a disk says that is full, or a folder that must not be written: the user's to mend, wherever it shows.
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class ProgressHandle:
    """Moves one progress display forward; this one shows nothing."""

    def advance(self, amount: int) -> None:
        """Report that ``amount`` more items are done."""

    def show(self, figures: str) -> None:
        """Set the figures shown beside the bar."""

    def phase(self, title: str) -> None:
        """Say what is being done now."""


class _LiveProgress(ProgressHandle):
    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar, self._task = bar, task

    def advance(self, amount: int) -> None:
        self._bar.update(self._task, advance=amount)

    def show(self, figures: str) -> None:
        self._bar.update(self._task, figures=figures)

    def phase(self, title: str) -> None:
        self._bar.update(self._task, description=title)


class _PlainProgress(ProgressHandle):
    def __init__(self, line: Callable[[str], None], title: str, total: int) -> None:
        self._line, self._title, self._total = line, title, total
        self._figures, self._done = "", 0
        self._began = self._last = time.monotonic()

    def advance(self, amount: int) -> None:
        self._done += amount
        now = time.monotonic()
        if self._done and now - self._last >= PLAIN_PROGRESS_SECONDS:
            self._last = now
            left = (now - self._began) / self._done * (self._total - self._done)
            share = 100 * self._done // max(1, self._total)
            self._line(f"{self._title}: {share} %, about {duration(left)} left {self._figures}".rstrip())

    def show(self, figures: str) -> None:
        self._figures = figures

    def phase(self, title: str) -> None:
        self._title = title


class Console:
    """Output of one process; silent when quiet or not the main process.

    Text is shown as it is: brackets and colons in names of files and classes are not markup.

    Args:
        quiet: print nothing.
        main_process: whether this process speaks for all.
    """

    def __init__(self, quiet: bool = False, main_process: bool = True) -> None:
        self.silent = quiet or not main_process
        self._rich = rich_console.Console(
            file=sys.stderr, quiet=self.silent, highlight=False, markup=False, emoji=False,
            width=None if sys.stderr.isatty() else PLAIN_WIDTH,
        )  # fmt: skip

    def line(self, text: str, style: str = "") -> None:
        """Print one line."""
        self._rich.print(text, style=style, soft_wrap=True)

    def error(self, text: str) -> None:
        """Print what went wrong."""
        self._rich.print(Text.assemble(("Error: ", "bold red"), text), soft_wrap=True)

    def panel(self, title: str, text: str, style: str = "bold yellow") -> None:
        """Print a framed note that can't be missed."""
        width = min(self._rich.width, MAX_PANEL_WIDTH)
        self._rich.print(Panel(text, title=Text(title), border_style=style, padding=(1, 2), width=width))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Print a table; columns of numbers are aligned right."""
        # Not the table's own title, which is wrapped to the width of the table.
        self.line(title, style="bold")
        table = Table(box=box.SIMPLE_HEAD, show_edge=False)
        for position, column in enumerate(columns):
            numbers = all(row[position][:1] in "+-−.0123456789" for row in rows)
            table.add_column(column, justify="right" if numbers else "left", overflow="fold")
        for row in rows:
            table.add_row(*row)
        self._rich.print(table)
        self.line("")

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[ProgressHandle]:
        """Show the progress of ``total`` items: a live bar with ETA on a terminal, now and then a line elsewhere."""
        if self.silent:
            yield ProgressHandle()
        elif self._rich.is_terminal:
            # The figures give way where the terminal is narrow, not the bar and the time left.
            figures = Column(no_wrap=True, overflow="ellipsis", ratio=1)
            columns = (
                TextColumn("{task.description}", markup=False),
                BarColumn(20),
                TaskProgressColumn(),
                TimeRemainingColumn(),
                TextColumn("left  {task.fields[figures]}", markup=False, table_column=figures),
            )
            with Progress(*columns, console=self._rich, expand=True) as bar:
                yield _LiveProgress(bar, bar.add_task(title, total=total, figures=""))
        else:
            yield _PlainProgress(self.line, title, total)


def duration(seconds: float) -> str:
    """Time for people: "48 s", "3 min 20 s", "2 h 5 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def per_cent(fraction: float, digits: int = 1) -> str:
    """A fraction for people: 0.8357 as "83.6"."""
    return f"{100 * fraction:.{digits}f}"


def print_json(value: Mapping[str, Any]) -> None:
    """Print the one line on stdout that a program reads: figures and paths as one JSON object."""
    print(json.dumps(value, allow_nan=False), flush=True)


def run_script(body: Callable[[], tuple[dict[str, Any], bool]]) -> int:
    """Turn the end of a script's body into an exit code: 0, 2 for a user's mistake, 130 for Ctrl-C, 143 after SIGTERM.

    Args:
        body: returns the figures and paths a program needs, and whether this process prints them as the last line.
    """
    try:
        with sigterm_as_exception():
            result, speaks = body()
    except UserError as error:
        Console().error(str(error))
        return 2
    except OSError as error:
        if error.errno not in REFUSED:
            raise
        place = f"{error.filename}: " if error.filename else ""
        Console().error(
            f"{place}{error.strerror}; make room or choose a folder that can be written, and run again: what was "
            "finished is kept, and train.py --resume goes on with a run"
        )
        return 2
    except KeyboardInterrupt:
        Console().line("Interrupted.")
        return 130
    except InterruptedRunError as end:
        if str(end):
            Console().line(str(end))
        return end.exit_code
    if speaks:
        print_json(result)
    return 0


def size(num_bytes: float) -> str:
    """Bytes for people: "3.4 GiB", "141 MiB"."""
    return f"{num_bytes / 2**30:,.1f} GiB" if num_bytes >= 2**30 else f"{num_bytes / 2**20:,.0f} MiB"


def shell_word(text: str) -> str:
    """Text as one word of a command line, on any shell: in double quotes where it has a space."""
    return f'"{text}"' if " " in text else text
