"""The command that is offered for where models look draws what the page lacks."""

import pytest
from made_report import make_study
from made_runs import make_predictions, make_run

from alexnet_skip.report.looks import looks_wanted
from alexnet_skip.report.subject import find_subject
from alexnet_skip.settings.evaluate import parse_evaluate
from alexnet_skip.study.source_report import CLASS_NAMES


def asked(subject):
    (command,) = looks_wanted(subject)
    return parse_evaluate(command.removeprefix("python evaluate.py ").split())


@pytest.mark.parametrize(("split", "name"), [("test", "best"), ("test", "last"), ("val", "best"), ("val", "epoch-4")])
def test_it_asks_for_the_split_and_the_models_that_the_page_is_of(tmp_path, rng, split, name):
    for run in ("a", "b"):
        done = {f"{split}-{name}": make_predictions(0.6, rng)}
        make_run(tmp_path / run, done, CLASS_NAMES, variant="conv", snapshot_epochs=(4,))
    settings = asked(find_subject(tmp_path, ["a", "b"]))
    assert (settings.split, settings.checkpoint) == (split, name)
    assert settings.explain
    assert settings.compare == tuple((tmp_path / run).as_posix() for run in ("a", "b"))


def test_of_a_study_it_asks_for_the_high_epoch(tmp_path):
    study = make_study(tmp_path / "study", seeds=1)
    settings = asked(find_subject(tmp_path, ["study"]))
    assert (settings.split, settings.checkpoint, settings.compare) == ("test", "epoch-4", (study.as_posix(),))
