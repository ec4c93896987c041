"""One study and its page, shared by the tests of this room."""

from pathlib import Path

import pytest
from made_report import make_study

from alexnet_skip.report.write import write_report


@pytest.fixture(scope="package")
def study(tmp_path_factory) -> Path:
    return make_study(tmp_path_factory.mktemp("report") / "runs" / "study-pictures")


@pytest.fixture(scope="package")
def page(study) -> str:
    """The study's report in English."""
    return write_report(study.parent, [study.name]).read_text(encoding="utf-8")
