"""One writer at a time, and a dead one blocks nobody."""

import json
import os
import socket
import subprocess
import sys
import threading
import time

import pytest

from alexnet_skip.system import locks as module
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.locks import FILE_NAME, folder_lock


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(module, "HEARTBEAT_SECONDS", 0.02)


def held_by(folder, pid: int, host: str) -> None:
    (folder / FILE_NAME).write_text(json.dumps({"pid": pid, "host": host, "token": "x"}))


def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_at_most_one_is_inside_and_everyone_gets_in(tmp_path):
    inside, most, entered = [0], [0], []

    def enter(number):
        with folder_lock(tmp_path, lambda line: None):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            entered.append(number)
            time.sleep(0.005)
            inside[0] -= 1

    threads = [threading.Thread(target=enter, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]
    assert sorted(entered) == list(range(8))
    assert not list(tmp_path.iterdir())


def test_the_lock_of_a_dead_process_is_taken_over_at_once(tmp_path, monkeypatch):
    if os.name != "posix":
        pytest.skip("only here can a process be asked whether it lives")
    held_by(tmp_path, dead_pid(), socket.gethostname())
    with folder_lock(tmp_path, pytest.fail):
        assert json.loads((tmp_path / FILE_NAME).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("content", ["", "{", '{"pid": 1}', None])
def test_the_lock_of_another_machine_or_an_unreadable_one_is_taken_over_when_its_heart_stops(
    tmp_path, monkeypatch, content
):
    monkeypatch.setattr(module, "STALE_SECONDS", 0.3)
    held_by(tmp_path, os.getpid(), "elsewhere")
    if content is not None:
        (tmp_path / FILE_NAME).write_text(content)
    began = time.monotonic()
    with folder_lock(tmp_path, lambda line: None):
        assert time.monotonic() - began > 0.25


def test_a_heart_that_beats_is_respected_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "STALE_SECONDS", 0.3)
    told, stop = [], threading.Event()
    held_by(tmp_path, 4711, "elsewhere")
    beat = threading.Thread(target=module._beat, args=(tmp_path / FILE_NAME, stop))
    beat.start()
    threading.Timer(0.8, lambda: [stop.set(), (tmp_path / FILE_NAME).unlink()]).start()
    began = time.monotonic()
    with folder_lock(tmp_path, told.append):
        assert time.monotonic() - began > 0.6
    beat.join()
    assert told == [f"{tmp_path} is being written by process 4711 on elsewhere: waiting until it has finished"]


def test_who_does_not_wait_is_told_who_is_inside(tmp_path):
    with folder_lock(tmp_path, pytest.fail):
        with (
            pytest.raises(UserError, match=rf"is in use by process {os.getpid()} on .*; wait until"),
            folder_lock(tmp_path, pytest.fail, wait=False),
        ):
            pytest.fail("two are inside")
        assert (tmp_path / FILE_NAME).is_file()


def test_a_disk_without_hard_links_has_the_lock_too(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(module.os, "link", refuse)
    with folder_lock(tmp_path, pytest.fail), pytest.raises(UserError), folder_lock(tmp_path, pytest.fail, wait=False):
        pytest.fail("two are inside")
    assert not list(tmp_path.iterdir())


def test_in_a_folder_that_cannot_be_written_no_lock_is_taken(tmp_path, monkeypatch):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module, "_create", refuse)
    with folder_lock(tmp_path, pytest.fail):
        assert not list(tmp_path.iterdir())
