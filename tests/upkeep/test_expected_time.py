"""What the parts of a training are timed on."""

import dataclasses
from types import SimpleNamespace

import pytest
import torch

from alexnet_skip.settings.shared import CacheSettings
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.upkeep import speed_probe
from alexnet_skip.upkeep.expected_time import expected_seconds

RATES = {"cpu": 1e9, "meta": 1e12}


@pytest.mark.parametrize(("cache", "projected"), [(True, 2 * 500), (False, 0)])
def test_a_basis_is_fitted_on_the_cpu_and_images_are_projected_on_the_device(monkeypatch, cache, projected):
    monkeypatch.setattr(speed_probe, "extraction_rate", lambda *_: 1.0)
    monkeypatch.setattr(speed_probe, "multiplication_rate", lambda device: RATES[device.type])
    settings = dataclasses.replace(TrainSettings.of_recipe("fast"), cache=CacheSettings(cache=cache))
    images = SimpleNamespace(num_val=lambda _: 0, sizes={"train": 500}, image_size=(32, 32))
    lacking = SimpleNamespace(features=SimpleNamespace(missing_images=0), bases=("none",))
    accelerator = SimpleNamespace(device=torch.device("meta"), num_processes=1)
    nothing = SimpleNamespace(runs=[], judged=[])
    seconds = expected_seconds(settings, nothing, images, lacking, 400, accelerator)["basis"]
    a_row = 2 * 9216 * settings.training.pca_basis
    fit = seconds - projected * a_row / RATES["meta"]
    rows = fit * RATES["cpu"] / a_row
    assert rows == pytest.approx(400 * round(rows / 400)), "whole passes over the images trained on"
    assert rows >= 3 * 400
