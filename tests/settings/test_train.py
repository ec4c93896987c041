"""Settings: precedence, checks and the command line."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.evaluate import parse_evaluate
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.shared import StudySettings
from alexnet_skip.settings.train import BATCH_SIZE, SMALLEST_BATCH_SIZE, STEPS_PER_EPOCH, TrainSettings
from alexnet_skip.settings.train_arguments import parse_train, train_command
from alexnet_skip.system.errors import UserError

# A finished run of an earlier version.
OLD = Path(__file__).resolve().parents[1] / "runs" / "made_by_45f7acc" / "run"


def train_settings(*arguments: str) -> TrainSettings:
    return parse_train(arguments)


def test_the_report_recipe_is_the_reports_training_to_the_letter():
    training = train_settings("--recipe", "report").training
    assert (training.epochs, training.batch_size, training.lr) == (100, 32, 1e-3)
    assert (training.weight_decay, training.dropout, training.label_smoothing) == (0.0, (0.0, 0.0, 0.0), 0.0)
    assert (training.hflip, training.val_fraction, training.pca_basis) == (False, 0.0, 0)


def test_the_quick_recipe_learns_from_some_of_the_images_and_any_number_may_be_asked_for():
    quick = train_settings("--recipe", "quick")
    assert quick == TrainSettings.of_recipe("quick")
    assert 0 < quick.data.train_on < 45_000
    assert quick.training.val_fraction == TrainSettings().training.val_fraction
    assert train_settings("--train-on", "7", "--recipe", "quick").data.train_on == 7
    assert train_settings().data.train_on is None


@pytest.mark.parametrize("spelling", [["--recipe", "report"], ["--recipe=report"]])
def test_flags_override_the_recipe_in_any_order(spelling):
    assert train_settings("--epochs", "3", *spelling).training.epochs == 3
    assert train_settings(*spelling, "--epochs", "3").training.epochs == 3
    assert train_settings("--epochs", "3", *spelling).training.batch_size == 32


@given(st.integers(2, 10**6))
def test_few_images_are_trained_in_smaller_steps_at_a_lower_rate(num_images):
    training = TrainSettings().for_images(num_images).training
    size = training.batch_size
    assert SMALLEST_BATCH_SIZE <= size <= BATCH_SIZE
    assert size == SMALLEST_BATCH_SIZE or num_images >= STEPS_PER_EPOCH * size
    assert size == BATCH_SIZE or num_images < STEPS_PER_EPOCH * 2 * size
    # The step of Adam grows with the root of the batch: a quarter of the images, half the rate.
    assert training.lr**2 / size == pytest.approx(TrainSettings().training.lr ** 2 / BATCH_SIZE)


def test_a_batch_size_that_is_given_is_kept_and_so_is_the_rate():
    for arguments in (["--batch-size", "512"], ["--recipe", "report"]):
        settings = train_settings(*arguments, "--lr", "0.01")
        assert settings.for_images(3) == settings


def test_without_skip_nothing_is_joined():
    assert train_settings().joined == "none"
    assert train_settings("--skip", "--skip-mode", "identity").joined == "identity"


@pytest.mark.parametrize(
    ("arguments", "lacking"),
    [
        (["--skip-mode", "identity"], "--skip"),
        (["--skip-mode", "conv"], "--skip"),  # its usual value
        (["--seeds", "3", "4"], "--study"),
        (["--seeds=0", "1", "2"], "--study"),
        (["--study-variants", "conv"], "--study"),
        (["--seeds", "3", "--recipe", "report"], "--study"),
    ],
)
def test_a_flag_without_effect_is_refused_with_the_one_it_lacks(arguments, lacking):
    flag = arguments[0].partition("=")[0]
    with pytest.raises(UserError, match=rf"^{flag} is .*, but without {lacking} it has no effect; give both"):
        train_settings(*arguments)


@pytest.mark.parametrize("mode", ["concat", "conv"])
def test_the_form_of_a_studys_skip_is_one_of_its_variants(mode):
    with pytest.raises(
        UserError, match=f"^--skip-mode is {mode}, but has no effect with --study; give --study-variants"
    ):
        train_settings("--study", "--skip-mode", mode)


def test_the_command_of_a_run_leaves_out_what_has_no_effect_in_it():
    """A study's runs know its seeds and forms; older ones may hold more."""
    study = StudySettings(study_variants=("none", "conv"), seeds=(3, 4))
    idle = TrainSettings(skip_mode="identity", study=study, finetuning=FinetuneSettings(finetune_epochs=5))
    assert train_settings(*train_command(idle)) == TrainSettings()
    of_a_study = dataclasses.replace(idle, skip_mode="conv", study=dataclasses.replace(study, study=True))
    assert train_settings(*train_command(of_a_study)).study == of_a_study.study


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "--epochs is 0, but must be at least 1"),
        (["--lr", "-1"], "--lr is -1.0, but must be a positive number"),
        (["--lr", "nan"], "--lr is nan"),
        (["--dropout", "0", "1", "0"], "--dropout is"),
        (["--val-fraction", "1"], "--val-fraction is 1.0"),
        (["--name", "a:b"], "--name is 'a:b'"),
        (["--name", "../x"], "--name is"),
        (["--name", "x" * 256], "--name is 256 bytes long, but must be at most 255"),
        (["--name", "가" * 86, "--study"], "--name is 258 bytes long, but must be at most 255"),
        (["--snapshot-epochs", "16", "--epochs", "15"], "--snapshot-epochs is"),
        (["--limit-train", "0"], "--limit-train is 0"),
        (["--train-on", "0"], "--train-on is 0, but must be at least 1"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(arguments, message):
    with pytest.raises(UserError) as refused:
        train_settings(*arguments)
    assert str(refused.value).startswith(message)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--topk", "0"],
        ["--topk"],
        ["--checkpoint", "epoch-x"],
        ["--checkpoint", "epoch-²"],
        ["--images"],
        ["--explain", "0"],
    ],
)
def test_evaluate_refuses_what_it_cannot_do(arguments):
    with pytest.raises(UserError, match=f"^{arguments[0]} is"):
        parse_evaluate(arguments)


