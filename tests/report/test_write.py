"""evaluate.py --report: where the page goes, and what is refused before anything is written."""

import json
import shutil
from pathlib import Path

import pytest

import evaluate
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.write import report_study
from alexnet_skip.study.sides import Side
from alexnet_skip.system.console import Console


def test_the_command_says_where_the_page_is(study, capsys):
    assert evaluate.main(["--report", study.name, "--runs-dir", str(study.parent)]) == 0
    captured = capsys.readouterr()
    result = json.loads(captured.out)
    assert result["report"] == str(study / "report.html")
    assert result["bytes"] == (study / "report.html").stat().st_size
    assert f"Report in {study / 'report.html'}" in captured.err


def test_the_newest_study_is_taken_if_none_is_named_and_each_language_has_its_file(study, tmp_path):
    assert evaluate.main(["--report", "--lang", "ko", "--runs-dir", str(study.parent), "--quiet"]) == 0
    page = (study / "report.ko.html").read_text(encoding="utf-8")
    assert '<html lang="ko">' in page
    assert "스킵(conv): 도움이 됨(" in page
    out = tmp_path / "mine.html"
    assert evaluate.main(["--report", "--out", str(out), "--runs-dir", str(study.parent), "--quiet"]) == 0
    assert '<html lang="en">' in out.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("--report s --lang fr", "--lang is fr, but must be one of en, ko"),
        ("--report s --out {folder}", "which is a folder; name a file in it"),
        ("--report s --out {folder}/none/page.html", "but there is no folder"),
        ("--report nowhere", "--run nowhere: no run there"),
        ("--lang ko", "--lang is ko, which has no effect without --report"),
    ],
)
def test_a_mistake_is_named_and_nothing_is_written(study, tmp_path, capsys, line, told):
    arguments = line.format(folder=tmp_path).replace("report s", f"report {study.name}").split()
    try:
        code = evaluate.main([*arguments, "--runs-dir", str(study.parent)])
    except SystemExit as end:
        code = end.code
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert told in " ".join(captured.err.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_a_study_whose_report_cannot_be_made_is_told_why_and_goes_on(study, tmp_path, capsys):
    copy = tmp_path / "s"
    shutil.copytree(study, copy)
    assert report_study(copy, Console()) == str(copy / "report.html")
    (copy / "conv-seed0" / "metrics.jsonl").write_text("{")
    assert report_study(copy, Console()) is None
    assert "No report: " in capsys.readouterr().err


def test_reports_of_different_runs_have_different_names():
    def name(*others: str) -> str:
        sides = [Side(other, "conv", (Path(other),), (0,), None) for other in ("a", *others)]
        return Subject("a", Path("a"), None, sides, "", []).file_name("en")

    assert name() == "report.html"
    assert name("s/b") == "report-against-s-b.html"
    long = [name(*("x" * 50 for _ in range(9)), last) for last in ("y", "z")]
    assert long[0] != long[1]
    assert max(map(len, long)) < 120
