"""The runs of a study: alike in all but variant and seed, and never mixed with runs of other settings."""

import dataclasses
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_run import copy_whole

from alexnet_skip.settings.command_line import flat, to_dict
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.records import read_run_config
from alexnet_skip.settings.shared import StudySettings
from alexnet_skip.settings.train import TrainingSettings, TrainSettings
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.study.cells import (
    Cell,
    _can_go_on,
    _difference,
    _finished,
    _identity,
    _Setting,
    cell_settings,
    unfinished_cells,
)
from alexnet_skip.system.errors import UserError

# Another value of every setting of the training.
OTHER: dict[str, Any] = {
    "epochs": 9, "batch_size": 7, "lr": 0.5, "weight_decay": 0.5, "dropout": (0.5, 0.5, 0.5), "label_smoothing": 0.5,
    "hflip": False, "val_fraction": 0.5, "pca_basis": 5, "mixed_precision": "fp16", "force_precision": True,
    "class_weights": "balanced",
}  # fmt: skip


def session_on(images: str, weights: str) -> Any:
    """As much of a session as a study looks at: SHA-256 of its images and of its weights."""
    return SimpleNamespace(
        accelerator=SimpleNamespace(is_main_process=True),
        dataset=SimpleNamespace(splits={"train": SimpleNamespace(digest=images)}),
        weights=SimpleNamespace(sha256=weights),
    )


# Another value of every setting that a study can be given, but for images that are downloaded.
STUDY = (
    "--study --skip-mode concat --recipe report --weights random --dataset shapes --data-dir d --skip-unreadable "
    "--verify-images --limit-train 90 --train-on 50 --limit-test 30 --epochs 4 --batch-size 9 --lr 0.5 "
    "--weight-decay 0.5 --dropout 0.1 0.1 0.1 --label-smoothing 0.5 --class-weights balanced --no-hflip "
    "--val-fraction 0.3 --pca-basis 7 --mixed-precision fp16 --force-precision --cache-dir c --no-cache "
    "--runs-dir r --name n --snapshot-epochs 1 3 --quiet --json --study-variants conv none --seeds 3 4 "
    "--checkpoint-minutes 7 --checkpoint-epochs 2 --keep-checkpoints 3 --dry-run"
)
# What a study refuses, sets for each of its runs, or takes from where the images are downloaded.
NOT_GIVEN = {"skip", "seed", "resume", "data_archive", "data_url"}
# The report's recipe has no second stage.
SECOND = {field.name for field in dataclasses.fields(FinetuneSettings)}


