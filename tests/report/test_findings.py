"""What the verdict claims, and of what."""

import re

import pytest
from made_report import make_study
from made_runs import make_predictions, make_run

from alexnet_skip.report import findings
from alexnet_skip.report.page import render
from alexnet_skip.report.subject import find_subject
from alexnet_skip.report.text import load_text
from alexnet_skip.study.verdict import points

SAID = {
    "en": (
        "skip (conv) instead of skip (identity) helps (",
        "for skip (concat) instead of skip (identity) no difference can be claimed (",
    ),
    "ko": ("스킵(identity) 대신 스킵(conv): 도움이 됨(", "스킵(identity) 대신 스킵(concat): 차이가 있다고 할 수 없음("),
}


@pytest.fixture(scope="module")
def without_none(tmp_path_factory):
    levels = {"identity": 0.55, "conv": 0.8, "concat": 0.56}
    study = make_study(tmp_path_factory.mktemp("forms") / "runs" / "forms", levels=levels)
    return find_subject(study.parent, [study.name])


@pytest.mark.parametrize("lang", sorted(SAID))
def test_a_study_without_the_form_that_has_no_skip_says_what_it_holds_the_others_against(without_none, lang):
    text = load_text(lang)
    told = findings.verdict(without_none, text)
    for said, comparison in zip(SAID[lang], without_none.last.comparisons, strict=True):
        assert said + points(comparison.differences[1]) in told


def test_such_a_study_is_not_asked_whether_the_skip_helps(without_none, page):
    text = load_text("en")
    assert text("page.question") in page
    alone = render(without_none, text)
    assert text("page.question") not in alone
    assert "<h1>skip (identity) · skip (conv) · skip (concat)</h1>" in alone


@pytest.mark.parametrize("lang", sorted(SAID))
def test_of_two_classes_nothing_is_told_but_top_1(tmp_path, rng, lang):
    found = make_predictions(0.8, rng, n=60, classes=2)
    for variant in ("none", "conv"):
        make_run(
            tmp_path / "s" / variant, {"test-epoch-4": found, "test-epoch-1": found}, ("cat", "dog"), variant=variant
        )
    make_run(tmp_path / "one", {"test-epoch-4": found, "test-epoch-1": found}, ("cat", "dog"))
    for name, cells in (("one", 2), ("s", 4)):
        subject, text = find_subject(tmp_path, [name]), load_text(lang)
        page = render(subject, text)
        assert len(re.findall(r"<td><b>[0-9.]+</b></td>", page)) == cells
        table = page.partition('<section id="table"')[2].partition("</section>")[0]
        assert set(re.findall(r"top-\d", table)) == {"top-1"}
        assert text("verdict.topk", k=2, share="").partition("2")[0] not in findings.verdict(subject, text)


def test_of_three_classes_the_verdict_tells_of_the_first_three(tmp_path, rng):
    found = make_predictions(0.8, rng, n=60, classes=3)
    make_run(tmp_path / "one", {"test-best": found}, ("cat", "dog", "bird"), snapshot_epochs=())
    told = findings.verdict(find_subject(tmp_path, ["one"]), load_text("en"))
    assert told.endswith("%); the true class is among its first 3 for 100.00 %.")
