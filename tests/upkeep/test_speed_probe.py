"""The probes do the real work: as often on every process, and on the images as they lie."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from numpy.testing import assert_array_equal
from PIL import Image
from tiny_run import shrink

from alexnet_skip.features.lower import LowerLayers
from alexnet_skip.images import image_folder
from alexnet_skip.images.folder import ImageFiles
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.weights import load_weights
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.system.console import Console
from alexnet_skip.upkeep import inventory, speed_probe

CPU = torch.device("cpu")


def test_the_probes_measure_something(monkeypatch):
    monkeypatch.setattr(speed_probe, "PART_SECONDS", 0.01)
    assert speed_probe.rate(lambda: 3, CPU) > 3
    assert speed_probe.multiplication_rate(CPU) > 1e8


def test_a_rate_is_of_as_many_pieces_of_work_as_fit_into_the_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(speed_probe.time, "perf_counter", lambda: clock[0])
    monkeypatch.setattr(speed_probe, "PART_SECONDS", 1.05)

    def work() -> int:
        clock[0] += 5.0 if clock[0] == 0 else 0.1  # the first warms up
        return 4

    assert speed_probe.rate(work, CPU) == pytest.approx(40)
    assert clock[0] == pytest.approx(5 + 0.1 + 10 * 0.1)


@pytest.mark.parametrize("seconds", [1e-6, 1.0])
def test_steps_are_as_many_as_the_main_process_says_however_fast_this_one_is(monkeypatch, seconds):
    """In each, gradients of all processes are averaged: one that took a step more would wait for ever."""
    steps = []

    class Model(torch.nn.Linear):
        def forward(self, *inputs):
            steps.append(inputs)
            return super().forward(inputs[0])

    monkeypatch.setattr(speed_probe, "PART_SECONDS", seconds)
    monkeypatch.setattr(speed_probe, "make_head", lambda *_: Model(8, 3))
    monkeypatch.setattr(speed_probe, "broadcast", lambda own: torch.full_like(own, 7))
    settings = parse_train(["--pca-basis", "8", "--batch-size", "2"])
    assert speed_probe.training_rate(settings, 3, Accelerator(cpu=True)) > 0
    assert len(steps) == 2 + 7


def test_fine_tuning_is_timed_on_images_that_are_read_from_their_files_at_every_step(tmp_path, monkeypatch):
    for number in range(6):
        folder = tmp_path / "train" / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (40 * number, 0, 0)).save(folder / f"{number}.png")
    probed, read = [], []
    shrink(monkeypatch.setattr)

    class Recorded(LowerLayers):
        def __init__(self, images, *others):
            probed.append(images)
            super().__init__(images, *others)

    monkeypatch.setattr(image_folder, "KEPT_BYTES", 0)
    monkeypatch.setattr(speed_probe, "PART_SECONDS", 0.0)
    monkeypatch.setattr(speed_probe, "LowerLayers", Recorded)
    whole = ImageFiles.__getitem__
    monkeypatch.setattr(ImageFiles, "__getitem__", lambda self, rows: (read.append(len(rows)), whole(self, rows))[1])
    images = inventory.find_images(DataSettings(dataset=str(tmp_path)), Console(quiet=True), None)
    settings = parse_train(["--finetune", "1", "--finetune-batch-size", "4", "--pca-basis", "8"])
    backbone = FrozenAlexNet(load_weights("random").state)
    assert speed_probe.tuning_rate(settings, backbone, images, Accelerator(cpu=True)) > 0
    assert read == [4, 4, 4]
    expected = images.dataset.splits["train"].images[np.array([0, 1, 3, 5])]
    assert_array_equal(probed[0][np.arange(4)], expected)

    made_up = replace(images, dataset=None)
    assert speed_probe.tuning_rate(settings, backbone, made_up, Accelerator(cpu=True)) > 0
    assert probed[1].shape == (4, 8, 8, 3)
