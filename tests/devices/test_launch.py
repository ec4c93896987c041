"""The start of a script: what the launcher set, and what is made of it."""

from datetime import timedelta
from types import SimpleNamespace

import pytest
import torch

from alexnet_skip.devices import launch
from alexnet_skip.devices.idle_card import TorchBuild
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.machine import available_cpus


@pytest.fixture
def threads(monkeypatch):
    """Threads that torch has after the start, where OMP_NUM_THREADS was set so, with so many processors to take."""
    before = torch.get_num_threads()

    def started(set_to: str | None, cpus: int, launcher: str = "") -> int:
        for name in ("ACCELERATE_MIXED_PRECISION", "WORLD_SIZE"):
            monkeypatch.delenv(name, raising=False)
        if launcher:
            monkeypatch.setenv(launcher, "1" if launcher == "WORLD_SIZE" else "no")
        torch.set_num_threads(int(set_to or 1))  # as torch itself does where the variable is set
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if set_to is not None:
            monkeypatch.setenv("OMP_NUM_THREADS", set_to)
        monkeypatch.setattr(launch, "available_cpus", lambda: cpus)
        launch.start("no")
        return torch.get_num_threads()

    yield started
    torch.set_num_threads(before)


@pytest.mark.parametrize("launcher", ["ACCELERATE_MIXED_PRECISION", "WORLD_SIZE"])
def test_all_processors_are_used_although_launchers_allow_one_thread(threads, launcher):
    assert threads("1", cpus=3, launcher=launcher) == 3


def test_with_a_card_too_since_the_basis_is_fitted_beside_it(threads, monkeypatch):
    cuda = SimpleNamespace(device=torch.device("cuda"), num_processes=1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(launch, "installed_torch", lambda index: TorchBuild("12.6"))
    monkeypatch.setattr(launch, "describe", lambda device: None)
    monkeypatch.setattr(launch, "choose_precision", lambda *_, **__: None)
    monkeypatch.setattr(launch, "_accelerator", lambda *_: cuda)
    monkeypatch.setattr(launch, "set_products", lambda kind: None)
    assert threads("1", cpus=3, launcher="ACCELERATE_MIXED_PRECISION") == 3


def test_a_number_of_threads_that_the_user_chose_is_kept(threads):
    assert threads("2", cpus=3, launcher="ACCELERATE_MIXED_PRECISION") == 2
    assert threads("2", cpus=3) == 2
    assert threads("1", cpus=3) == 1
    assert threads(None, cpus=3) == 3


@pytest.mark.parametrize(("processes", "share"), [("1", 1), ("2", 2), ("1000", None)])
def test_processes_of_one_machine_share_its_processors(monkeypatch, processes, share):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone = available_cpus()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert available_cpus() == (max(1, alone // share) if share else 1)


@pytest.mark.parametrize("value", ["", "many", "0", "-2"])
def test_a_number_of_processes_that_is_none_is_one(monkeypatch, value):
    """Commands that launch nothing read images too."""
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone = available_cpus()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", value)
    assert available_cpus() == alone


def test_processes_wait_for_each_other_as_long_as_a_slow_download_takes(monkeypatch):
    asked = {}

    def refuse(*_, **options):
        asked.update(options)
        raise ValueError("no second process")

    monkeypatch.setattr(torch.distributed, "init_process_group", refuse)
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # or Accelerate warns that it sets it
    launcher = {
        "ACCELERATE_USE_CPU": "1",
        "WORLD_SIZE": "2",
        "RANK": "0",
        "LOCAL_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
    }
    for name, value in launcher.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match="no second process"):
        launch.start("no")
    assert asked["timeout"] > timedelta(hours=1)


def test_more_processes_than_cards_are_refused_by_name(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(launch, "installed_torch", lambda index: TorchBuild("12.6"))
    for name, value in {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "RANK": "2", "LOCAL_RANK": "2"}.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=r"^LOCAL_RANK is 2, but this process sees 2 GPU\(s\), .*; launch 2 on it"):
        launch.start("no")


def test_what_is_judged_on_a_card_is_judged_without_tf32(monkeypatch):
    def started(_):
        torch.set_float32_matmul_precision("high")  # as set_products does for a card
        return SimpleNamespace(device=torch.device("cuda"), num_processes=1, is_main_process=True), None

    before = torch.get_float32_matmul_precision()
    monkeypatch.setattr(launch, "start", started)
    try:
        launch.start_job(SimpleNamespace(quiet=True, json=False))
        assert torch.get_float32_matmul_precision() == "highest"
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.parametrize(("kind", "products", "convolutions"), [("cpu", "medium", True), ("cuda", "high", False)])
def test_convolutions_that_learn_do_so_in_true_fp32_on_cards_too(kind, products, convolutions):
    before = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = True  # torch's own setting
    try:
        launch.set_products(kind)
        assert torch.get_float32_matmul_precision() == products
        assert torch.backends.cudnn.allow_tf32 == convolutions
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.backends.cudnn.allow_tf32 = before[1]
