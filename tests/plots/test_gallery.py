"""A gallery shows every image with its caption."""

import numpy as np
import pytest
from drawn import assert_within_its_canvas, texts

from alexnet_skip.plots.gallery import image_grid_figure


def test_nothing_is_cut_off_at_the_edges_and_no_warning_is_given(tmp_path):
    captions = ["a caption that is too long for one line, 99.9 %"] * 5
    figure = image_grid_figure(np.zeros((5, 32, 32, 3), np.uint8), captions, "mistakes", 4)
    assert_within_its_canvas(figure, tmp_path / "a.png")


def test_a_gallery_holds_every_image_with_its_caption(rng):
    images = rng.integers(0, 256, (5, 8, 16, 3), dtype=np.uint8)
    captions = ["cat → dog 99 %", "a caption that needs to be wrapped 98.1 %", "two\nlines", "$5 and $6", ""]
    axes = image_grid_figure(images, captions, "mistakes", columns=3).axes[0]
    for drawn, image in zip(axes.images, images, strict=True):
        np.testing.assert_array_equal(drawn.get_array(), image)
    extents = [image.get_extent() for image in axes.images]
    assert len({(left, top) for left, _, _, top in extents}) == 5
    assert len({top for *_, top in extents}) == 2
    assert all((right - left) == pytest.approx(2 * (top - bottom)) for left, right, bottom, top in extents)
    written = [text.get_text() for text in axes.texts]
    assert [text.replace("\n", " ").replace("\u00a0", " ") for text in written] == [
        c.replace("\n", " ") for c in captions
    ]
    assert max(len(line) for text in written for line in text.splitlines()) <= 20


def test_a_gallery_of_nothing_says_so_and_captions_must_fit():
    none = np.zeros((0, 8, 8, 3), np.uint8)
    assert texts(image_grid_figure(none, [], "mistakes").axes[0]) == ["none"]
    with pytest.raises(ValueError, match="1 captions for 0 images"):
        image_grid_figure(none, ["a"], "mistakes")
