"""A run publishes each of its models with the temperature that its held-out images give it."""

import numpy as np
import pytest
from tiny_run import ARGUMENTS, HELD_OUT, VAL_FRACTION, copy_features, shrink, train_in

from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network.model import load_published
from alexnet_skip.statistics import metrics
from alexnet_skip.system.files import read_json
from alexnet_skip.training.inputs import Inputs

MODELS = ("model", "last", "snapshots/epoch-0002")


def test_each_published_model_has_the_temperature_of_its_own_logits_on_the_held_out_images(whole_run, monkeypatch):
    shrink(monkeypatch.setattr)
    split = load_dataset("shapes").splits["train"]
    held_out = train_val_positions(split.labels, VAL_FRACTION)[1]
    found = {}
    for name in MODELS:
        network, config = load_published(whole_run / "runs" / "run" / name)
        images = split.images[held_out]
        probabilities = np.stack([prediction.probabilities for prediction in network.predict(list(images))])
        # What predict() has divided by, multiplied again: logits but for a constant.
        logits = np.log(probabilities) * network.temperature
        assert config.temperature == pytest.approx(metrics.fit_temperature(logits, split.labels[held_out]), rel=0.01)
        assert config.temperature_images == len(held_out)
        card = (whole_run / "runs" / "run" / name / "README.md").read_text("utf-8")
        told = f"fitted on {HELD_OUT} held-out images (on which its epoch was chosen"
        assert f"temperature {config.temperature:.3f}, {told}" in card
        found[config.epoch] = config.temperature
    assert len(set(found.values())) == len(found) > 1, "each epoch has its own"


def test_the_held_out_images_are_predicted_once_for_each_epoch_that_is_published(whole_run, tmp_path, monkeypatch):
    """However many models of it there are, and for TensorBoard's pictures."""
    shrink(monkeypatch.setattr)
    calls, predict = [], Inputs.predict_held_out
    monkeypatch.setattr(Inputs, "predict_held_out", lambda *args: calls.append(args) or predict(*args))
    copy_features(whole_run, tmp_path)
    assert train_in(tmp_path, *ARGUMENTS, "--epochs", "3", "--snapshot-epochs", "3", "--name", "run") == 0
    best = read_json(tmp_path / "runs" / "run" / "model" / "config.json")["epoch"]
    assert len(calls) == 3 + len({best, 3})  # validated, then published


@pytest.mark.parametrize(("flags", "images"), [(("--val-fraction", "0"), 0), (("--lr", "1e-30"), HELD_OUT)])
def test_without_held_out_images_or_a_determined_one_there_is_no_temperature_and_that_is_said(
    whole_run, tmp_path, monkeypatch, capsys, flags, images
):
    shrink(monkeypatch.setattr)
    if images:
        monkeypatch.setattr(metrics, "fit_temperature", lambda *_: metrics.MAX_TEMPERATURE)
    copy_features(whole_run, tmp_path)
    assert train_in(tmp_path, *ARGUMENTS, *flags, "--epochs", "2", "--name", "run") == 0
    assert "temperature 1: none was fitted" in " ".join(capsys.readouterr().err.split())
    config = read_json(tmp_path / "runs" / "run" / "model" / "config.json")
    assert "temperature" not in config
    assert config["num_val"] == images
    assert load_published(tmp_path / "runs" / "run" / "model")[0].temperature == 1
