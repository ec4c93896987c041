"""How far the work is, on a terminal and in a log."""

import re

import pytest
from terminals import open_terminal, shown

from alexnet_skip.system import progress as module
from alexnet_skip.system.console import Console
from alexnet_skip.system.progress import duration


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


def test_of_work_whose_end_nobody_knows_neither_share_nor_time_left_is_told(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with Console().progress("Download", 0) as progress:
        now[0] = 20.0
        progress.advance(5_000_000)
    assert capsys.readouterr().err == "Download: 20 s so far\n"
    stream = open_terminal(monkeypatch, 80)
    with Console().progress("Download", 0) as progress:
        now[0] = 45.0
        progress.advance(5_000_000)
    last = [line.strip() for line in re.split(r"[\r\n]+", shown(stream)) if line.strip()][-1]
    assert re.fullmatch(r"\W Download, \d+ s", last)


def test_a_terminal_shows_phase_share_time_left_and_figures(monkeypatch):
    stream = open_terminal(monkeypatch, 80)
    with Console().progress("Train", 4) as progress:
        progress.advance(1)
        progress.show("val top-1 83.57 %" + 80 * "!")
        progress.phase("Validate [x]")
    last = [line.strip() for line in re.split(r"[\r\n]+", shown(stream)) if line.strip()][-1]
    assert re.match(r"- Validate \[x\] .* 25% \S+ left  val top-1 83.57 %!*…$", last)
    assert len(last) <= 80


def test_a_terminal_shows_what_is_being_done_for_how_long_and_takes_it_away(monkeypatch):
    stream = open_terminal(monkeypatch, 60)
    with Console().working("Fitting [x]"):
        assert "Fitting [x], 0 s" in shown(stream)
    assert not shown(stream).endswith("\n"), "the next line takes the spinner's place"
    assert "\x1b[2K" in stream.getvalue()[-12:], "it is wiped out"


def test_a_bar_within_a_longer_piece_of_work_is_shown_beside_it(monkeypatch):
    stream = open_terminal(monkeypatch, 80)
    console = Console()
    with console.working("Reading"), console.progress("Images", 2) as images:
        images.advance(1)
        console.line("in between")
        images.advance(1)
    assert "Reading, 0 s" in shown(stream)
    assert "in between" in shown(stream)
    last = [line for line in re.split(r"[\r\n]+", shown(stream)) if line.strip()][-1]
    assert re.match(r" *Images .* 100% ", last), "the bar stays"


def test_a_terminal_that_can_not_go_back_is_written_to_like_a_log(monkeypatch):
    stream = open_terminal(monkeypatch, 60)
    monkeypatch.setenv("TERM", "dumb")
    with Console().working("Fitting"):
        assert stream.getvalue() == "Fitting …\n"


def test_an_error_leaves_no_spinner_behind(monkeypatch):
    stream = open_terminal(monkeypatch, 60)
    with pytest.raises(ValueError, match="inside"), Console().working("Fitting"):
        raise ValueError("inside")
    assert not shown(stream).endswith("\n")
    assert stream.getvalue().count("\x1b[?25h") == stream.getvalue().count("\x1b[?25l") == 1, "the cursor is back"


def test_work_in_a_log_is_told_when_it_begins(capsys):
    with Console().working("Fitting"):
        assert capsys.readouterr().err == "Fitting …\n"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min"), (3599.7, "1 h 0 min")],
)
def test_durations_are_in_units_that_people_read(seconds, text):
    assert duration(seconds) == text
