"""The start of a script: what the launcher set, and what is made of it."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from alexnet_skip.devices import launch
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.machine import available_cpus

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import torch
from alexnet_skip.devices import launch
launch.available_cpus = lambda: {cpus}
launch.start("no")
print(torch.get_num_threads())
"""


def threads(cpus: int, **environment: str) -> int:
    """Threads that torch has in a fresh process after the start, with so many processors for the taking."""
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", CODE.format(cpus=cpus)]
    done = subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def test_all_processors_are_used_although_accelerate_launch_allows_one_thread():
    assert threads(2, OMP_NUM_THREADS="1") == 2
    assert threads(2) == 2


def test_a_number_of_threads_that_the_user_chose_is_kept():
    if os.cpu_count() == 1:
        pytest.skip("a machine with one processor has no number of threads to choose")
    assert threads(1, OMP_NUM_THREADS="2") == 2


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
