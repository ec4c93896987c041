"""Going on with a run never replaces what it has published by something younger."""

import shutil
from pathlib import Path

import pytest
from tiny_run import copy_whole, shrink, train_in

from alexnet_skip.settings.dataset_record import DatasetRecord
from alexnet_skip.settings.records import RunConfig
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.settings.train_arguments import find_unfinished
from alexnet_skip.study.cells import Cell, _can_go_on, _remove_remains
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.saving import require_way_on

# What a study of the default settings asks for.
STUDY = RunConfig(TrainSettings(), DatasetRecord("shapes"))


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)


@pytest.fixture(scope="module")
def reference(whole_run, tmp_path_factory) -> Path:
    return copy_whole(whole_run, tmp_path_factory.mktemp("reference"))


def no_checkpoints(run: Path) -> None:
    shutil.rmtree(run / "checkpoints")


def no_checkpoints_and_no_summary(run: Path) -> None:
    no_checkpoints(run)
    (run / "summary.json").unlink()


def every_checkpoint_damaged(run: Path) -> None:
    for tensors in (run / "checkpoints").glob("*/*.safetensors"):
        tensors.write_bytes(tensors.read_bytes()[:-1])


def only_the_last_model_is_there(run: Path) -> None:
    no_checkpoints_and_no_summary(run)
    shutil.rmtree(run / "model")


@pytest.mark.parametrize(
    "spoil", [no_checkpoints, no_checkpoints_and_no_summary, every_checkpoint_damaged, only_the_last_model_is_there]
)
def test_a_run_that_has_published_and_has_no_whole_checkpoint_is_refused_and_left_as_it_is(spoil, reference, capsys):
    run = reference / "runs" / spoil.__name__
    shutil.copytree(reference / "runs" / "run", run)
    spoil(run)
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    for more in (["--epochs", "5"], [], ["--epochs", "5", "--dry-run"]):
        assert train_in(reference, "--resume", run.name, *more) == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "kept no complete checkpoint to go on from; nothing published is" in told
        assert ("the run is finished" in told) == (run / "summary.json").is_file()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_study_removes_no_run_that_has_published(tmp_path):
    run = tmp_path / Cell("conv", 0).name
    (run / "model").mkdir(parents=True)
    (run / "model" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"has a published model and no checkpoint .* move that folder away"):
        _can_go_on(run, STUDY)
    assert (run / "model").is_dir()


def test_a_model_that_was_only_begun_is_none_and_keeps_no_run_from_being_trained_again(reference, tmp_path):
    """A full disk, or a kill: its config.json is written last."""
    run = tmp_path / "run"
    shutil.copytree(reference / "runs" / "run", run)
    no_checkpoints_and_no_summary(run)
    for name in ("model", "last"):
        (run / name / "config.json").unlink()
    require_way_on(run, ())
    assert find_unfinished(tmp_path, "") == run
    assert not _can_go_on(run, STUDY)


def test_a_study_removes_what_an_interruption_left_of_a_run_that_has_not(tmp_path):
    run = tmp_path / Cell("conv", 0).name
    (run / "checkpoints").mkdir(parents=True)
    assert not _can_go_on(run, STUDY)
    _remove_remains(run)
    assert not run.exists()


@pytest.mark.parametrize("flag", ["--resume", "--finetune-from"])
@pytest.mark.parametrize("model", ["model", "last", "snapshots/epoch-0002"])
def test_a_published_model_is_no_run_to_go_on_with_and_stays_as_it_is(flag, model, reference, capsys):
    """Its config holds settings, too, and a training that takes it for a run writes a run's config over it."""
    run = reference / "runs" / "run"
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    stage = ["--finetune", "1"] if flag == "--finetune-from" else ["--epochs", "4"]
    assert train_in(reference, flag, str(run / model), *stage) == 2
    told = "".join(capsys.readouterr().err.split())
    assert f"therun'sfolder:{run}" in told.replace("│", "")
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_snapshot_of_an_epoch_that_is_over_is_refused_unless_it_is_there(reference, capsys):
    run = reference / "runs" / "snapshots"
    shutil.copytree(reference / "runs" / "run", run)
    config = (run / "config.json").read_bytes()
    further = ["--resume", run.name, "--epochs", "4"]
    for flags in ([], ["--dry-run"]):
        assert train_in(reference, *further, "--snapshot-epochs", "1", "2", "3", "4", *flags) == 2
        told = " ".join(capsys.readouterr().err.split())
        assert "--snapshot-epochs is [1, 3], but must be above 3" in told
    assert (run / "config.json").read_bytes() == config
    assert train_in(reference, *further, "--snapshot-epochs", "2", "4") == 0
    assert sorted(place.name for place in (run / "snapshots").iterdir()) == ["epoch-0002", "epoch-0004"]
