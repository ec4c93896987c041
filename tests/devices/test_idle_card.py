"""A card that idles is said, with the commands; where there is no card, or it was left out on purpose, nothing is."""

import re
import subprocess
from pathlib import Path

import pytest

import train
from alexnet_skip.devices import idle_card, launch
from alexnet_skip.devices.idle_card import TorchBuild, advice, find_cards, hidden, runs_on, tell_idle_card
from alexnet_skip.images import dataset
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.system.console import Console
from alexnet_skip.training.session import open_session
from alexnet_skip.upkeep import speed_probe

CARD = "NVIDIA GeForce GTX 1660 SUPER"
# What PyTorch 2.14's wheels are compiled for (RELEASE.md of PyTorch).
CU126 = ("sm_50", "sm_60", "sm_70", "sm_75", "sm_80", "sm_86", "sm_90")
CU130 = ("sm_75", "sm_80", "sm_86", "sm_90", "sm_100", "sm_120", "compute_120")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def no_driver(monkeypatch, tmp_path):
    """A machine without any sign of a card, whatever this one has."""
    monkeypatch.setattr(idle_card.shutil, "which", lambda name: None)
    monkeypatch.setattr(idle_card, "PROC", tmp_path / "no proc")
    for name in ("CUDA_VISIBLE_DEVICES", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)


def nvidia_smi(monkeypatch, stdout, code=0):
    """An nvidia-smi on the PATH that answers so."""
    monkeypatch.setattr(idle_card.shutil, "which", lambda name: name)
    done = subprocess.CompletedProcess([], code, stdout, "")
    monkeypatch.setattr(idle_card.subprocess, "run", lambda command, **_: done)


@pytest.mark.parametrize(
    ("architectures", "capability", "runs"),
    [
        (CU126, (7, 5), True),
        (CU126, (8, 9), True),  # an RTX 40xx runs what is made for 8.6
        (CU126, (12, 0), False),
        (CU126, (3, 7), False),
        (CU130, (7, 5), True),
        (CU130, (6, 1), False),
        (CU130, (12, 1), True),
        (CU130, (13, 0), True),  # PTX is compiled for what comes later
        (("sm_86",), (8, 0), False),
        (("sm_90a",), (9, 0), True),
        (("sm_100a",), (10, 3), False),
        (("sm_100f",), (10, 3), True),
        (("compute_90a",), (12, 0), False),
        ((), (7, 5), True),  # nothing is known: nothing is said
    ],
)
def test_what_runs_on_a_card_follows_the_rules_of_cuda(architectures, capability, runs):
    assert runs_on(architectures, capability) == runs


@pytest.mark.parametrize(
    ("build", "parts"),
    [
        (TorchBuild(None), (CARD, "no CUDA", "write cu130", "cu126")),
        (TorchBuild("13.2"), (CARD, "CUDA 13.2", "from 580 on", "cu126")),
        (TorchBuild("13.0", CU130, (6, 1), "GTX 1080"), ("GTX 1080", "6.1", "sm_75", "cu126")),
        (TorchBuild("12.6", CU126, (12, 0), "RTX 5090"), ("RTX 5090", "12.0", "sm_90", "cu130")),
    ],
)
def test_a_card_that_idles_is_named_with_the_reason_and_a_command(build, parts):
    told, index = advice(build, [CARD])
    assert index == parts[-1]
    assert all(part in told for part in parts[:-1])


@pytest.mark.parametrize("build", [TorchBuild("12.6", CU126, (7, 5), CARD), TorchBuild("13.0", CU130, (12, 0), CARD)])
def test_of_a_card_that_is_used_nothing_is_said(build):
    assert advice(build, []) is None


def test_the_command_asks_for_the_versions_that_the_project_takes():
    wanted = re.findall(r'"(torch|torchvision)>=[\d.]+,(<[\d.]+)"', (ROOT / "pyproject.toml").read_text("utf-8"))
    assert all(f'"{name}{bound}"' in idle_card.commands("cu126")[1].split() for name, bound in wanted)
    assert len(wanted) == 2


def test_cards_are_found_by_nvidia_smi(no_driver, monkeypatch):
    nvidia_smi(monkeypatch, f"GPU 0: {CARD} (UUID: GPU-1)\nGPU 1: Tesla T4 (UUID: GPU-2)\n")
    assert find_cards() == [CARD, "Tesla T4"]
    nvidia_smi(monkeypatch, "something else")
    assert find_cards() == ["an NVIDIA card"]
    nvidia_smi(monkeypatch, "No devices were found", 6)
    assert find_cards() == [], "the driver's program alone is no card"


