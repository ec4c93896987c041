"""Streams that print what they can, whatever their encoding: Windows' code pages, ASCII logs, programs without any."""

import codecs
import errno
import os
import stat
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager

# What takes the place of signs that an encoding lacks; letters with accents lose them, others are shown as \uXXXX.
PLAIN = {
    "…": "...", "–": "-", "—": "-", "−": "-", "≠": "!=", "≤": "<=", "≥": ">=", "×": "x", "·": ".", "•": "*", "±": "+-",
    "→": "->", "’": "'", "‘": "'", "“": '"', "”": '"',
    "█": "#", "▉": "#", "▊": "#", "▋": "#", "▌": "#", "▍": "", "▎": "", "▏": "",
    "━": "-", "╸": "-", "╺": "-", "─": "-", "│": "|", **dict.fromkeys("╭╮╰╯┌┐└┘├┤┬┴┼", "+"),
}  # fmt: skip
ERRORS = "alexnet_skip.plain"
# 128 and the number of SIGPIPE, by which other programs end; Windows has no such signal.
READER_LEFT = 141


def plain(text: str) -> str:
    """Text in ASCII, as near to what it was as can be."""
    return "".join(map(_plain_letter, text))


def _plain_letter(letter: str) -> str:
    if letter in PLAIN:
        return PLAIN[letter]
    bare = unicodedata.normalize("NFKD", letter).encode("ascii", "ignore").decode()
    return bare or letter.encode("ascii", "backslashreplace").decode()


def _replace_unencodable(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return plain(error.object[error.start : error.end]), error.end


codecs.register_error(ERRORS, _replace_unencodable)


def make_streams_print() -> None:
    """Let stdout and stderr take any text; where there are none (``pythonw``), what is printed goes nowhere."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 (for the rest of the program)
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=ERRORS)


@contextmanager
def reader_may_leave() -> Iterator[None]:
    """Print within this context, and end as other programs do when whoever reads has seen enough (``--help | head``).

    Raises:
        SystemExit: with :data:`READER_LEFT`, and without a word.
    """
    try:
        try:
            yield
        finally:
            sys.stdout.flush()  # here, where it can be caught, not when the interpreter ends
    except OSError as error:
        # Windows calls a pipe that nobody reads an invalid argument; a file's error would name the file.
        if error.filename is not None or error.errno not in (errno.EPIPE, errno.EINVAL):
            raise
        for descriptor in (1, 2):
            _print_to_nowhere(descriptor)
        raise SystemExit(READER_LEFT) from None


def let_go_of_terminal() -> None:
    """Where stdout or stderr was a terminal that is gone, print to nowhere: an error then would keep us from saving."""
    for descriptor in (1, 2):
        try:
            if stat.S_ISCHR(os.fstat(descriptor).st_mode) and not os.isatty(descriptor):
                _print_to_nowhere(descriptor)
        except OSError:  # there is no such stream
            continue


def _print_to_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
