"""What people and programs see of a script."""

import re
import subprocess
import sys

import pytest
from terminals import open_terminal, shown

from alexnet_skip.evaluation.figures import MAX_CLASS_ROWS, show_evaluation
from alexnet_skip.system import progress as module
from alexnet_skip.system.console import Console, size


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch):
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


def summary(names=("cat", "dog")):
    figures = {"precision": 0.5, "recall": 0.25, "f1": 1 / 3, "support": 1200}
    return {
        "num_samples": 2400,
        "topk": {"1": 0.8357, "3": 0.9},
        "topk_ci95": {"1": [0.8283, 0.8428], "3": [0.88, 0.92]},
        "balanced_accuracy": 0.8123,
        "macro_f1": 0.8012,
        "nll": 0.51,
        "ece": 0.02,
        "per_class": {name: figures | {"f1": place / 1000} for place, name in enumerate(names)},
    }


def speak(console):
    console.line("a line")
    console.panel("title", "text")
    console.table("title", ("a",), [["b"]])
    with console.working("Thinking"), console.progress("Work", 2) as progress:
        progress.show("loss 1")
        progress.phase("More work")
        progress.advance(2)
    console.commands(("python", "a b.py"))
    console.error("none")


@pytest.mark.parametrize("console", [{"quiet": True}, {"main_process": False}])
def test_a_quiet_console_and_another_process_are_silent(capsys, console):
    speak(Console(**console))
    assert capsys.readouterr() == ("", "")


def test_everything_goes_to_stderr_without_control_characters(capsys, monkeypatch):
    monkeypatch.setattr(module, "PLAIN_PROGRESS_SECONDS", 0.0)
    speak(Console())
    out, err = capsys.readouterr()
    assert out == ""
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", err)
    assert "More work: 100 %, about 0 s left loss 1" in err.splitlines()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_gets_whole_words_whole_paths_and_whole_commands(monkeypatch, columns):
    stream, path, command = (
        open_terminal(monkeypatch, columns),
        "/folder" * 30,
        "  python train.py --name '" + "a b " * 40 + "'",
    )
    words = [f"word{n}" * (n % 3 + 1) for n in range(60)]
    Console().line(f"{' '.join(words)} {path} end\nNext:\n{command}")
    Console().error(" ".join(words))
    lines = shown(stream).splitlines()
    assert command in lines
    assert path in lines
    assert " ".join(lines).count(" ".join(words)) == 2
    assert all(len(line) <= columns for line in lines if line not in (path, command))


def test_korean_letters_count_twice_when_lines_are_wrapped(monkeypatch):
    stream = open_terminal(monkeypatch, 20)
    Console().line("고양이 강아지 고양이 강아지")
    assert shown(stream).splitlines() == ["고양이 강아지 고양이", "강아지"]


@pytest.mark.parametrize(
    ("columns", "heads"), [(30, "class right"), (60, "class right detail"), (120, "class right detail more")]
)
def test_columns_that_are_not_needed_are_left_out_of_narrow_terminals(monkeypatch, columns, heads):
    stream = open_terminal(monkeypatch, columns)
    rows = [["aeroplane", "71.9", "detail " * 4, "more " * 4]]
    Console().table("t", ("class", "right", "detail", "more"), rows, optional=(3, 2))
    lines = shown(stream).splitlines()
    assert " ".join(lines[1].split()) == heads
    assert all(len(line) <= columns for line in lines)


def test_a_table_breaks_no_word_that_fits(monkeypatch):
    stream = open_terminal(monkeypatch, 60)
    row = ["negative log-likelihood", "between 0.2512 and 0.2913", "for other images and for other seeds"]
    Console().table("t", ("a figure", "its interval", "what it holds for"), [row])
    assert set(" ".join(row).split()) <= set(shown(stream).split())
    heads = ("class", "own %, 3-D", "nearest other", "own %, 9,216-D", "nearest other")
    Console().table("t", heads, [["automobile", "32.8", "automobile", "27.2", "automobile"]])
    assert shown(stream).split().count("automobile") == 3
    assert set(" ".join(heads).split()) <= set(shown(stream).split())
    assert max(map(len, shown(stream).splitlines())) <= 60


def test_a_table_that_no_terminal_could_hold_is_still_shown(monkeypatch):
    stream = open_terminal(monkeypatch, 30)
    Console().table("t", ("a", "b"), [["x" * 40, "y" * 40]])
    assert sum(shown(stream).count(letter) for letter in "xy") == 80


def test_a_program_without_streams_goes_on(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    speak(Console())


def test_names_are_shown_as_they_are_not_as_markup(capsys):
    console = Console()
    console.line("[red]a[/red] :cat:")
    console.panel("[title]", 'pip install ".[test]"')
    console.table("[table]", ("[column]",), [["[bold]"], [":dog:"]])
    console.error("[path]")
    err = capsys.readouterr().err
    for text in (
        "[red]a[/red] :cat:",
        "[title]",
        '".[test]"',
        "[table]",
        "[column]",
        "[bold]",
        ":dog:",
        "Error: [path]",
    ):
        assert text in err


def test_long_lines_stay_whole_so_that_paths_can_be_copied(capsys):
    Console().line("x" * 500)
    assert "x" * 500 + "\n" in capsys.readouterr().err


def test_columns_of_numbers_are_aligned_right_and_names_left(capsys):
    Console().table("t", ("name", "count"), [["cat", "7"], ["aeroplane", "12,345"]])
    lines = capsys.readouterr().err.splitlines()
    assert [line.rstrip() for line in lines if "cat" in line] == [" cat              7"]


def test_an_evaluation_shows_intervals_classes_confusions_and_what_it_is_of(capsys):
    show_evaluation(Console(), "shapes test, run-1", summary(), [("cat", "dog", 1234)])
    err = capsys.readouterr().err
    assert err.splitlines()[0] == "shapes test, run-1: 2,400 images"
    squeezed = [" ".join(line.split()) for line in err.splitlines()]
    for line in (
        "top-1 83.57 % 82.83 to 84.28",
        "top-3 90.00 % 88.00 to 92.00",
        "dog 50.0 25.0 0.1 1,200",
        "cat dog 1,234",
    ):
        assert line in squeezed


def test_of_many_classes_the_weakest_are_shown_and_said_to_be(capsys):
    names = [f"class-{i}" for i in range(100)]
    show_evaluation(Console(), "cifar100 test", summary(names), [])
    err = capsys.readouterr().err
    assert "The 25 weakest of 100 classes by F1" in err
    assert f"class-{MAX_CLASS_ROWS - 1} " in err
    assert f"class-{MAX_CLASS_ROWS} " not in err
    assert "confusions" not in err


def test_leaves_do_not_import_torch():
    code = (
        "import sys; from alexnet_skip.system import console; from alexnet_skip.statistics import metrics, paired; "
        "from alexnet_skip.plots import confusion, curves, gallery; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("num_bytes", "told"),
    [(53_468, "52 KiB"), (2**20, "1 MiB"), (3_167_735, "3 MiB"), (2**30, "1.0 GiB"), (3.4 * 2**30, "3.4 GiB")],
)
def test_a_size_is_told_in_the_unit_that_shows_it(num_bytes, told):
    assert size(num_bytes) == told
