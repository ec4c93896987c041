"""Every setting of train.py does something: what it should change is changed, and nothing else changes it."""

import hashlib
import json
import shlex
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tiny_run import shrink, train_in

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
# Settings that decide something else, and where a test fails when they do not.
ELSEWHERE = {
    "weights": "network/test_weights.py", "dataset": "images/test_dataset.py", "data_dir": "images/test_cifar.py",
    "data_archive": "images/test_cifar.py", "skip_unreadable": "images/test_folder.py",
    "limit_test": "program/test_scripts.py", "force_precision": "devices/test_precision.py",
    "cache_dir": "program/test_scripts.py", "cache": "program/test_scripts.py", "runs_dir": "program/test_scripts.py",
    "name": "training/test_trainer.py", "snapshot_epochs": "program/test_scripts.py",
    "dry_run": "upkeep/test_dry_run.py", "quiet": "program/test_scripts.py", "study": "study/test_run.py",
    "study_variants": "study/test_run.py", "seeds": "study/test_run.py", "resume": "training/test_trainer.py",
    "checkpoint_minutes": "program/test_kills.py", "checkpoint_epochs": "training/test_trainer.py",
    "keep_checkpoints": "training/test_saving.py", "class_weights": "training/test_class_weights.py",
    "verify_images": "images/test_folder_record.py", "data_url": "images/test_cifar.py",
    "json": "system/test_script.py", "finetune_from": "training/test_finetuning.py",
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
    tests = Path(__file__).resolve().parents[1]
    for name, where in ELSEWHERE.items():
        assert name.replace("_", "-") in (tests / where).read_text().replace("_", "-"), f"{name} is not in {where}"


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
