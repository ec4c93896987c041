"""Streams of any encoding print what they can."""

import io
import os
import subprocess
import sys

import pytest

from alexnet_skip.system import streams
from alexnet_skip.system.streams import make_streams_print, plain

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


@pytest.mark.parametrize("encoding", ["cp949", "ascii"])
@pytest.mark.parametrize("command", [["train.py"], ["-m", "alexnet_skip.features"]])
def test_help_is_printed_in_any_encoding(encoding, command):
    environment = os.environ | {"PYTHONIOENCODING": encoding, "COLUMNS": "80"}
    done = subprocess.run([sys.executable, *command, "--help"], capture_output=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    shown = done.stdout.decode(encoding)
    assert "usage:" in shown
    assert "\\u" not in shown
