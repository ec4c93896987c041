"""What people and programs see of a script."""

import io
import json
import re
import subprocess
import sys

import pytest

from alexnet_skip.evaluation.figures import MAX_CLASS_ROWS, show_evaluation
from alexnet_skip.system import console as module
from alexnet_skip.system.console import Console, duration, print_json, run_script
from alexnet_skip.system.errors import UserError


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True


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
    with console.progress("Work", 2) as progress:
        progress.show("loss 1")
        progress.phase("More work")
        progress.advance(2)


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


def test_a_log_file_gets_a_line_of_progress_only_now_and_then(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Console().progress("Extract", 100) as progress:
        for _ in range(100):
            now[0] += 1
            progress.advance(1)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 6
    assert lines[0] == "Extract: 15 %, about 1 min 25 s left"


def test_a_terminal_shows_phase_share_time_left_and_figures(monkeypatch):
    terminal = Terminal()
    # Not in a fixture: pytest replaces stderr between set-up and call.
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    with Console().progress("Train", 4) as progress:
        progress.advance(1)
        progress.show("val top-1 83.57 %" + 80 * "!")
        progress.phase("Validate [x]")
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", terminal.getvalue())
    last = [line for line in re.split(r"[\r\n]+", plain) if line.strip()][-1]
    assert re.match(r"Validate \[x\] .* 25% \S+ left  val top-1 83.57 %!*…$", last)
    assert len(last) <= 80


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


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3599.7, "1 h 0 min")],
)
def test_durations_are_in_units_that_people_read(seconds, text):
    assert duration(seconds) == text


def test_a_script_that_ends_well_prints_one_json_line(capsys):
    assert run_script(lambda: ({"top1": 0.5, "run": "runs/é"}, True)) == 0
    out, err = capsys.readouterr()
    assert [json.loads(line) for line in out.splitlines()] == [{"top1": 0.5, "run": "runs/é"}]
    assert err == ""


def test_a_process_that_does_not_speak_prints_nothing(capsys):
    assert run_script(lambda: ({}, False)) == 0
    assert capsys.readouterr() == ("", "")


def test_a_users_mistake_is_a_message_and_exit_code_2(capsys):
    def body():
        raise UserError("--epochs is 0, must be at least 1")

    assert run_script(body) == 2
    assert capsys.readouterr() == ("", "Error: --epochs is 0, must be at least 1\n")


def test_ctrl_c_is_exit_code_130_and_our_own_mistakes_keep_their_traceback(capsys):
    def interrupted():
        raise KeyboardInterrupt

    def broken():
        raise RuntimeError("ours")

    assert run_script(interrupted) == 130
    assert capsys.readouterr() == ("", "Interrupted.\n")
    with pytest.raises(RuntimeError, match="ours"):
        run_script(broken)


def test_json_has_no_word_for_not_a_number():
    with pytest.raises(ValueError, match="not JSON compliant"):
        print_json({"loss": float("nan")})


def test_leaves_do_not_import_torch():
    code = (
        "import sys; from alexnet_skip.system import console; from alexnet_skip.statistics import metrics, paired; "
        "from alexnet_skip.plots import confusion, curves, gallery; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