def test_cards_are_found_by_what_the_driver_shows_in_proc(no_driver, monkeypatch, tmp_path):
    (tmp_path / "0000_01_00.0").mkdir()
    (tmp_path / "0000_01_00.0" / "information").write_text(f"Model: \t\t {CARD}\nIRQ: 1\n", encoding="utf-8")
    monkeypatch.setattr(idle_card, "PROC", tmp_path)
    assert find_cards() == [CARD]
    nvidia_smi(monkeypatch, "Driver/library version mismatch", 18)
    assert find_cards() == [CARD], "a driver that waits for a restart"


def test_cards_are_found_by_windows_library(no_driver, monkeypatch, tmp_path):
    monkeypatch.setattr(idle_card.platform, "system", lambda: "Windows")
    monkeypatch.setenv("SYSTEMROOT", str(tmp_path))
    assert find_cards() == []
    (tmp_path / "System32").mkdir()
    (tmp_path / "System32" / "nvcuda.dll").touch()
    assert find_cards() == ["an NVIDIA card"]


@pytest.mark.parametrize(
    ("environment", "is_hidden"),
    [({}, False), ({"CUDA_VISIBLE_DEVICES": ""}, True), ({"CUDA_VISIBLE_DEVICES": "-1"}, True),
     ({"CUDA_VISIBLE_DEVICES": "0"}, False), ({"ACCELERATE_USE_CPU": "true"}, True),
     ({"ACCELERATE_USE_CPU": "0"}, False)],
)  # fmt: skip
def test_a_card_that_was_left_out_on_purpose_is_hidden(environment, is_hidden):
    assert hidden(environment) == is_hidden


def test_without_a_card_nothing_is_said(no_driver, monkeypatch, capsys):
    monkeypatch.setattr(idle_card, "installed_torch", lambda index: TorchBuild(None))
    tell_idle_card(Console())
    assert capsys.readouterr().err == ""


TINY = ["--dataset", "shapes", "--weights", "random", "--limit-train", "100", "--limit-test", "20"]


def test_training_and_its_dry_run_tell_of_a_card_that_idles(no_driver, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dataset, "SHAPES_TRAIN", 200)
    monkeypatch.setattr(dataset, "SHAPES_TEST", 50)
    for rate in ("extraction_rate", "training_rate", "multiplication_rate"):
        monkeypatch.setattr(speed_probe, rate, lambda *_: 1e3)
    monkeypatch.setattr(idle_card, "installed_torch", lambda index: TorchBuild(None))
    nvidia_smi(monkeypatch, f"GPU 0: {CARD} (UUID: GPU-1)\n")
    for start in (lambda: train.main([*TINY, "--dry-run"]), lambda: open_session(parse_train(TINY))):
        start()
        told = capsys.readouterr().err
        assert f"{CARD} is here, but the installed PyTorch has no CUDA" in " ".join(told.replace("│", " ").split())
        assert all(f"  {command}" in told.splitlines() for command in idle_card.commands("cu126")), "each on one line"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert train.main([*TINY, "--dry-run"]) == 0
    assert CARD not in capsys.readouterr().err


def test_a_card_that_pytorch_is_not_made_for_is_not_used(monkeypatch):
    monkeypatch.setattr(launch.torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(launch, "installed_torch", lambda index: TorchBuild("12.6", CU126, (12, 0), "RTX 5090"))
    accelerator, _ = launch.start("no")
    assert accelerator.device.type == "cpu"


@pytest.mark.parametrize("cuda", ["11.8", "12.6"])
def test_of_a_pytorch_for_the_oldest_drivers_nothing_else_is_to_be_installed(no_driver, monkeypatch, capsys, cuda):
    monkeypatch.setattr(idle_card, "installed_torch", lambda index: TorchBuild(cuda))
    nvidia_smi(monkeypatch, f"GPU 0: {CARD} (UUID: GPU-1)\n")
    tell_idle_card(Console())
    told = " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert f"CUDA {cuda}, can't reach it" in told
    assert "Update it from nvidia.com/drivers. " in told
    assert "install" not in told
