"""What people see on stderr: lines, tables, panels, progress; and how figures are put for people."""

import errno
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from rich import box
from rich import console as rich_console
from rich.cells import cell_len
from rich.panel import Panel
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from alexnet_skip.system.commands import COMMAND, shell_command
from alexnet_skip.system.progress import LiveProgress, PlainProgress, ProgressHandle, live_display

# A log file has no width of its own; rich's 80 would cut tables of runs.
PLAIN_WIDTH = 120
MAX_PANEL_WIDTH = 100
# What a disk says that is full, or a folder that must not be written: the user's to mend, wherever it shows.
REFUSED = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM)


class Console:
    """Output of one process; silent when quiet or not the main process.

    Text is shown as it is: brackets and colons in names of files and classes are not markup.

    Args:
        quiet: print nothing.
        main_process: whether this process speaks for all.
    """

    def __init__(self, quiet: bool = False, main_process: bool = True) -> None:
        self.silent = quiet or not main_process
        terminal = sys.stderr is not None and sys.stderr.isatty()
        self._rich = rich_console.Console(
            file=sys.stderr, quiet=self.silent, highlight=False, markup=False, emoji=False,
            width=None if terminal else PLAIN_WIDTH,
        )  # fmt: skip
        # A dumb terminal, such as an editor's, can't go back to a line: it is written to like a log.
        self._live = self._rich.is_terminal and not self._rich.is_dumb_terminal
        self._display: Progress | None = None

    def line(self, text: str, style: str = "") -> None:
        """Print a line; on a terminal it is wrapped between words, and a command or a long path stays whole."""
        self._print(Text(text, style=style))

    def commands(self, *commands: Sequence[str | Path | int]) -> None:
        """Print command lines, each given as its words, to be pasted into a shell."""
        for words in commands:
            self.line(COMMAND + shell_command(*words))

    def error(self, text: str) -> None:
        """Print what went wrong."""
        self._print(Text.assemble(("Error: ", "bold red"), text))

    def _print(self, text: Text) -> None:
        for line in text.split("\n", allow_blank=True):
            whole = not self._live or line.plain.startswith(COMMAND)
            for row in [line] if whole else wrapped(line, self._rich.width):
                self._rich.print(row, soft_wrap=True)

    def panel(self, title: str, text: str, style: str = "bold yellow") -> None:
        """Print a framed note that can't be missed."""
        width = min(self._rich.width, MAX_PANEL_WIDTH)
        self._rich.print(Panel(text, title=Text(title), border_style=style, padding=(1, 2), width=width))

    def table(
        self, title: str, columns: Sequence[str], rows: Sequence[Sequence[str]], *, optional: Sequence[int] = ()
    ) -> None:
        """Print a table; columns of numbers are aligned right.

        Args:
            optional: positions of columns that are left out where the terminal is too narrow, the first one first.
        """
        # Not the table's own title, which is wrapped to the width of the table.
        self.line(title, style="bold")
        for left_out in range(len(optional) + 1):
            shown = [place for place in range(len(columns)) if place not in optional[:left_out]]
            kept = [[row[place] for place in shown] for row in (columns, *rows)]
            widest = sum(max(map(cell_len, column)) + 3 for column in zip(*kept, strict=True)) - 1
            if widest <= self._rich.width:
                break
        table = _table(kept[0], kept[1:], self._rich.width)
        self._rich.print(table)
        self.line("")

    @contextmanager
    def progress(self, title: str, total: int) -> Iterator[ProgressHandle]:
        """Show the progress of ``total`` items: a live bar with ETA on a terminal, now and then a line elsewhere.

        Where the total is not known it is 0, and for how long it has gone on is shown.
        """
        if self.silent:
            yield ProgressHandle()
        elif self._live:
            with self._on_display() as display:
                yield LiveProgress(display, display.add_task(title, total=total or None, figures=""))
        else:
            yield PlainProgress(self.line, title, total)

    @contextmanager
    def working(self, title: str) -> Iterator[None]:
        """Show that something of unknown length is being done: a spinner on a terminal, a line elsewhere."""
        if self._live and not self.silent:
            with self._on_display() as display:
                task = display.add_task(title, total=None, figures="")
                try:
                    yield
                finally:
                    display.remove_task(task)
        else:
            self.line(f"{title} …")
            yield

    @contextmanager
    def _on_display(self) -> Iterator[Progress]:
        """The rows at the foot of the terminal, one for each thing that is being done, the outer ones first."""
        if self._display is not None:
            yield self._display
            return
        try:
            with live_display(self._rich) as self._display:
                try:
                    yield self._display
                finally:
                    # Bars stay on the screen; without any, an empty line would.
                    self._display.live.transient = not self._display.tasks
        finally:
            self._display = None


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Table:
    table = Table(box=box.SIMPLE_HEAD, show_edge=False)
    # A column has a space on either side, and a line between it and the next.
    widths = _column_widths([*zip(columns, *rows, strict=True)], width - 3 * len(columns) + 1)
    for position, column in enumerate(columns):
        numbers = all(row[position][:1] in "+-−.0123456789" for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold", width=widths[position])
    for row in rows:
        table.add_row(*row)
    return table


def _column_widths(columns: Sequence[Sequence[str]], room: int) -> list[int | None]:
    """Widths at which no word of a table's columns is broken, within so many letters; None for each if there is none.

    Left to itself, rich takes from the widest columns, whatever their words.
    """
    whole = [max(map(cell_len, column)) for column in columns]
    widths = [max(cell_len(word) for cell in column for word in cell.split() or [""]) for column in columns]
    if sum(widths) > room:
        return [None] * len(columns)
    while sum(widths) < room and widths != whole:
        lacking = [full - width for full, width in zip(whole, widths, strict=True)]
        widths[lacking.index(max(lacking))] += 1
    return [*widths]


def wrapped(text: Text, width: int) -> list[Text]:
    """A line as several of at most that many letters' width; a word that is longer has a line of its own."""
    lines: list[Text] = []
    for word in text.split(" "):
        if lines and lines[-1].cell_len + 1 + word.cell_len <= width:
            lines[-1] = lines[-1].append(" ").append(word)
        else:
            lines.append(word)
    return lines


def is_first_process() -> bool:
    """Whether this is the process that speaks for all, as its launcher numbers them; known before Accelerate starts."""
    return os.environ.get("RANK", "0").strip() in ("", "0")


def per_cent(fraction: float, digits: int = 1) -> str:
    """A fraction for people: 0.8357 as "83.6"."""
    return f"{100 * fraction:.{digits}f}"


def size(num_bytes: float) -> str:
    """Bytes for people: "3.4 GiB", "141 MiB", "52 KiB"."""
    if num_bytes >= 2**30:
        return f"{num_bytes / 2**30:,.1f} GiB"
    return f"{num_bytes / 2**20:,.0f} MiB" if num_bytes >= 2**20 else f"{num_bytes / 2**10:,.0f} KiB"
