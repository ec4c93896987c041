"""The turning cloud has a frame that fits it; thumbnails are not all in memory at their full size."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from alexnet_skip.embedding import output, projector
from alexnet_skip.embedding.output import turning
from alexnet_skip.embedding.samples import Points
from alexnet_skip.images.folder import ImageFiles
from alexnet_skip.images.split import Split
from alexnet_skip.images.splits import Selection
from alexnet_skip.plots.embedding import Cloud
from alexnet_skip.system.console import Console


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


def test_thumbnails_are_decoded_few_at_a_time(monkeypatch, tmp_path):
    Image.new("RGB", (20, 20), "red").save(tmp_path / "a.png")
    count, decoded = 10, []

    def watched(images, rows, stream=ImageFiles.stream):
        for block in stream(images, rows):
            decoded.append(len(block))
            yield block

    monkeypatch.setattr(ImageFiles, "stream", watched)
    monkeypatch.setattr(projector, "READ_ROWS", 4)
    labels = np.arange(count) % 2
    split = Split(ImageFiles([str(tmp_path / "a.png")] * count, 20, True), labels, np.arange(count), "digest")
    points = Points(None, Selection("test", "test", split, np.arange(count)), np.arange(count))
    config = SimpleNamespace(temperature=1.0)
    run = SimpleNamespace(folder=tmp_path, model=SimpleNamespace(class_names=("a", "b")), model_config=config)
    pca = SimpleNamespace(explained_variance_ratio_=np.array([0.5, 0.2, 0.1]))
    shown = SimpleNamespace(run=run, scores=np.random.default_rng(0).normal(size=(count, 3)), pca=pca)
    job = SimpleNamespace(settings=SimpleNamespace(thumbnails=8, projector_components=3), console=Console(quiet=True))
    output.write_projector(shown, "embedding/test-features", points, np.eye(2)[labels], job)
    assert decoded == [4, 4, 2]
    (sprite,) = (tmp_path / "embedding" / "test-features").glob("sprite-*.jpg")
    with Image.open(sprite) as picture:
        assert picture.size == (32, 32)
