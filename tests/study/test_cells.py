"""The runs of a study: alike in all but variant and seed, and never mixed with runs of other settings."""

import dataclasses
import shutil
from types import SimpleNamespace
from typing import Any

import pytest
from tiny_run import copy_whole

from alexnet_skip.settings.command_line import flat, to_dict
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.records import RunConfig, read_run_config
from alexnet_skip.settings.shared import StudySettings
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.study.cells import Cell, _can_go_on, _finished, cell_settings, unfinished_cells
from alexnet_skip.system.errors import UserError


def session_of(config: RunConfig) -> Any:
    """As much of a session as a study looks at before it trains: that of a run."""
    train = SimpleNamespace(digest=config.dataset.digest, skipped=(), image_size=(32, 32))
    about = config.dataset
    return SimpleNamespace(
        accelerator=SimpleNamespace(is_main_process=True, device="cpu", num_processes=1),
        dataset=SimpleNamespace(
            name=about.name, source=about.source, class_names=about.class_names, splits={"train": train}
        ),
        weights=SimpleNamespace(source="", sha256=config.weights_digest),
        precision=config.precision,
        positions=(),
        num_val=0,
    )


# Another value of every setting that a study can be given, but for images that are downloaded.
STUDY = (
    "--study --recipe report --weights random --dataset shapes --data-dir d --skip-unreadable "
    "--verify-images --limit-train 90 --train-on 50 --limit-test 30 --epochs 4 --batch-size 9 --lr 0.5 "
    "--weight-decay 0.5 --dropout 0.1 0.1 0.1 --label-smoothing 0.5 --class-weights balanced --no-hflip "
    "--val-fraction 0.3 --pca-basis 7 --mixed-precision fp16 --force-precision --cache-dir c --no-cache "
    "--runs-dir r --name n --snapshot-epochs 1 3 --quiet --json --study-variants conv none --seeds 3 4 "
    "--checkpoint-minutes 7 --checkpoint-epochs 2 --keep-checkpoints 3 --dry-run"
)
# What a study refuses, sets for each of its runs, or takes from where the images are downloaded.
NOT_GIVEN = {"skip", "skip_mode", "seed", "resume", "data_archive", "data_url"}
# The report's recipe has no second stage.
SECOND = {field.name for field in dataclasses.fields(FinetuneSettings)}


@pytest.mark.parametrize("variant", ["none", "identity", "conv", "concat"])
@pytest.mark.parametrize("resume", [True, False])
def test_a_run_has_its_variant_seed_and_place_and_else_the_settings_of_the_study(tmp_path, variant, resume):
    study = parse_train(STUDY.split())
    made = cell_settings(study, tmp_path, Cell(variant, 3), resume)
    assert (made.joined, made.training.seed, made.run.runs_dir) == (variant, 3, tmp_path)
    assert (made.skip, made.skip_mode) == ((False, "conv") if variant == "none" else (True, variant))
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
    """A finished run that has its checkpoints, and the config of a study of its settings."""
    run = copy_whole(whole_run, tmp_path) / "runs" / "run"
    return run, read_run_config(run)


def with_lr(config: RunConfig, lr: float) -> RunConfig:
    training = dataclasses.replace(config.settings.training, lr=lr)
    return dataclasses.replace(config, settings=dataclasses.replace(config.settings, training=training))


def contents(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_run_is_finished_when_its_summary_is_there_and_its_settings_are_these(run):
    run, now = run
    assert _finished(run, now)
    with pytest.raises(UserError, match=r"--lr is 0.5, but .* was trained with 0.02; give the same .* or --name"):
        _finished(run, with_lr(now, 0.5))
    (run / "summary.json").unlink()
    assert not _finished(run, now)


def test_a_run_with_a_checkpoint_goes_on_under_its_own_settings_and_is_refused_untouched_under_others(run, tmp_path):
    run, now = run
    assert not _can_go_on(tmp_path / "nowhere", now)
    for published in ("model", "last"):  # in its second stage, say: nothing but checkpoints to lose
        shutil.rmtree(run / published)
    before = contents(run)
    assert _can_go_on(run, now)
    with pytest.raises(UserError, match=r"--lr is 0.5, but .* was trained with 0.02; give the same .* or --name"):
        _can_go_on(run, with_lr(now, 0.5))
    (run / "config.json").write_text("{")
    with pytest.raises(UserError, match=r"config\.json"):
        _can_go_on(run, now)
    (run / "config.json").write_bytes(before[run / "config.json"])
    assert contents(run) == before


def asked(run, cells: list[Cell], config: RunConfig) -> list[tuple[Cell, bool]]:
    return unfinished_cells(run.parent, cells, config.settings, session_of(config))


def test_what_has_no_checkpoint_is_removed_but_by_no_command_that_is_refused(run):
    run, now = run
    begun, saved = (run.parent / f"conv-seed{seed}" for seed in (0, 1))
    for left in (begun, saved):
        shutil.copytree(run, left, ignore=shutil.ignore_patterns("summary.json", "model", "last"))
    shutil.rmtree(begun / "checkpoints")
    shutil.move(run, run.parent.parent / "elsewhere")
    cells, before = [Cell("conv", 0), Cell("conv", 1)], contents(run.parent)
    with pytest.raises(UserError, match=r"--lr is 0.5, but .*conv-seed1 was trained with 0.02"):
        asked(run, cells, with_lr(now, 0.5))
    assert contents(begun) | contents(saved) == {
        path: found for path, found in before.items() if run not in path.parents
    }
    assert asked(run, cells, now) == [(cells[0], False), (cells[1], True)]
    assert not begun.exists()
    assert saved.is_dir()


def test_a_finished_run_of_other_settings_is_refused_whichever_seeds_are_asked_for(run):
    run, now = run
    run.rename(run.parent / "conv-seed0")
    with pytest.raises(UserError, match=r"--lr is 0.5, but .*conv-seed0 was trained with 0.02"):
        asked(run, [Cell("conv", 7)], with_lr(now, 0.5))


def test_what_is_left_to_train_is_found_by_the_main_process_and_told_to_all(run, monkeypatch):
    run, config = run
    cells = [Cell("conv", 0), Cell("conv", 1), Cell("none", 0)]
    for name in ("conv-seed0", "conv-seed1"):
        shutil.copytree(run, run.parent / name)
    (run.parent / "conv-seed1" / "summary.json").unlink()
    session = session_of(config)
    sent: list = []
    told = "alexnet_skip.devices.agreement.broadcast_object_list"
    monkeypatch.setattr(told, lambda found: sent.append(found) or found)
    expected = [(cells[1], True), (cells[2], False)]
    assert unfinished_cells(run.parent, cells, config.settings, session) == expected
    session.accelerator.is_main_process = False
    monkeypatch.setattr(told, lambda found: sent[0])
    assert unfinished_cells(run.parent / "not its disk", cells, config.settings, session) == expected
    monkeypatch.setattr(told, lambda found: [None, "--lr is wrong"])
    with pytest.raises(UserError, match="--lr is wrong"):
        unfinished_cells(run.parent, cells, config.settings, session)


def test_a_single_run_is_no_study(run):
    run, config = run
    with pytest.raises(UserError, match=r"--name run: .* is a single run; choose another name for the study"):
        unfinished_cells(run, [], config.settings, session_of(config))
