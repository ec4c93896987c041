"""The memory that is told is what is taken, and grows with what it is taken by."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from made_runs import make_predictions

from alexnet_skip.embedding.projector import make_sprite
from alexnet_skip.evaluation import figures
from alexnet_skip.features.basis import Basis, make_head
from alexnet_skip.network import model
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.weights import load_weights
from alexnet_skip.settings.records import ModelConfig
from alexnet_skip.settings.train import TrainingSettings, TrainSettings
from alexnet_skip.statistics.separation import BLOCK_BYTES, separation
from alexnet_skip.system.disk import disk_usage
from alexnet_skip.upkeep import memory
from alexnet_skip.upkeep.inventory import Images


def images(num_classes: int) -> Images:
    return Images("many", "here", {"train": 4000, "test": 1000}, num_classes, (32, 32), None)


def peak_of(work) -> int:
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_a_head_has_as_many_values_as_the_report_says():
    assert memory.head_values("none", 10) == 41_958_410
    assert memory.head_values("conv", 10) == 41_958_410 + 65_792
    assert memory.head_values("none", 10, 64) == 41_958_410 - (9216 - 64) * 4096
    assert memory.head_values("concat", 10) == 41_958_410 + 9216 * 4096


@pytest.mark.parametrize("pca_basis", [0, 16])
def test_a_published_model_takes_the_disk_that_is_told(tmp_path, pca_basis):
    generator = torch.Generator().manual_seed(0)
    basis = Basis(torch.zeros(9216), torch.randn(9216, 16, generator=generator)) if pca_basis else None
    head = make_head("conv", 10, basis)
    trained = head.fold(basis) if basis else head
    config = ModelConfig("conv", tuple(f"class {number}" for number in range(10)))
    model.publish(tmp_path, trained, FrozenAlexNet(load_weights("random").state), config)
    told = memory.published_bytes("conv", 10, pca_basis)
    assert told <= disk_usage([tmp_path]).num_bytes < told + 100_000


@pytest.mark.parametrize(("samples", "classes"), [(300, 700), (4000, 200)])
def test_judging_takes_what_is_told(rng, tmp_path, monkeypatch, samples, classes):
    monkeypatch.setattr(figures, "save_figure", lambda *_: None)
    monkeypatch.setattr(figures, "confusion_matrix_figure", lambda *_: None)
    some = make_predictions(0.5, rng, n=samples, classes=classes)
    names = tuple(f"class {number}" for number in range(classes))

    def judge() -> None:
        summary = figures.summarize_predictions(some, names, (), ModelConfig("none", names))
        figures.draw_evaluation(tmp_path, "a title", summary, some, None)

    told = memory.judging_bytes(samples, classes)
    assert told / 3 < peak_of(judge) < told


def test_separation_of_many_classes_takes_what_is_told(rng):
    labels = np.arange(1200) % 600
    X = rng.standard_normal((1200, 2000)).astype(np.float32)
    peak = peak_of(lambda: separation(X, labels, 600, np.arange(1200)))
    assert 8 * 600 * 2000 < peak < memory.separation_bytes(600, 2000) - BLOCK_BYTES


def test_what_is_told_grows_with_the_classes():
    settings = TrainSettings(training=replace(TrainingSettings(), pca_basis=256, batch_size=64))
    few, many = (memory.training_bytes(settings, images(count), 3000, 1000) for count in (10, 1000))
    judged = memory.judging_bytes(1000, 1000) - memory.judging_bytes(1000, 10)
    assert many - few >= judged + memory.COPIES_IN_MEMORY * 4 * 990 * 1024
    for told in (memory.evaluation_bytes, memory.embedding_bytes):
        assert told(images(1000), "conv", 1000) - told(images(10), "conv", 1000) >= judged


def test_thumbnails_take_what_is_told(rng):
    pixels = rng.integers(0, 256, (4000, 40, 40, 3), dtype=np.uint8)
    some = Images("photographs", "here", {"train": 4000}, 10, (40, 40), None)
    with_them, without = (memory.embedding_bytes(some, "none", 4000, thumbnail_px=px) for px in (32, 0))
    measured = peak_of(lambda: make_sprite(pixels, 32).tobytes())
    assert measured < with_them - without < 3 * measured
