"""What the verdict claims, and of what."""

import pytest
from made_report import make_study

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
