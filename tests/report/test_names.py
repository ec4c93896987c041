"""A stage is called by its epoch only where all runs share it, and a value is anybody's only where all have it."""

import pytest
from made_report import make_study
from made_runs import make_predictions, make_published, make_run

from alexnet_skip.report import findings, matrices
from alexnet_skip.report.names import by_run, when
from alexnet_skip.report.subject import find_subject
from alexnet_skip.report.text import load_text
from alexnet_skip.study.source_report import CLASS_NAMES

TEXT = load_text("en")


@pytest.mark.parametrize(
    ("name", "epochs", "called"),
    [
        ("best", (2, 3), "Each run's published model"),
        ("best", (3, 3), "After epoch 3"),
        ("best", (3, None), "Each run's published model"),
        ("last", (4, 9), "Each run's last epoch"),
        ("last", (4, 4), "After epoch 4"),
    ],
)
def test_the_epoch_is_told_only_where_all_runs_have_the_same(tmp_path, rng, name, epochs, called):
    for run, epoch in zip(("a", "b"), epochs, strict=True):
        made = make_run(tmp_path / run, {f"test-{name}": make_predictions(0.6, rng)}, CLASS_NAMES)
        make_published(made / ("model" if name == "best" else "last"), CLASS_NAMES, 1.0, epoch)
    subject = find_subject(tmp_path, ["a", "b"])
    assert when(subject, subject.last, TEXT) == called
    assert [forest.when for forest in findings.forests(subject, TEXT)] == [called]
    assert [group.when for group in matrices.groups(subject, TEXT)] == [called]
    assert [row for row, _ in findings.table(subject, TEXT).rows] == [called]


def test_a_value_is_told_once_or_with_the_forms_and_runs_that_have_it(tmp_path):
    study = make_study(tmp_path / "runs" / "study", seeds=2)
    subject = find_subject(study.parent, [study.name])
    assert by_run(subject, [["1", "1"]] * 3, TEXT) == "1"
    assert by_run(subject, [["1", "1"], ["2", "2"], ["1", "1"]], TEXT) == "1 (no skip, skip (concat)); 2 (skip (conv))"
    mixed = by_run(subject, [["1", "1"], ["", "1"], ["", ""]], TEXT)
    assert mixed == "1 (no skip, conv-seed1); – (conv-seed0, skip (concat))"