@pytest.mark.parametrize("variant", ["none", "identity", "conv", "concat"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_run_has_its_variant_seed_and_place_and_else_the_settings_of_the_study(tmp_path, variant, resume):
    study = parse_train(STUDY.split())
    made = cell_settings(study, tmp_path, Cell(variant, 3), resume)
    assert (made.joined, made.training.seed, made.run.runs_dir) == (variant, 3, tmp_path)
    assert (made.skip, made.skip_mode) == ((False, "concat") if variant == "none" else (True, variant))
    assert (made.run.name, made.study.study) == (f"{variant}-seed3", False)
    assert made.checkpoints.resume == (str(tmp_path / f"{variant}-seed3") if resume else None)
    changed = {"skip", "skip_mode", "seed", "runs_dir", "name", "study", "resume"}
    default, before, after = (flat(to_dict(settings)) for settings in (TrainSettings(), study, made))
    assert {name for name in default if before[name] == default[name]} == NOT_GIVEN | SECOND
    assert {name for name in before if before[name] != after[name]} <= changed


def test_a_run_has_the_second_stage_of_its_study(tmp_path):
    line = "--study --finetune 2 --finetune-epochs 3 --finetune-lr 0.5 --finetune-layer-decay 0.5 --finetune-reinit"
    study = parse_train([*line.split(), "--finetune-batch-size", "7"])
    assert cell_settings(study, tmp_path, Cell("conv", 1), False).finetuning == study.finetuning
    default, given = to_dict(FinetuneSettings()), to_dict(study.finetuning)
    assert {name for name in default if default[name] == given[name]} == {"finetune_from"}
    with pytest.raises(UserError, match="--finetune-from"):
        TrainSettings(study=StudySettings(study=True), finetuning=FinetuneSettings(finetune=1, finetune_from="another"))


@pytest.fixture
def run(whole_run, tmp_path):
    """A finished run, and what a study of its settings asks for."""
    run = copy_whole(whole_run, tmp_path) / "runs" / "run"
    config = read_run_config(run)
    return run, _identity(config.settings, config.dataset.digest, config.weights_digest)


def test_every_setting_that_decides_a_run_but_its_seed_is_compared_and_named(run):
    run, identity = run
    config = read_run_config(run)
    assert _difference(run, identity) is None
    second = dataclasses.replace(config.settings, finetuning=FinetuneSettings(finetune=1))
    assert _difference(run, _identity(second, config.dataset.digest, config.weights_digest)) == ("--finetune", "0")
    idle = dataclasses.replace(config.settings, finetuning=FinetuneSettings(finetune_lr=0.5, finetune_epochs=9))
    assert _identity(idle, config.dataset.digest, config.weights_digest) == identity, "a stage that is not trained"
    assert {*OTHER, "seed"} == {field.name for field in dataclasses.fields(TrainingSettings)}
    for name, value in OTHER.items():
        flag = f"--{name.replace('_', '-')}"
        assert _difference(run, identity | {flag: _Setting(value, str(value))}) == (
            flag,
            str(to_dict(config.settings.training)[name]),
        )
    training = dataclasses.replace(config.settings.training, seed=99)
    settings = dataclasses.replace(config.settings, training=training)
    assert _identity(settings, config.dataset.digest, config.weights_digest) == identity
    for dataset, weights, flag in (
        ("0" * 64, config.weights_digest, "--dataset"),
        (config.dataset.digest, "0" * 64, "--weights"),
    ):
        assert _difference(run, _identity(config.settings, dataset, weights))[0] == flag
    for flag in ("--recipe", "--snapshot-epochs"):
        assert _difference(run, identity | {flag: _Setting("other", "other")})[0] == flag


def test_a_run_is_finished_when_its_summary_is_there_and_its_settings_are_these(run):
    run, identity = run
    assert _finished(run, identity)
    with pytest.raises(UserError, match=r"--lr is 0.5, but .* was trained with 0.01; give the same .* or --name"):
        _finished(run, identity | {"--lr": _Setting(0.5, "0.5")})
    (run / "summary.json").unlink()
    assert not _finished(run, identity)
    assert not _finished(run, identity | {"--lr": _Setting(0.5, "0.5")}), "it is trained anew then"


def test_a_run_goes_on_from_a_checkpoint_of_these_settings_only(run, tmp_path):
    run, identity = run
    assert not _can_go_on(tmp_path / "nowhere", identity)
    assert _can_go_on(run, identity)
    with pytest.raises(UserError, match="no checkpoint of these settings"):
        _can_go_on(run, identity | {"--lr": _Setting(0.5, "0.5")})
    for published in ("model", "last"):
        shutil.rmtree(run / published)
    assert _can_go_on(run, identity)
    assert not _can_go_on(run, identity | {"--lr": _Setting(0.5, "0.5")})
    assert not run.exists(), "what could not be gone on with is removed"


def test_what_is_left_to_train_is_found_by_the_main_process_and_told_to_all(run, monkeypatch):
    run, _ = run
    config = read_run_config(run)
    cells = [Cell("conv", 0), Cell("conv", 1), Cell("none", 0)]
    for name in ("conv-seed0", "conv-seed1"):
        shutil.copytree(run, run.parent / name)
    (run.parent / "conv-seed1" / "summary.json").unlink()
    session = session_on(config.dataset.digest, config.weights_digest)
    sent: list = []
    monkeypatch.setattr("alexnet_skip.study.cells.broadcast_object_list", lambda found: sent.append(found) or found)
    expected = [(cells[1], True), (cells[2], False)]
    assert unfinished_cells(run.parent, cells, config.settings, session) == expected
    session.accelerator.is_main_process = False
    monkeypatch.setattr("alexnet_skip.study.cells.broadcast_object_list", lambda found: sent[0])
    assert unfinished_cells(run.parent / "not its disk", cells, config.settings, session) == expected
    monkeypatch.setattr("alexnet_skip.study.cells.broadcast_object_list", lambda found: ["--lr is wrong"])
    with pytest.raises(UserError, match="--lr is wrong"):
        unfinished_cells(run.parent, cells, config.settings, session)


def test_a_single_run_is_no_study(run):
    run, _ = run
    config = read_run_config(run)
    with pytest.raises(UserError, match=r"--name run: .* is a single run; choose another name for the study"):
        unfinished_cells(run, [], config.settings, session_on("d", "w"))
