"""Freed memory is used again, where the C library can be asked for that; disks are found, or refused by name."""

import platform
import re
import subprocess
import sys
from pathlib import Path

import pytest

from alexnet_skip.system import machine
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.machine import keep_freed_memory

COUNT_FAULTS = """
import resource, sys
import numpy as np
from alexnet_skip.system.machine import keep_freed_memory

def step():
    kept = [np.ones(2**22, np.float32) for _ in range(4)]

if sys.argv[1] == "keep":
    assert keep_freed_memory()
step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc gives freed memory back at once")
def test_a_step_that_frees_what_it_took_asks_the_system_for_nothing_the_next_time():
    faults = {}
    for how in ("keep", "give back"):
        done = subprocess.run([sys.executable, "-c", COUNT_FAULTS, how], capture_output=True, text=True, check=True)
        faults[how] = int(done.stdout)
    assert faults["keep"] < 100
    assert faults["give back"] > 1000


def test_other_systems_are_left_alone(monkeypatch):
    def refuse(name):
        raise AssertionError("no C library is to be asked")

    monkeypatch.setattr(machine.ctypes, "CDLL", refuse)
    for platform_name in ("win32", "darwin"):
        monkeypatch.setattr(machine.sys, "platform", platform_name)
        assert not keep_freed_memory()


def test_a_c_library_without_the_call_is_left_alone(monkeypatch):
    monkeypatch.setattr(machine.sys, "platform", "linux")
    monkeypatch.setattr(machine.ctypes, "CDLL", lambda name: object())
    assert not keep_freed_memory()


def test_a_folder_that_is_still_to_be_made_is_on_the_disk_of_the_one_above_it(tmp_path):
    folder = tmp_path / "runs" / "some" / "study"
    assert machine.existing_place(folder) == tmp_path
    assert machine.disk_of(folder) == tmp_path.stat().st_dev
    assert machine.free_disk_bytes(folder) > 0
    assert machine.writable(folder)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("ask", [machine.free_disk_bytes, machine.disk_of, machine.writable])
def test_a_drive_that_is_not_there_is_refused_by_name(monkeypatch, ask):
    """As on Windows, where the parent of a drive is the drive, whether it is there or not."""
    monkeypatch.setattr(Path, "exists", lambda self: False)
    folder = Path("some", "runs")
    with pytest.raises(UserError, match=f"^{re.escape(str(folder))} is on .*, which is not there; connect"):
        ask(folder)
