"""The network is told and drawn as it was trained: frozen, or with its last convolutions learning as well."""

import pytest
from made_runs import make_run, tell

from alexnet_skip.report import network
from alexnet_skip.report.page import render
from alexnet_skip.report.subject import find_subject
from alexnet_skip.report.text import load_text
from alexnet_skip.study.source_report import CLASS_NAMES

LAYERS = {1: "5", 2: "4–5", 3: "3–5"}


def made(folder, **finetuned):
    for name, count in finetuned.items():
        run = make_run(folder / name, {}, CLASS_NAMES, variant="conv")
        tell(run, settings={"finetuning": {"finetune": count}})
    return find_subject(folder, list(finetuned))


@pytest.mark.parametrize("lang", ["en", "ko"])
@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_page_says_which_convolutions_learnt_and_draws_them_so(tmp_path, lang, count):
    text = load_text(lang)
    page = render(made(tmp_path, run=count), text)
    frozen, learnt = text("network.frozen"), text("network.finetuned", layers=LAYERS.get(count, ""))
    assert (frozen in page, learnt in page) == (not count, bool(count))
    # In each of three drawings: the first convolutions are frozen always, the others as asked for.
    assert page.count('<rect class="box frozen"') == (6 if not count else 3)
    assert page.count('<rect class="box trained"') == 4 + {0: 0, 1: 3}.get(count, 6)
    told = {0: "conv 1–4", 1: "conv 1–4", 2: "conv 1–3", 3: "conv 1–2"}[count]
    assert page.count(f">{told}</text>") == 3


def test_runs_that_were_trained_in_different_ways_are_told_one_by_one(tmp_path):
    text = load_text("en")
    subject = made(tmp_path, head=0, upper=2, other=0)
    frozen, learnt, drawn = network.trained_layers(subject, text)
    assert frozen == f"head, other: {text('network.frozen')}"
    assert learnt == f"upper: {text('network.finetuned', layers='4–5')}"
    assert drawn == "Drawn is upper."
