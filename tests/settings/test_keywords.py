"""Keywords of a Python call are the flags of the command line: the same settings, the same refusals."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from alexnet_skip.api.run import Run
from alexnet_skip.settings.command_line import flat, to_dict
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.settings.keywords import parameters_of, with_keywords
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.settings.train_arguments import parse_train, train_settings
from alexnet_skip.system.errors import UserError

OLD = Path(__file__).resolve().parents[1] / "runs" / "made_by_45f7acc" / "run"


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, ""),
        (
            {"dataset": Path("pets"), "skip": True, "skip_mode": "concat", "epochs": 3, "hflip": False, "lr": 1},
            "--dataset pets --skip --skip-mode concat --epochs 3 --no-hflip --lr 1",
        ),
        (
            {"recipe": "report", "epochs": 4, "dropout": [0.1, 0, 0], "snapshot_epochs": (1, 4), "runs_dir": "there"},
            "--recipe report --epochs 4 --dropout 0.1 0 0 --snapshot-epochs 1 4 --runs-dir there",
        ),
        ({"limit_train": None, "data_archive": Path("a.tar.gz")}, "--data-archive a.tar.gz"),
    ],
)
def test_keywords_give_what_flags_give(options, flags):
    assert train_settings(options) == parse_train(flags.split())


def test_a_run_is_gone_on_with_as_by_the_command(tmp_path):
    run = shutil.copytree(OLD, tmp_path / "run")
    assert train_settings({"resume": run, "epochs": 9}) == parse_train(["--resume", str(run), "--epochs", "9"])
    with pytest.raises(UserError, match=r"--lr is 1\.0, but was"):
        train_settings({"resume": str(run), "lr": 1.0})


@pytest.mark.parametrize(("name", "more"), [("resume", {}), ("finetune_from", {"finetune": 1})])
def test_a_run_itself_is_taken_wherever_its_path_is(tmp_path, name, more):
    folder = shutil.copytree(OLD, tmp_path / "run")
    asked = [train_settings({name: run} | more) for run in (Run(folder), folder, str(folder))]
    assert asked[0] == asked[1] == asked[2]
    assert str(folder) in (asked[0].checkpoints.resume, asked[0].finetuning.finetune_from)
    assert train_settings({"runs_dir": Run(tmp_path)}).run.runs_dir == tmp_path


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "--epochs is 0, but must be at least 1"),
        ({"epochs": "many"}, "epochs is 'many', but must be int"),
        ({"epochs": True}, "epochs is True, but must be int"),
        ({"class_weights": "even"}, r"class_weights is 'even', but must be Literal\['none', 'balanced'\]"),
        ({"dropout": (0.1, 0.2)}, r"dropout is \[0.1, 0.2\], but must be tuple\[float, float, float\]"),
        ({"recipe": ["report"]}, r"recipe is \['report'\], but must be Literal"),
        ({"data_archive": 3}, r"data_archive is 3, but must be Path \| None"),
    ],
)
def test_a_value_that_is_none_is_refused_with_what_is_allowed(options, message):
    with pytest.raises(UserError, match=message):
        train_settings(options)


def test_a_keyword_that_is_none_is_refused_with_the_nearest():
    with pytest.raises(TypeError, match="'epoch' is no setting; did you mean 'epochs'"):
        train_settings({"epoch": 3})
    with pytest.raises(TypeError, match="'training' is no setting"):
        with_keywords(TrainSettings(), {"training": {}})


def test_help_shows_every_setting_with_its_default_and_nothing_else():
    shown = {parameter.name: parameter for parameter in parameters_of(TrainSettings, {"seeds"})}
    assert set(shown) == set(flat(to_dict(TrainSettings()))) - {"seeds"}
    assert (shown["epochs"].default, shown["epochs"].annotation) == (15, int)
    flags = {parameter.name: parameter.default for parameter in parameters_of(EvaluateSettings)}
    assert with_keywords(EvaluateSettings(), flags) == EvaluateSettings()
    assert set(flags) == {field.name for field in dataclasses.fields(EvaluateSettings)}
