"""What a side's models tell is told at the temperature of each of them."""

import numpy as np
import pytest
from made_runs import make_predictions, make_published, make_run

from alexnet_skip.statistics.metrics import softmax
from alexnet_skip.study.sides import read_sides, sides_of_study

NAMES = ("cat", "dog", "bird")


@pytest.mark.parametrize(("checkpoint", "place"), [("epoch-4", "snapshots/epoch-0004"), ("best", "model")])
def test_each_seeds_probabilities_are_those_of_its_own_published_model(tmp_path, rng, checkpoint, place):
    temperatures = {"none": (2.0, 0.5), "conv": (3.0, None)}
    for variant, fitted in temperatures.items():
        for seed, temperature in enumerate(fitted):
            found = make_predictions(0.7, rng, n=30, classes=3)
            run = make_run(
                tmp_path / f"{variant}-{seed}", {f"test-{checkpoint}": found}, NAMES, variant=variant, seed=seed
            )
            if temperature is not None:  # else the model is gone
                make_published(run / place, NAMES, temperature)
    sides = sides_of_study(tmp_path)
    for side, predictions in zip(sides, read_sides(sides, "test", checkpoint)[1], strict=True):
        fitted = temperatures[side.variant]
        assert side.temperatures(checkpoint) == list(fitted)
        for told, one, temperature in zip(
            side.probabilities(predictions, checkpoint), predictions, fitted, strict=True
        ):
            np.testing.assert_allclose(told, softmax(one.logits / (temperature or 1)))
