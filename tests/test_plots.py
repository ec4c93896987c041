"""Figures are drawn and written whole."""

import numpy as np
import pytest
from PIL import Image

from alexnet_skip.plots import MAX_ANNOTATED_CLASSES, confusion_matrix_figure, save_figure


def test_a_confusion_matrix_shows_its_counts_and_title(tmp_path):
    confusion = np.array([[7, 0, 1], [2, 5, 1], [0, 0, 8]])
    figure = confusion_matrix_figure(confusion, ["cat", "dog", "ship"], "cifar10 test, run x")
    texts = [t.get_text() for t in figure.axes[0].texts]
    assert {"7", "5", "8", "2"} <= set(texts)
    assert "0" not in texts
    assert "87.5 %" in texts
    assert "cifar10 test, run x" in figure.axes[0].get_title()
    assert "83.33 % of 24" in figure.axes[0].get_title()
    save_figure(figure, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert min(image.size) > 400
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("classes", [2, MAX_ANNOTATED_CLASSES + 1])
def test_few_and_many_classes_are_drawn(classes, tmp_path):
    confusion = np.eye(classes, dtype=int) * 3
    figure = confusion_matrix_figure(confusion, [f"class {i}" for i in range(classes)], "many")
    assert bool(figure.axes[0].texts) == (classes <= MAX_ANNOTATED_CLASSES)
    save_figure(figure, tmp_path / "a.png")
