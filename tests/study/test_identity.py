"""Runs of one study are alike in all that decides them, but for form and seed; what differs is named."""

import dataclasses
from typing import Any

import pytest

from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.dataset_record import DatasetRecord
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.records import PrecisionRecord, RunConfig, WeightsRecord
from alexnet_skip.settings.train import RunSettings, TrainingSettings, TrainSettings
from alexnet_skip.study.identity import difference

# Another value of every setting of the training.
OTHER: dict[str, Any] = {
    "epochs": 9, "batch_size": 7, "lr": 0.5, "weight_decay": 0.5, "dropout": (0.5, 0.5, 0.5), "label_smoothing": 0.5,
    "hflip": False, "val_fraction": 0.5, "pca_basis": 5, "mixed_precision": "fp16", "force_precision": True,
    "class_weights": "balanced",
}  # fmt: skip
CONFIG = RunConfig(TrainSettings(), DatasetRecord("shapes", digest="d" * 64), weights=WeightsRecord("random", "w" * 64))


def with_settings(config: RunConfig, **values: Any) -> RunConfig:
    return dataclasses.replace(config, settings=dataclasses.replace(config.settings, **values))


def trained(**values: Any) -> RunConfig:
    return with_settings(CONFIG, training=dataclasses.replace(CONFIG.settings.training, **values))


def test_every_setting_that_decides_a_run_but_its_seed_is_compared_and_named():
    assert {*OTHER, "seed"} == {field.name for field in dataclasses.fields(TrainingSettings)}
    assert difference(CONFIG, CONFIG) is None
    assert difference(CONFIG, trained(seed=99)) is None
    before = to_dict(CONFIG.settings.training)
    for name, value in OTHER.items():
        others = {"mixed_precision": "fp16"} if name == "force_precision" else {}
        flag = f"--{name.replace('_', '-')}"
        a, b = trained(**others), trained(**others | {name: value})
        assert difference(a, b) == (flag, str(before[name]), str(to_dict(b.settings.training)[name]))
    for other, flag in (
        (dataclasses.replace(CONFIG, dataset=DatasetRecord("shapes", digest="0" * 64)), "--dataset"),
        (dataclasses.replace(CONFIG, weights=WeightsRecord("random", "0" * 64)), "--weights"),
        (with_settings(CONFIG, run=RunSettings(snapshot_epochs=(1, 2))), "--snapshot-epochs"),
        (with_settings(CONFIG, recipe="report"), "--recipe"),
        (with_settings(CONFIG, finetuning=FinetuneSettings(finetune=1)), "--finetune"),
    ):
        assert difference(CONFIG, other)[0] == flag


@pytest.mark.parametrize(
    ("splits_a", "splits_b", "told"),
    [(("train",), ("train", "val"), ("without", "with")), (("train",), ("train", "test"), None), ((), ("val",), None)],
)
def test_a_val_of_its_own_beside_the_same_training_images_makes_another_study(splits_a, splits_b, told):
    """More of them are trained on; runs from before the splits were recorded don't say it."""
    a, b = (
        dataclasses.replace(CONFIG, dataset=dataclasses.replace(CONFIG.dataset, splits=splits))
        for splits in (splits_a, splits_b)
    )
    found = difference(a, b)
    said = [f"auto (training images' SHA-256 dddddddddddd, {which} val/)" for which in told or ()]
    assert found == (("--dataset", *said) if told else None)


def test_form_place_and_a_stage_that_is_not_trained_make_no_difference():
    moved = dataclasses.replace(CONFIG, dataset=dataclasses.replace(CONFIG.dataset, source="elsewhere"))
    idle = FinetuneSettings(finetune_lr=0.5, finetune_epochs=9)
    for same in (moved, with_settings(CONFIG, finetuning=idle), with_settings(CONFIG, skip=True, skip_mode="concat")):
        assert difference(CONFIG, same) is None


@pytest.mark.parametrize(
    ("a", "b", "told"),
    [
        (("auto", "no"), ("auto", "no"), None),
        (("auto", "no"), ("no", "no"), None),
        (("auto", "no"), ("auto", "bf16"), ("auto (no)", "auto (bf16)")),
        (("bf16", "bf16"), ("auto", "no"), ("bf16", "auto (no)")),
        (("auto", None), ("auto", "bf16"), None),
        (("auto", None), ("no", "no"), ("auto", "no")),
    ],
)
def test_of_precision_counts_what_was_used_where_both_say_it(a, b, told):
    def config(asked, used):
        precision = None if used is None else PrecisionRecord(used, "a test")
        return dataclasses.replace(trained(mixed_precision=asked), precision=precision)

    expected = told and ("--mixed-precision", *told)
    assert difference(config(*a), config(*b)) == expected


def test_weights_and_images_may_lie_elsewhere_and_others_are_told_by_place_and_digest():
    data = dataclasses.replace(CONFIG.settings.data, dataset="moved")
    moved = with_settings(CONFIG, weights="copy.pth", data=data)
    assert difference(CONFIG, moved) is None
    weights = dataclasses.replace(moved, weights=WeightsRecord("copy.pth", "0" * 64))
    images = dataclasses.replace(moved, dataset=DatasetRecord("shapes", digest="1" * 64))
    here = CONFIG.settings
    assert difference(CONFIG, weights) == (
        "--weights", f"{here.weights} (SHA-256 wwwwwwwwwwww)", "copy.pth (SHA-256 000000000000)",
    )  # fmt: skip
    assert difference(CONFIG, images) == (
        "--dataset",
        f"{here.data.dataset} (training images' SHA-256 dddddddddddd)",
        "moved (training images' SHA-256 111111111111)",
    )
