"""The card of a published model says what is known, and nothing else."""

from typing import Any

import pytest

from alexnet_skip.network.card import model_card
from alexnet_skip.settings.command_line import from_dict
from alexnet_skip.settings.records import ModelConfig
from alexnet_skip.statistics.metrics import wilson_interval

CONFIG: dict[str, Any] = {
    "class_names": ["cat", "dog", "ship"],
    "skip_mode": "conv",
    "epoch": 7,
    "created": "2026-01-02T03:04:05+00:00",
    "dataset": {"name": "pets", "digest": "ab" * 32},
    "image_size": [224, 224],
    "num_train": 4500,
    "num_val": 500,
    "weights": {"source": "torch hub cache", "sha256": "cd" * 32},
    "metrics": {"val_top1": 0.9, "val_top3": 1.0},
    "settings": {"recipe": "fast", "training": {"epochs": 15, "lr": 0.001}},
    "environment": {"torch": "2.14.1", "torchvision": None},
}


def card_of(config, evaluations=()) -> str:
    return model_card(from_dict(ModelConfig, config), evaluations)


def test_the_card_gives_data_settings_figures_with_intervals_and_limits():
    card = card_of(CONFIG)
    low, high = wilson_interval(450, 500)
    for text in (
        "pets", "cat, dog, ship", "4,500 images to train on and 500 held out", "torch hub cache", "* epochs: 15",
        "torch 2.14.1", f"90.00 % ({100 * low:.2f} to {100 * high:.2f})", "## Limits", "Not evaluated on a test split",
    ):  # fmt: skip
        assert text in card, text
    assert "None" not in card
    assert "small images" not in card


def test_evaluations_are_added_with_their_own_number_of_images():
    evaluation = {"dataset": "pets", "split": "test", "num_samples": 1000, "top1": 0.8, "top3": 0.95, "tta": True}
    assert "| 95.00 % (93.47 to 96.19) |  |  |" in card_of(CONFIG, [evaluation]), "of before these were measured"
    evaluation |= {"balanced_accuracy": 0.7, "macro_f1": 0.65}
    card = card_of(CONFIG, [evaluation])
    low, high = wilson_interval(800, 1000)
    assert f"| pets test, mirrored too | 1,000 | 80.00 % ({100 * low:.2f} to {100 * high:.2f})" in card
    assert "| 70.00 % | 65.00 % |" in card
    assert "Not evaluated" not in card


@pytest.mark.parametrize("metrics", [{"val_top1": 0.9}, {"val_top1": 0.9, "val_top3": 1.0}])
def test_a_card_of_two_classes_has_no_top3_whatever_an_older_version_has_measured(metrics):
    evaluation = {"dataset": "pets", "split": "test", "num_samples": 100, "top1": 0.8}
    card = card_of(CONFIG | {"class_names": ["cat", "dog"], "metrics": metrics}, [evaluation])
    assert "| images | number | top-1 | balanced accuracy | macro F1 |\n|---|---|---|---|---|\n" in card
    assert "| held out of training; chose the epoch | 500 | 90.00 %" in card
    assert "top-3" not in card


def test_figures_that_were_not_measured_leave_a_gap():
    assert " |  |\n" in card_of(CONFIG | {"metrics": {"val_top1": 0.9}})


def test_a_toy_is_called_one():
    toy = CONFIG | {"dataset": {"name": "shapes"}, "weights": {"source": "random (seed 0)", "sha256": ""}}
    card = card_of(toy | {"image_size": [32, 32]})
    assert "knows nothing of photographs" in card
    assert "convolutions are random" in card
    assert "only seen small images" in card


def test_a_model_that_says_little_of_itself_still_gets_a_card():
    card = card_of({"class_names": ["a", "b"], "skip_mode": "none"})
    assert "Nothing was measured" in card
    assert "no skip connection" in card


def test_a_fine_tuned_model_says_which_layers_and_how_and_not_where_its_parent_lay():
    settings = CONFIG["settings"] | {
        "finetuning": {"finetune": 2, "finetune_lr": 0.25, "finetune_from": "/home/me/runs/a"}
    }
    card = card_of(CONFIG | {"finetuned_layers": [8, 10], "parent_sha256": "ef" * 32, "settings": settings})
    assert "AlexNet with layers 8 and 10 fine-tuned" in card.splitlines()[0]
    assert "Convolutions that training began with: torch hub cache" in card
    assert f"of SHA-256 `{'ef' * 32}`" in card
    assert "* finetune_lr: 0.25" in card
    assert "/home/me" not in card
    assert "fine-tuned" not in card_of(CONFIG)
    assert "finetune" not in card_of(CONFIG)
