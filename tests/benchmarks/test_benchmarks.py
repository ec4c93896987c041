"""Every benchmark runs in its quick form and ends with one JSON object; how fast is not for tests to tell."""

import contextlib
import importlib
import io
import json
import os
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_run import shrink
from torch import nn
from zygote import Zygote

from alexnet_skip.network.backbone import NUM_FEATURES, FrozenAlexNet
from alexnet_skip.network.upper import UpperConvolutions
from alexnet_skip.network.weights import load_weights
from benchmarks import extract_throughput, head_step, peers, report_loop, scaling, time_to_accuracy
from benchmarks.finetune_step import plain_layers, plain_upper
from benchmarks.peer_scripts import answers, cv_example, logistic_regression
from benchmarks.report_loop import ReportExtractor, report_head

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (folder / "train" / name).mkdir(parents=True)
        for number in range(6):
            pixels = generator.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "train" / name / f"{number:02d}.png")
    return folder


def in_this_process(command: Sequence[str], *, check: bool, **_: Any) -> subprocess.CompletedProcess[str]:
    """What ``subprocess.run`` does with one of the scripts, without importing PyTorch anew."""
    script = Path(command[1])
    assert script.parent == ROOT
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        code = importlib.import_module(script.stem).main(command[2:])
    assert not (check and code)
    return subprocess.CompletedProcess(command, code, printed.getvalue(), "")


def forked(zygote: Zygote, logs: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """What ``subprocess.run`` does with a launch of processes, as forks; test_scripts.py starts the launcher."""

    def run(command: Sequence[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command[1:3] == ["-m", "torch.distributed.run"]
        at = command.index("--nproc_per_node")
        log = logs / f"log-of-{command[at + 1]}"
        pids = zygote.start_together(int(command[at + 1]), command[at + 4 :], log, script=command[at + 3])
        codes = [zygote.wait(pid) for pid in pids]
        told = [log.with_name(f"{log.name}-{rank}").read_text() for rank in range(len(pids))]
        return subprocess.CompletedProcess(command, max(codes), told[0], "".join(told))

    return run


def peer_in_this_process(command: Sequence[str], torch_home: Path) -> dict[str, Any]:
    """What ``measure_peer`` does, without importing PyTorch anew; test_peers.py starts processes."""
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as printed:
        patch.setenv("TORCH_HOME", str(torch_home))
        assert importlib.import_module(command[2]).main(command[3:]) == 0
    first, last = printed.getvalue().splitlines()
    assert first == answers.MODEL_IS_THERE
    return {"seconds": 1.0} | json.loads(last)


def narrow_report_head(num_classes: int) -> nn.Module:
    """The report's head with 8 and 4 hidden features for its 4096 and 1024."""
    layers = (nn.Linear(NUM_FEATURES, 8), nn.ReLU(), nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, num_classes))
    return nn.Sequential(nn.Flatten(), *layers)


@pytest.fixture
def small(monkeypatch, zygote, tmp_path):
    """Narrow heads, in the runs that a benchmark starts too, no pictures, and no workers, forks of a busy process."""
    shrink(monkeypatch.setattr)
    here = SimpleNamespace(run=in_this_process, DEVNULL=subprocess.DEVNULL, PIPE=subprocess.PIPE)
    for module in (time_to_accuracy, peers):
        monkeypatch.setattr(module, "subprocess", here)
    monkeypatch.setattr(peers, "measure_peer", peer_in_this_process)
    if hasattr(os, "fork"):
        monkeypatch.setattr(scaling, "subprocess", SimpleNamespace(run=forked(zygote, tmp_path)))
    for module in (report_loop, head_step):
        monkeypatch.setattr(module, "report_head", narrow_report_head)
    monkeypatch.setattr(head_step, "COPY_FLOATS", 2**16)
    monkeypatch.setattr("alexnet_skip.evaluation.evaluate.draw_evaluation", lambda *_: None)
    monkeypatch.setattr(report_loop, "NUM_WORKERS", 0)
    for module in (extract_throughput, cv_example, logistic_regression):
        monkeypatch.setattr(module, "NUM_WORKERS", 0)
    precision = torch.get_float32_matmul_precision()
    yield
    torch.set_float32_matmul_precision(precision)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("name", "ratios"),
    [
        ("extract_throughput", ["ratio_report", "ratio_torchvision", "fraction_of_bound"]),
        ("head_step", ["ratio_none", "ratio_conv", "ratio_concat", "fraction_of_bound_none", "bf16_gain_none"]),
        ("finetune_step", ["ratio", "ratio_upper"]),
        ("time_to_accuracy", ["ratio_fast"]),
        ("scaling", ["ratio_two_processes"]),
        ("pca", ["ratio_report", "ratio_sklearn", "ratio_torch"]),
        ("peers", [f"ratio{skip}_{peer}" for skip in ("", "_skip") for peer in ("cv_example", "logistic_regression")]),
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


@pytest.mark.parametrize("num_layers", [1, 3])
def test_the_plain_way_of_fine_tuning_has_the_features_and_the_gradients_of_ours(num_layers):
    backbone = FrozenAlexNet(load_weights("random").state)
    upper = UpperConvolutions(backbone, num_layers).double()
    cut = min(upper.cut, 9)
    layers = plain_layers(backbone, cut).double()
    below = torch.randn(2, 192 if num_layers == 3 else 256, 13, 13, dtype=torch.float64)
    pairs = list(zip(upper(below), plain_upper(layers, below, cut), strict=True))
    for mine, theirs in pairs:
        assert (mine - theirs.flatten(1)).abs().max() <= 1e-5
    for which in (0, 1):
        sum(pair[which].square().sum() for pair in pairs).backward()
    for name, kernel in upper.kernels.items():
        theirs = layers[int(name)].weight.grad
        assert (kernel.grad - theirs).norm() <= 1e-5 * theirs.norm()
    assert layers[3].weight.grad is None
