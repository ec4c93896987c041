"""Every benchmark runs in its quick form and ends with one JSON object; how fast is not for tests to tell."""

import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import shrink

from alexnet_skip.network.weights import load_weights
from benchmarks import extract_throughput, report_loop, time_to_accuracy
from benchmarks.report_loop import ReportExtractor, report_head

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "train" / name).mkdir(parents=True)
        for number in range(12):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "train" / name / f"{number:02d}.png")
    return folder


@pytest.fixture
def small(monkeypatch):
    """Narrow heads, in the runs that a benchmark starts too, and no workers: they would be forks of a busy process."""
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(time_to_accuracy, "TRAIN", ROOT / "tests" / "tiny_train.py")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{ROOT / 'tests'}")
    monkeypatch.setattr(report_loop, "NUM_WORKERS", 0)
    monkeypatch.setattr(extract_throughput, "NUM_WORKERS", 0)
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "ratios"),
    [
        ("extract_throughput", ["ratio_report", "ratio_torchvision", "fraction_of_bound"]),
        ("head_step", ["ratio_none", "ratio_conv", "ratio_concat", "fraction_of_bound_none"]),
        ("time_to_accuracy", ["ratio_fast"]),
        ("scaling", ["ratio_two_processes"]),
        ("pca", ["ratio_report", "ratio_sklearn", "ratio_torch"]),
    ],
)
def test_the_quick_form_ends_with_one_json_object(images, capfd, name, ratios):
    arguments = ["--dataset", str(images), "--weights", "random", "--quick"]
    assert importlib.import_module(f"benchmarks.{name}").main(arguments) == 0
    result = json.loads(capfd.readouterr().out.splitlines()[-1])
    assert result["benchmark"] == name
    for ratio in ratios:
        assert 0 < result[f"{ratio}_min"] <= result[ratio] <= result[f"{ratio}_max"]


def test_the_reports_head_and_extractor_are_those_of_the_report():
    assert sum(p.numel() for p in report_head(10).parameters()) == 41_958_410
    extractor = ReportExtractor(load_weights("random").state, skip=True)
    assert [name for name, _ in extractor.features.named_children()] == [str(i) for i in range(13)]
