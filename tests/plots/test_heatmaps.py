"""Heat is drawn where it is, over the image it is of."""

import numpy as np
import pytest

from alexnet_skip.plots import heatmaps
from alexnet_skip.plots.heatmaps import Look, heated, heatmaps_figure


def test_heat_colours_its_place_and_leaves_the_rest_of_the_image_grey(rng):
    image = rng.integers(0, 256, (224, 224, 3), dtype=np.uint8)
    heat = np.zeros((13, 13))
    heat[2, 10] = 1
    shown = heated(image, heat).astype(int)
    spread = shown.max(2) - shown.min(2)
    row, column = np.unravel_index(spread.argmax(), spread.shape)
    assert (row * 13 // 224, column * 13 // 224) == (2, 10)
    assert spread[150:].max() == 0
    assert shown.shape == image.shape


def test_each_row_tells_the_truth_what_each_model_says_and_whether_that_is_right(rng):
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    maps = {"last": rng.random((2, 13, 13)), "tap": rng.random((2, 13, 13))}
    looks = [
        Look("without", maps, ("dog 60 %", "cat 99 %"), np.array([False, True])),
        Look("with", maps, ("cat 80 %", "dog 51 %"), np.array([True, False])),
    ]
    figure = heatmaps_figure(images, ("cat", "cat"), looks, "a title")
    (axes,) = figure.axes
    texts = [text.get_text() for text in axes.texts]
    assert texts.count("cat") == 2
    assert [text for text in texts if "%" in text] == [
        "dog 60 %, wrong", "cat 80 %, right", "cat 99 %, right", "dog 51 %, wrong",
    ]  # fmt: skip
    assert [texts.count(name) for name in ("without", "with", "last", "tap")] == [1, 1, 2, 2]
    assert len(axes.images) == 2 * (1 + 2 * 2)
    boxes = [image.get_extent() for image in axes.images]
    for number, (left, right, bottom, top) in enumerate(boxes):
        for other in boxes[:number]:
            apart = right <= other[0] or other[1] <= left or top <= other[2] or other[3] <= bottom
            assert apart, "pictures do not overlap"


@pytest.mark.parametrize("side", [32, 300])
def test_images_are_enlarged_to_what_the_network_sees(rng, side):
    assert heatmaps.enlarged(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).shape == (224, 224, 3)
