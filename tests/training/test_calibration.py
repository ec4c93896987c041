"""A run publishes each of its models with the temperature that its held-out images give it."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tiny_run import ARGUMENTS, HELD_OUT, VAL_FRACTION, copy_features, shrink, train_in
from torch import nn

from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network.model import load_published
from alexnet_skip.statistics import metrics
from alexnet_skip.system.files import read_json
from alexnet_skip.training.calibration import HeldOutPredictions
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


class HeldOutRows:
    """As much of a stage's inputs as a temperature is fitted on: a linear model on 300 rows."""

    def __init__(self, rng: np.random.Generator, held_out: bool = True) -> None:
        self.x = torch.from_numpy(rng.normal(size=(300, 4)).astype(np.float32))
        self.held_out = SimpleNamespace(targets=rng.integers(0, 3, 300)) if held_out else None
        self.predicted = 0

    def make_model(self) -> nn.Linear:
        return nn.Linear(4, 3)

    def predict_held_out(self, model: nn.Linear, accelerator: SimpleNamespace) -> np.ndarray:
        self.predicted += 1
        with torch.no_grad():
            return model(self.x).numpy()


ON_THE_CPU = SimpleNamespace(device=torch.device("cpu"))


def test_an_epochs_temperature_is_of_its_own_weights_predicted_once_and_draws_no_random_number(rng):
    inputs, weights = HeldOutRows(rng), [nn.Linear(4, 3).state_dict() for _ in range(2)]
    # Right more often than not for either: drawn with the chances of both.
    both = sum(inputs.x @ state["weight"].T + state["bias"] for state in weights).numpy()
    inputs.held_out.targets = (both + rng.gumbel(size=both.shape)).argmax(1)
    predictions, before = HeldOutPredictions(inputs, ON_THE_CPU), torch.get_rng_state()
    found = [predictions.calibration(epoch, weights[epoch]) for epoch in (0, 1, 0)]
    assert torch.equal(torch.get_rng_state(), before)
    assert inputs.predicted == 2
    for about, state in zip(found, [*weights, weights[0]], strict=True):
        logits = (inputs.x @ state["weight"].T + state["bias"]).numpy()
        assert about["temperature"] == pytest.approx(metrics.fit_temperature(logits, inputs.held_out.targets), rel=1e-4)
        assert about["temperature_images"] == 300
        assert metrics.is_determined(about["temperature"])
    assert found[0]["temperature"] != found[1]["temperature"]


def test_nothing_is_said_of_a_temperature_that_is_not_determined_or_where_nothing_is_held_out(rng, monkeypatch):
    state = nn.Linear(4, 3).state_dict()
    alone = HeldOutRows(rng, held_out=False)
    predictions = HeldOutPredictions(alone, ON_THE_CPU)
    assert predictions.logits(1, state) is None
    assert predictions.calibration(1, state) == {}
    assert alone.predicted == 0
    monkeypatch.setattr(metrics, "fit_temperature", lambda *_: metrics.MAX_TEMPERATURE)
    assert HeldOutPredictions(HeldOutRows(rng), ON_THE_CPU).calibration(1, state) == {}
