"""Commands as they are printed: what is shown can be pasted into sh, and on Windows into PowerShell and cmd."""

import os
import re
from pathlib import Path

# A line that begins so is a command to be pasted: a console never wraps it.
COMMAND = "  "

_WHOLE = re.compile(r"[\w./:+=-]+")
# What a shell replaces or ends a word at even within double quotes.
_ACTIVE = frozenset('"$`!%')


def shell_word(text: str) -> str:
    """Text as one word of a command line, quoted only where it has to be."""
    windows = os.name == "nt"
    if _WHOLE.fullmatch(text.replace("\\", "/") if windows else text):
        return text
    if not _ACTIVE & set(text) and (windows or "\\" not in text):
        return f'"{text}"'  # alike in all shells
    inner = "''" if windows else "'\"'\"'"
    return "'" + text.replace("'", inner) + "'"


def shell_command(*words: str | Path | int) -> str:
    """A command line of these words."""
    return " ".join(shell_word(str(word)) for word in words)


def command_line(*words: str | Path | int) -> str:
    """A command line of these words on a line of its own, as the end of a message."""
    return f"\n{COMMAND}{shell_command(*words)}"


def train_command(*words: str | Path | int) -> str:
    """:func:`command_line` of train.py, by the launcher, which takes all GPUs, without its own report of a failure."""
    return command_line("accelerate", "launch", "--quiet", "train.py", *words)


def tensorboard_address(tab: str) -> str:
    """Where a TensorBoard on this machine shows one of its tabs, such as ``timeseries``.

    Its own smoothing would draw other curves than those of so few epochs.
    """
    return f"http://localhost:6006/?smoothing=0#{tab}"
