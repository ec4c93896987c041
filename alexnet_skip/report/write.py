"""evaluate.py --report: one page of all that a study or runs have left; needs no model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet_skip.report.page import render
from alexnet_skip.report.subject import find_subject
from alexnet_skip.report.text import load_text
from alexnet_skip.runs.folders import Report
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.system.console import Console, size
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import write_text


def report(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Write the page that is asked for; returns the figures and paths a program needs."""
    console = Console(settings.quiet)
    path = write_report(settings.runs_dir, settings.report or (), settings.lang, settings.out, console.line)
    num_bytes = path.stat().st_size
    console.line(f"Report in {path} ({size(num_bytes)}): open it in any browser; it needs nothing else")
    return {"report": str(path), "lang": settings.lang, "bytes": num_bytes}, True


def report_study(study: Path, console: Console) -> str | None:
    """The page that a study ends with; None, and a line that says why, where none can be made: the study is whole."""
    try:
        path = write_report(study.parent, [str(study)])
    except UserError as error:
        console.line(f"No report: {error}", style="yellow")
        return None
    console.line(f"Report in {path}: open it in any browser")
    return str(path)


def write_report(
    runs_dir: Path, names: Sequence[str], lang: str = "en", out: Path | None = None, report: Report = lambda _: None
) -> Path:
    """Write the page of a study or of runs, and return where it is.

    Args:
        names: of the study or runs; the newest study, or else the newest run, if there are none.
        out: where to write it; in the folder of the study or first run if None.
        report: told which runs can't say whether they are the newest, and why.

    Raises:
        UserError: if there is no such study, run or language, a file is damaged, or the page can't be written there.
    """
    text = load_text(lang)
    if out is not None and out.is_dir():
        raise UserError(f"--out is {out}, which is a folder; name a file in it, such as {out / 'report.html'}")
    if out is not None and not out.parent.is_dir():
        raise UserError(f"--out is {out}, but there is no folder {out.parent}; make it, or name another file")
    subject = find_subject(runs_dir, names, report)
    path = out or subject.folder / subject.file_name(lang)
    write_text(path, render(subject, text))
    return path
