"""The first page: short, the same in both languages, and typed into any shell as it stands."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.ko.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What Windows PowerShell 5.1 does not have: both ways to chain, a variable before a command, a line that goes on.
FOREIGN = re.compile(r"&&|\|\||^\s*\w+=\S|\\\s*$|^\s*(export|source|sudo|rm -r)\b")


def text(name):
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(page, language):
    return [block for kind, block in FENCED.findall(page) if kind == language]


def test_the_first_page_is_short():
    assert len(text("README.md").split()) < 1200


def test_its_first_screen_has_the_picture_the_answers_and_then_the_two_commands():
    page = text("README.md")
    picture, answers, commands = (
        page.index(part) for part in ("docs/images/confusion_matrix", "| answer |", "\n```\n")
    )
    assert picture < answers < commands
    assert len(page[:commands].split()) < 250
    assert page[answers:].split("\n\n")[0].count("\n") == 5, "a head, a rule and four answers"


def test_both_languages_have_the_same_headings_commands_and_pictures():
    english, korean = text("README.md"), text("README.ko.md")
    for part in (r"^(#+) ", r"\]\((docs/[^)#]+)", r"^(\|-.*)$"):
        assert re.findall(part, english, re.MULTILINE) == re.findall(part, korean, re.MULTILINE), part
    assert FENCED.findall(english) == FENCED.findall(korean)
    for start in ("python ", "accelerate ", "--", "cu1"):
        inline = [re.findall(rf"`({start}[^`\n]+)`", FENCED.sub("", page)) for page in (english, korean)]
        assert sorted(inline[0]) == sorted(inline[1])
        assert inline[0]


def test_what_is_shown_for_powershell_works_in_windows_powershell_line_by_line():
    shown = {page.name: blocks(page.read_text(encoding="utf-8"), "powershell") for page in PAGES}
    assert shown["README.md"]
    assert len(shown["install.md"]) >= 3
    lines = [(page, line) for page, found in shown.items() for block in found for line in block.splitlines()]
    assert not [(page, line) for page, line in lines if FOREIGN.search(line)]


@pytest.mark.parametrize("line", ["a && b", "a || b", "A=1 python b.py", "python b.py \\", "source .venv/bin/activate"])
def test_the_check_itself_notices_what_powershell_does_not_have(line):
    assert FOREIGN.search(line)


@pytest.mark.parametrize("line", ['$env:A = "1"', ".venv\\Scripts\\Activate.ps1", "python b.py --epochs=3"])
def test_the_check_lets_pass_what_powershell_has(line):
    assert not FOREIGN.search(line)


def test_every_block_with_a_language_says_one_that_is_known():
    kinds = {kind for page in PAGES for kind, _ in FENCED.findall(page.read_text(encoding="utf-8"))}
    assert kinds <= {"", "powershell", "python", "py"}, "another would be passed over by the tests of commands"
