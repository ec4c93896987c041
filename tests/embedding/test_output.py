"""The turning cloud has a frame that fits it."""

import numpy as np
import pytest

from alexnet_skip.embedding.output import turning
from alexnet_skip.plots.embedding import Cloud


def frame(classes: int, spread=(1, 1, 1)):
    rng = np.random.default_rng(0)
    labels = np.arange(40 * classes) % classes
    scores = rng.normal(size=(len(labels), 3)) * spread
    names = tuple(f"class {i}" for i in range(classes))
    return turning(Cloud(scores, labels, np.array([0.5, 0.2, 0.1]), names), "features of a run")[0]


@pytest.mark.parametrize("classes", [2, 10, 25])
def test_the_legend_has_room_beside_a_flat_cloud(classes):
    pixels = np.asarray(frame(classes, spread=(5, 5, 0.1)).convert("L"))
    beside = pixels[:, -100:]
    assert (beside < 250).any()
    edges = np.concatenate((beside[0], beside[-1], beside[:, -1]))
    assert (edges > 250).all(), "the legend is cut off"


def test_a_flat_cloud_has_a_lower_frame_than_a_round_one():
    assert frame(3, spread=(5, 5, 1)).height < frame(3).height