def test_an_unknown_flag_exits_with_2_and_a_suggestion(capsys):
    with pytest.raises(SystemExit) as end:
        train_settings("--skpi")
    assert end.value.code == 2
    captured = capsys.readouterr()
    assert "--skip" in captured.out + captured.err


def test_every_setting_is_documented_in_help(capsys):
    with pytest.raises(SystemExit) as end:
        train_settings("--help")
    assert end.value.code == 0
    text = capsys.readouterr().out
    for group in to_dict(TrainSettings()).values():
        for name in group if isinstance(group, dict) else ():
            assert "--" + name.replace("_", "-") in text, name


def test_settings_survive_json():
    assert json.loads(json.dumps(to_dict(TrainSettings()))) == to_dict(TrainSettings())


def test_the_command_line_is_read_without_importing_torch():
    code = "import sys, train; train.parse_train([]); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("value", ["--finetune-epochs=5", "--finetune-lr=3e-4", "--finetune-layer-decay=0.5"])
def test_a_setting_of_the_second_stage_is_refused_without_one(value):
    with pytest.raises(UserError, match=rf"{value.partition('=')[0]} is .* without --finetune"):
        parse_train([value])
    assert parse_train([value, "--finetune", "1"]).finetuning.finetune == 1


@pytest.mark.parametrize("arguments", [["--resume"], ["--finetune", "1", "--finetune-from"]])
def test_a_file_of_weights_may_have_been_moved_like_the_images(arguments):
    """Whether it holds those of then, its digest tells."""
    assert train_settings(*arguments, str(OLD), "--weights", "moved.pth").weights == "moved.pth"
    with pytest.raises(UserError, match="--lr is 9"):
        train_settings(*arguments, str(OLD), "--weights", "moved.pth", "--lr", "9")


def test_one_image_is_too_few_for_a_basis_and_enough_without():
    with pytest.raises(
        UserError, match=r"a PCA basis needs at least 2 images to train on, there is 1; .*--pca-basis 0"
    ):
        TrainSettings().for_images(1)
    assert train_settings("--pca-basis", "0").for_images(1).training.batch_size == SMALLEST_BATCH_SIZE
