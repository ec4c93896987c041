"""Streams of any encoding print what they can."""

import errno
import io
import os
import subprocess
import sys

import pytest

from alexnet_skip.system import streams
from alexnet_skip.system.streams import READER_LEFT, make_streams_print, plain, reader_may_leave

EVERYTHING = "top-1 ≠ 71.9 % – 224×224 … → █▌ ╭─╮ │ ━ é 고양이 猫 🐱 \udcff"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp949", "cp1252", "cp437", "utf-8"])
def test_any_text_is_printed_in_any_encoding(monkeypatch, encoding):
    kept = io.BytesIO()
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(kept, encoding=encoding))
    make_streams_print()
    print(EVERYTHING)
    print(EVERYTHING, file=sys.stderr)
    sys.stdout.flush()
    sys.stderr.flush()
    lines = kept.getvalue().decode(encoding).splitlines()
    assert len(lines) == 2
    for letter in "top-1 71.9 % é 고양이":
        if letter in lines[0]:
            continue
        with pytest.raises(UnicodeEncodeError):
            letter.encode(encoding)  # nothing is replaced that could have been printed


def test_signs_become_plain_ones_and_names_stay_legible():
    assert plain("≠–×…→█▌╭─│━é") == "!=-x...->##+-|-e"
    assert plain("고") == "\\uace0"
    assert all(text.isascii() for text in streams.PLAIN.values())


def test_streams_that_are_not_there_are_no_error(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    make_streams_print()
    print("nobody reads this")
    print("nor this", file=sys.stderr)
    sys.stdout.close()
    sys.stderr.close()


@pytest.mark.parametrize("number", [errno.EPIPE, errno.EINVAL])
def test_a_reader_that_left_ends_a_program_on_every_system(monkeypatch, number):
    """A pipe that nobody reads is EPIPE, on Windows EINVAL, as soon as something is printed."""
    silenced = []
    monkeypatch.setattr(streams, "_print_to_nowhere", silenced.append)
    with pytest.raises(SystemExit) as end, reader_may_leave():
        raise OSError(number, "nobody reads this")
    assert (end.value.code, silenced) == (READER_LEFT, [1, 2])


@pytest.mark.parametrize(
    "error", [OSError(errno.EINVAL, "no name for a file", "con?fig.json"), OSError(errno.ENOSPC, "the disk is full")]
)
def test_other_errors_of_the_system_are_not_taken_for_a_reader_that_left(error):
    with pytest.raises(OSError, match=error.strerror) as seen, reader_may_leave():
        raise error
    assert seen.value is error


@pytest.mark.parametrize("encoding", ["cp949", "ascii"])
@pytest.mark.parametrize("command", [["train.py"], ["-m", "alexnet_skip.features"]])
def test_help_is_printed_in_any_encoding(encoding, command):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "80"}
    done = subprocess.run([sys.executable, *command, "--help"], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode(encoding)
    assert "usage:" in shown
    assert "\\u" not in shown
