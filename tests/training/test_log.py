"""What a run records, however it ends."""

import pytest
from accelerate import Accelerator
from accelerate.utils import ProjectConfiguration

from alexnet_skip.system.console import Console
from alexnet_skip.training.log import RunLog, best_epoch

FIGURES = {"train_loss": 2.0, "train_top1": 0.3, "val_loss": 1.5, "val_top1": 0.4, "val_top3": 0.8}


def test_an_interrupted_run_leaves_the_learning_curves_of_its_epochs(tmp_path):
    accelerator = Accelerator(
        cpu=True, log_with="tensorboard", project_config=ProjectConfiguration(str(tmp_path), str(tmp_path))
    )
    folder = tmp_path / "mine"
    folder.mkdir()

    def train_one_epoch_and_stop():
        with RunLog(accelerator, folder, Console(quiet=True), 9, 10, []) as log:
            log.epoch(1, FIGURES)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_one_epoch_and_stop()
    assert (folder / "learning_curves.png").stat().st_size > 5000
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1


def test_the_best_epoch_has_the_highest_accuracy_then_the_lowest_loss():
    measured = [(0.5, 1.0), (0.6, 1.2), (0.6, 1.1), (0.55, 0.9)]
    history = [{"epoch": e, "val_top1": top1, "val_loss": loss} for e, (top1, loss) in enumerate(measured, 1)]
    assert best_epoch(history) == 3
    assert best_epoch([{"epoch": 1, "val_top1": None, "val_loss": None}]) is None
