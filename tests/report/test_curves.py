"""Curves stand at the epochs that were recorded, and say how many images they are measured on."""

import json

import numpy as np
import pytest
from made_report import make_history
from made_runs import make_run, tell

from alexnet_skip.report import curves
from alexnet_skip.report.subject import find_subject
from alexnet_skip.report.text import load_text
from alexnet_skip.study.source_report import CLASS_NAMES
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.inputs import choose_train_sample

TEXT = load_text("en")


def xs(line) -> list[float]:
    return [float(point.partition(",")[0]) for point in line.points.split()]


def test_a_run_that_goes_on_with_anothers_model_is_drawn_behind_it(tmp_path, rng):
    for name, epochs, first in (("parent", 15, 1), ("child", 5, 16)):
        make_history(make_run(tmp_path / name, {}, CLASS_NAMES), rng, epochs, first)
    chart = curves.charts(find_subject(tmp_path, ["parent", "child"]), TEXT)[0]
    parent, child = map(xs, (chart.lines[0], chart.lines[1]))
    assert (len(parent), len(child)) == (15, 5)
    np.testing.assert_allclose(np.diff(parent + child), np.diff(parent)[0], atol=0.11)
    alone = curves.charts(find_subject(tmp_path, ["child"]), TEXT)[0]
    assert [tick.label for tick in alone.x_ticks] == ["16", "17", "18", "19", "20"]


def test_seeds_are_averaged_over_the_epochs_that_all_of_them_have(tmp_path):
    for seed, epochs in ((0, (1, 2, 3)), (1, (2, 3, 4))):
        run = make_run(tmp_path / "s" / f"conv-seed{seed}", {}, CLASS_NAMES, variant="conv", seed=seed)
        lines = [json.dumps({"epoch": epoch, "val_loss": float(epoch)}) + "\n" for epoch in epochs]
        (run / "metrics.jsonl").write_text("".join(lines))
    (chart,) = curves.charts(find_subject(tmp_path, ["s"]), TEXT)
    assert [tick.label for tick in chart.x_ticks] == ["2", "3"]
    (line,) = chart.lines
    upper, lower = line.band.split()[:2], line.band.split()[2:]
    assert upper == lower[::-1], "both seeds have the same figure at the same epoch"


@pytest.mark.parametrize(("num_train", "num_val"), [(45_000, 5000), (900, 100), (50, 100)])
def test_the_measured_images_are_as_many_as_training_measures(tmp_path, num_train, num_val):
    tell(make_run(tmp_path / "a", {}, CLASS_NAMES), num_train=num_train, num_val=num_val)
    measured = len(choose_train_sample(np.arange(num_train) % 10, np.arange(num_train), num_val))
    told = curves.lead(find_subject(tmp_path, ["a"]), TEXT)
    assert told == f"Epoch by epoch, measured on {num_val:,} held-out images and {measured:,} of those trained on."


def test_runs_that_measured_different_images_are_told_apart_and_nothing_held_out_is_not_told_as_measured(tmp_path):
    for name, num_val in (("a", 100), ("b", 200), ("c", 0), ("d", 0)):
        tell(make_run(tmp_path / name, {}, CLASS_NAMES), num_train=900, num_val=num_val)
    told = curves.lead(find_subject(tmp_path, ["a", "b", "c"]), TEXT)
    of = "held-out images and {} of those trained on"
    assert f"100 {of.format(100)} (a); 200 {of.format(200)} (b); – (c)" in told
    assert curves.lead(find_subject(tmp_path, ["c", "d"]), TEXT) == "Epoch by epoch."


def test_a_record_without_its_epoch_is_damage(tmp_path):
    run = make_run(tmp_path / "a", {}, CLASS_NAMES)
    (run / "metrics.jsonl").write_text('{"val_loss": 1.0}\n')
    with pytest.raises(UserError, match=r"metrics\.jsonl is damaged .*epoch"):
        curves.charts(find_subject(tmp_path, ["a"]), TEXT)
