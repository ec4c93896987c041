"""Every setting of train.py does something: what it should change is changed, and nothing else changes it."""

import hashlib
import json
import shlex
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_run import shrink, train_in
from tried import untried

from alexnet_skip.images import dataset
from alexnet_skip.settings.command_line import flat, to_dict
from alexnet_skip.settings.train import TrainSettings

# Thirty images to train on in four steps, ten held out.
PLAIN = (
    "--dataset", "shapes", "--weights", "random", "--skip", "--epochs", "2", "--batch-size", "8", "--lr", "1e-3",
    "--pca-basis", "8", "--val-fraction", "0.2", "--quiet",
)  # fmt: skip
# Another value of every setting that decides what is trained.
OTHER = {
    "skip": "--no-skip",
    "skip_mode": "--skip-mode identity",
    "recipe": "--recipe report",
    "limit_train": "--limit-train 30",
    "train_on": "--train-on 20",
    "epochs": "--epochs 3",
    "batch_size": "--batch-size 9",
    "lr": "--lr 1.1e-3",
    "weight_decay": "--weight-decay 0.06",
    "dropout": "--dropout 0.2 0.4 0.2",
    "label_smoothing": "--label-smoothing 0.2",
    "hflip": "--no-hflip",
    "val_fraction": "--val-fraction 0.4",
    "pca_basis": "--pca-basis 7",
    "seed": "--seed 1",
    "mixed_precision": "--mixed-precision bf16",
}
# The second stage, on ten images, and another value of every setting of it.
TUNED = (
    *PLAIN, "--limit-train", "20", "--val-fraction", "0.5",
    "--finetune", "1", "--finetune-epochs", "1", "--finetune-lr", "1e-3", "--finetune-batch-size", "6",
)  # fmt: skip
OTHER_TUNED = {
    "finetune": "--finetune 2",
    "finetune_epochs": "--finetune-epochs 2",
    "finetune_lr": "--finetune-lr 1.1e-3",
    "finetune_layer_decay": "--finetune 2 --finetune-layer-decay 0.5",
    "finetune_batch_size": "--finetune-batch-size 5",
    "finetune_reinit": "--finetune-reinit",
}
# Settings that decide something else, and the test that fails when they do not.
IMAGES = "images/test_loading.py::test_every_setting_of_the_images_is_passed_on_or_limits_its_split"
SCRIPTS = "program/test_scripts.py::test_"
WHOLE = f"{SCRIPTS}train_then_evaluate_leaves_all_that_is_promised"
ELSEWHERE = {
    **dict.fromkeys(("dataset", "data_dir", "data_archive", "data_url", "skip_unreadable", "verify_images"), IMAGES),
    "limit_test": IMAGES,
    **dict.fromkeys(("weights", "cache_dir", "runs_dir", "snapshot_epochs"), WHOLE),
    **dict.fromkeys(("study", "study_variants", "seeds", "name"), "study/test_run.py::test_every_run_is_an_ordinary_one"
                    "_evaluated_at_both_epochs"),
    "force_precision": "training/test_session.py::test_the_precision_that_is_asked_for_or_forced_is_what_is_decided_on",
    "cache": f"{SCRIPTS}the_cache_and_the_live_path_train_alike",
    "dry_run": "upkeep/test_dry_run.py::test_a_training_is_told_and_nothing_is_written",
    "quiet": f"{SCRIPTS}quiet_prints_one_json_line_and_nothing_else",
    "json": f"{SCRIPTS}on_a_terminal_every_script_prints_its_json_line_where_that_is_asked_for",
    "resume": "training/test_trainer.py::test_more_epochs_train_a_finished_run_further",
    "checkpoint_minutes": "training/test_saving.py::test_a_run_is_saved_every_so_many_minutes_since_it_was_last_saved",
    "checkpoint_epochs": "training/test_saving.py::test_a_run_is_saved_after_every_so_many_epochs",
    "keep_checkpoints": "training/test_saving.py::"
                        "test_as_many_checkpoints_are_kept_as_are_asked_for_and_the_best_besides",
    "finetune_from": "training/test_finetuning.py::test_a_new_run_can_begin_with_the_model_of_a_finished_one",
    "class_weights": "training/test_class_weights.py::test_the_run_is_trained_with_them_and_its_validation_stays_plain",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("settings")


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(dataset, "SHAPES_TRAIN", 40)


def trained(place: Path, name: str, *other: str, plain: tuple[str, ...] = PLAIN) -> tuple[list[float], str]:
    """Losses of every epoch, and the digest of what was trained of the last model."""
    if not (place / "runs" / name).exists():
        assert train_in(place, *plain, *other, "--name", name) == 0
    lines = (place / "runs" / name / "metrics.jsonl").read_text().splitlines()
    files = (place / "runs" / name / "last").glob("*.safetensors")
    state = {key: value for file in files for key, value in load_file(file).items()}
    digest = hashlib.sha256()
    for tensor in (state[key] for key in sorted(state) if key.startswith(("trained.", "backbone."))):
        digest.update(tensor.numpy().tobytes())
    return [json.loads(line)["train_loss"] for line in lines], digest.hexdigest()


def test_every_setting_is_tried_here_or_elsewhere():
    settings = {name.rpartition(".")[2] for name in flat(to_dict(TrainSettings()))}
    assert settings == {*OTHER, *OTHER_TUNED, *ELSEWHERE}
    assert untried(ELSEWHERE) == []


def test_the_same_settings_train_the_same_model_to_the_bit(place):
    assert trained(place, "plain") == trained(place, "again")


@pytest.mark.parametrize("setting", OTHER)
def test_another_value_trains_another_model(place, setting):
    losses, digest = trained(place, setting, *shlex.split(OTHER[setting]))
    assert digest != trained(place, "plain")[1]
    assert len(losses) == (3 if setting == "epochs" else 2)


@pytest.mark.parametrize("setting", OTHER_TUNED)
def test_another_value_tunes_another_model(place, setting):
    compared = {"finetune_layer_decay": ("two", "--finetune", "2")}.get(setting, ("tuned",))
    losses, digest = trained(place, setting, *shlex.split(OTHER_TUNED[setting]), plain=TUNED)
    assert digest != trained(place, *compared, plain=TUNED)[1]
    assert len(losses) == (4 if setting == "finetune_epochs" else 3)


def test_the_second_stage_trains_the_same_model_to_the_bit(place):
    assert trained(place, "tuned", plain=TUNED) == trained(place, "tuned-again", plain=TUNED)
