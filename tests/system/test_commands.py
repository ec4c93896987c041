"""Commands that are printed can be pasted."""

import os
import shlex
from pathlib import Path

import pytest

from alexnet_skip.system import commands
from alexnet_skip.system.commands import shell_command, shell_word

NAMES = [
    "run-1", "my run", "a&b", "a;b", "a|b", "it's", "a$b", "a`b", "100%", "(a)", "a,b", "a#b", "~", "고양이 1",
    "*.jpg", "a\\b", 'a"b',
    "a$b'c", "!a", "@a", "", "a>b", "{a}",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_a_shell_reads_the_very_words(name):
    words = ["python", "evaluate.py", "--run", name, "--topk", "1"]
    assert shlex.split(shell_command(*words)) == words


@pytest.mark.skipif(os.name == "nt", reason="asks sh")
def test_sh_itself_reads_them_too():
    import subprocess

    line = shell_command("printf", "%s\\n", *NAMES)
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n") == [*NAMES, ""]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("C:\\runs\\a", "C:\\runs\\a"),
        ("C:\\my runs\\a", '"C:\\my runs\\a"'),
        ("a&b", '"a&b"'),
        ("$a b", "'$a b'"),
        ("$it's", "'$it''s'"),
        ("it's", '"it\'s"'),
        ("a,b", '"a,b"'),
        ("100%", "'100%'"),
    ],
)
def test_on_windows_words_are_quoted_as_powershell_reads_them(monkeypatch, text, word):
    monkeypatch.setattr(commands.os, "name", "nt")
    assert shell_word(text) == word


def test_plain_words_are_left_as_they_are_and_paths_are_words():
    assert shell_command("python", "train.py", Path("runs/a-1.b"), 3) == "python train.py runs/a-1.b 3"
