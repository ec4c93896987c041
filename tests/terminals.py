"""A terminal for tests: a stream that says it is one, of so many columns."""

import io
import re
import sys


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


def open_terminal(monkeypatch, columns: int) -> Terminal:
    """Make stderr a terminal, in the test itself: pytest replaces stderr between set-up and call."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", str(columns))
    return stream


def shown(stream: Terminal) -> str:
    """What was written, without colours and movements."""
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
