"""What is left of a training is what its newest whole checkpoint, its parent, or its study has not done."""

from dataclasses import replace

import pytest
from made_runs import make_predictions

from alexnet_skip.runs.checkpoints import MARKER, CheckpointStore
from alexnet_skip.runs.predictions import write_predictions
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.upkeep.inventory import Images
from alexnet_skip.upkeep.remaining import what_is_left

IMAGES = Images("many", "here", {"train": 400, "test": 100}, 10, (32, 32), None)
TWO_STAGES = "--epochs 5 --finetune 1 --finetune-epochs 3"


def save(run, epoch: int) -> None:
    """Leave the checkpoint of a run that stands in an epoch."""
    CheckpointStore(run / "checkpoints", keep=9).save(epoch, {"run": {"epoch": epoch}})


@pytest.mark.parametrize(("epoch", "left"), [(1, (5, 3)), (4, (2, 3)), (6, (0, 3)), (8, (0, 1)), (9, (0, 0))])
def test_of_a_run_that_goes_on_the_epochs_from_its_newest_checkpoint_are_left(tmp_path, epoch, left):
    for earlier in range(1, epoch + 1):
        save(tmp_path, earlier)
    settings = parse_train(TWO_STAGES.split())
    resumed = replace(settings, checkpoints=replace(settings.checkpoints, resume=str(tmp_path)))
    (run,) = what_is_left(resumed, IMAGES).runs
    assert (run.epochs, run.finetune_epochs) == left
    # One that is not whole is not gone on with.
    newest = max((tmp_path / "checkpoints").iterdir())
    (newest / MARKER).unlink()
    (run,) = what_is_left(resumed, IMAGES).runs
    assert run.epochs + run.finetune_epochs == sum(left) + (epoch > 1)


def test_of_a_run_with_a_parent_the_second_stage_is_left(tmp_path):
    settings = parse_train(TWO_STAGES.split())
    settings = replace(settings, finetuning=replace(settings.finetuning, finetune_from=str(tmp_path)))
    (run,) = what_is_left(settings, IMAGES).runs
    assert (run.epochs, run.finetune_epochs) == (0, 3)


def test_of_a_study_the_runs_without_a_summary_are_left_and_go_on_where_they_stand(tmp_path, rng):
    asked = ["--study", "--seeds", "0", "1", "--study-variants", "none", "conv", "--runs-dir", str(tmp_path)]
    settings = parse_train([*asked, *TWO_STAGES.split()])
    study = tmp_path / "study-many"
    for name in ("none-seed0", "conv-seed0"):
        (study / name).mkdir(parents=True)
        (study / name / "summary.json").write_text("{}")
    # One that is damaged, or of other images, is made again.
    told = '{"top1": 0.5, "images_sha256": "%s"}'
    for name, epoch, figures in (
        ("conv-seed0", 5, told % ("d" * 64)), ("conv-seed0", 8, told % ("e" * 64)), ("none-seed0", 5, "{"),
    ):  # fmt: skip
        where = study / name / "evaluation" / f"test-epoch-{epoch}"
        where.mkdir(parents=True)
        write_predictions(where, make_predictions(0.5, rng))
        (where / "metrics.json").write_text(figures)
    save(study / "none-seed1", 3)
    found = what_is_left(settings, IMAGES)
    assert found.num_runs == 4
    assert [(run.settings.run.name, run.epochs, run.finetune_epochs) for run in found.runs] == [
        ("none-seed1", 3, 3), ("conv-seed1", 5, 3),
    ]  # fmt: skip
    assert [run.settings.joined for run in found.runs] == ["none", "conv"]
    assert sorted(found.judged) == [5, 5, 5, 8, 8, 8, 8]
