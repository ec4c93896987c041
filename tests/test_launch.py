"""The start of a script: what the launcher set, and what is made of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_skip.processors import available_cpus

ROOT = Path(__file__).resolve().parent.parent
CODE = "import torch; from alexnet_skip import launch; launch.start('no'); print(torch.get_num_threads())"


def threads(**environment: str) -> int:
    """Threads that torch has in a fresh process after the start."""
    clean = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    command = [sys.executable, "-c", CODE]
    done = subprocess.run(command, cwd=ROOT, env=clean | environment, capture_output=True, text=True, check=True)
    return int(done.stdout.splitlines()[-1])


def test_all_processors_are_used_although_accelerate_launch_allows_one_thread():
    assert threads(OMP_NUM_THREADS="1") == available_cpus()


def test_a_number_of_threads_that_the_user_chose_is_kept():
    assert threads(OMP_NUM_THREADS="3") == 3


@pytest.mark.parametrize(("processes", "share"), [("1", 1), ("2", 2), ("1000", None)])
def test_processes_of_one_machine_share_its_processors(monkeypatch, processes, share):
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)
    alone = available_cpus()
    monkeypatch.setenv("LOCAL_WORLD_SIZE", processes)
    assert available_cpus() == (max(1, alone // share) if share else 1)
