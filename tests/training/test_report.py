"""The end of a training says what it came to and what to type next; its pictures tell what the model tells."""

import numpy as np
from tiny_run import ARGUMENTS, copy_features, shrink, train_in

from alexnet_skip.network.model import load_published
from alexnet_skip.system.commands import shell_word
from alexnet_skip.system.console import Console
from alexnet_skip.training import report, run
from alexnet_skip.training.report import show_run

SUMMARY = {
    "best": {"val_top1": 0.8618, "val_top3": 0.9762}, "best_epoch": 12, "epochs": 15, "run": "my runs/a",
    "seconds": {"load": 0.4, "train": 200.0, "extract": 282.0}, "model": "my runs/a/model",
}  # fmt: skip


def test_figures_times_and_commands_with_exact_paths_are_told(capsys, tmp_path):
    show_run(Console(), SUMMARY, tmp_path)
    shown = capsys.readouterr().err
    assert "Best epoch 12 of 15: top-1 86.18 %, top-3 97.62 % of the held-out images" in shown
    assert "8 min 2 s in all (extract 4 min 42 s, train 3 min 20 s)" in shown
    assert '  python evaluate.py --run "my runs/a"\n' in shown
    assert f"  tensorboard --logdir {shell_word(str(tmp_path))}\n" in shown
    assert "http://localhost:6006/?smoothing=0#timeseries\n" in shown


def test_of_two_classes_no_top3_is_told_or_asked_for(capsys, tmp_path):
    show_run(Console(), SUMMARY | {"best": {"val_top1": 0.9}}, tmp_path)
    shown = capsys.readouterr().err
    assert "top-1 90.00 % of the held-out images" in shown
    assert "top-3" not in shown
    assert "--topk" not in shown


def test_a_run_that_held_nothing_out_claims_nothing(capsys, tmp_path):
    show_run(Console(), SUMMARY | {"best": {"train_top1": 0.9}}, tmp_path)
    assert "nothing was held out" in capsys.readouterr().err


def test_probabilities_in_tensorboard_are_those_of_the_published_model(whole_run, tmp_path, monkeypatch):
    report_run, shown = report.report_run, []
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(run, "report_run", report_run)
    monkeypatch.setattr(report.tensorboard, "log_validation", lambda *given: shown.append(given))
    monkeypatch.setattr(report.tensorboard, "log_graph", lambda *_: None)
    copy_features(whole_run, tmp_path)
    assert train_in(tmp_path, *ARGUMENTS, "--epochs", "2", "--name", "run") == 0
    ((_, images, chances, *_),) = shown
    network, config = load_published(tmp_path / "runs" / "run" / "model")
    assert config.temperature not in (None, 1)
    told = np.array([prediction.probabilities for prediction in network.predict(list(images))])
    np.testing.assert_allclose(chances, told, atol=2e-3)
