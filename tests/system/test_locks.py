"""One writer at a time, and a dead one blocks nobody: not in another container, and not on another machine."""

import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from filelock import FileLock

from alexnet_skip.system import heartbeat, locks
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.heartbeat import RECORD_NAME
from alexnet_skip.system.locks import GUARD_NAME, folder_lock, open_for_writing
from alexnet_skip.system.machine import machine_id

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(heartbeat, "POLL_SECONDS", 0.01)
    monkeypatch.setattr(heartbeat, "HEARTBEAT_SECONDS", 0.02)


@pytest.fixture
def without_guard(monkeypatch):
    """A disk on which the system has no locks."""

    def refuse(*_, **__):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(FileLock, "acquire", refuse)


def held_by(folder, machine: str, *, guarded: bool = True) -> None:
    owner = {"pid": 4711, "host": socket.gethostname(), "token": "x", "machine": machine, "guarded": guarded}
    (folder / RECORD_NAME).write_text(json.dumps(owner))


def left_in(folder) -> list[str]:
    """Nothing at all once the lock is given free, but on Windows, where a file that another has open may stay."""
    found = [path.name for path in folder.iterdir()]
    held = os.name == "nt" or RECORD_NAME in found
    return [name for name in found if name != GUARD_NAME or not held]


@pytest.mark.parametrize("guard", [True, False], ids=["by the system's lock", "by the record alone"])
def test_at_most_one_is_inside_and_everyone_gets_in(tmp_path, request, guard):
    if not guard:
        request.getfixturevalue("without_guard")
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
    assert not left_in(tmp_path)


def test_who_waits_for_a_folder_that_is_removed_makes_it_again_and_holds_it(tmp_path):
    folder, waiting, entered = tmp_path / "entry", threading.Event(), []

    def extract():
        with open_for_writing(folder, lambda line: waiting.set()):
            with pytest.raises(UserError, match="is in use by"), folder_lock(folder, print, wait=False):
                pass
            entered.append(left_in(folder))

    folder.mkdir()
    thread = threading.Thread(target=extract)
    with folder_lock(folder, print):
        thread.start()
        assert waiting.wait(20)
        shutil.rmtree(folder, ignore_errors=os.name == "nt")
    thread.join(20)
    assert entered == [[RECORD_NAME]]
    assert not left_in(folder)


HOLD = """
import sys, time
from pathlib import Path
from alexnet_skip.system.locks import folder_lock
with folder_lock(Path(sys.argv[1]), print):
    print("inside", flush=True)
    time.sleep(60)
"""


def hold(folder, *prefix: str) -> subprocess.Popen:
    """Another process, inside the lock."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", HOLD, str(folder)], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "inside\n"
    return process


def test_the_lock_of_a_process_that_was_killed_is_taken_over_at_once(tmp_path):
    with hold(tmp_path) as process:
        with pytest.raises(UserError, match=r"is in use by process \d+ on"), folder_lock(tmp_path, print, wait=False):
            pytest.fail("two are inside")
        process.kill()
        process.wait()
        assert (tmp_path / RECORD_NAME).is_file()
        began = time.monotonic()
        with folder_lock(tmp_path, print, wait=False):
            assert json.loads((tmp_path / RECORD_NAME).read_text())["pid"] == os.getpid()
    assert time.monotonic() - began < 5
    assert not left_in(tmp_path)


def test_a_holder_in_another_container_with_the_same_host_name_lives(tmp_path):
    """It has a namespace of processes of its own: its number there is nobody's, or another's, here."""
    unshare = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    if not shutil.which("unshare") or subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this machine gives no namespaces of processes")
    with hold(tmp_path, *unshare) as process:
        assert json.loads((tmp_path / RECORD_NAME).read_text())["pid"] < 10
        with pytest.raises(UserError, match="is in use by process"), folder_lock(tmp_path, print, wait=False):
            pytest.fail("two are inside")
        process.kill()


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize(
    "content",
    [None, "", "{", '{"pid": 1}', '{"pid": 1, "host": "elsewhere", "token": "of a version before"}'],
)
def test_what_another_machine_or_nobody_owns_is_taken_over_when_its_heart_has_stopped(
    tmp_path, monkeypatch, content, wait
):
    monkeypatch.setattr(heartbeat, "STALE_SECONDS", 0.2)
    held_by(tmp_path, "another machine")
    if content is not None:
        (tmp_path / RECORD_NAME).write_text(content)
    began = time.monotonic()
    with folder_lock(tmp_path, lambda line: None, wait=wait):
        assert time.monotonic() - began > 0.15


@pytest.mark.parametrize(
    ("machine", "guarded", "here"),
    [("this", True, ""), ("this", False, "this"), ("", True, "")],
    ids=["no name here", "it had no lock of the system", "nobody knows which machine"],
)
def test_an_owner_is_only_known_to_be_dead_where_the_systems_lock_would_be_its(
    tmp_path, monkeypatch, machine, guarded, here
):
    monkeypatch.setattr(heartbeat, "STALE_SECONDS", 0.2)
    monkeypatch.setattr(locks, "machine_id", lambda: here)
    held_by(tmp_path, machine, guarded=guarded)
    began = time.monotonic()
    with folder_lock(tmp_path, lambda line: None):
        assert time.monotonic() - began > 0.15


def test_without_the_systems_lock_here_this_machines_owners_are_watched_too(tmp_path, monkeypatch, without_guard):
    monkeypatch.setattr(heartbeat, "STALE_SECONDS", 0.2)
    held_by(tmp_path, machine_id())
    began = time.monotonic()
    with folder_lock(tmp_path, lambda line: None):
        assert time.monotonic() - began > 0.15


@pytest.mark.parametrize("wait", [True, False])
def test_a_heart_that_beats_is_respected_and_named(tmp_path, monkeypatch, wait):
    monkeypatch.setattr(heartbeat, "STALE_SECONDS", 0.3)
    told, stop = [], threading.Event()
    held_by(tmp_path, "another machine")
    beat = threading.Thread(target=heartbeat._beat, args=(tmp_path / RECORD_NAME, stop))
    beat.start()
    end = threading.Timer(0.8, lambda: [stop.set(), beat.join(), (tmp_path / RECORD_NAME).unlink()])
    end.start()
    began = time.monotonic()
    if wait:
        with folder_lock(tmp_path, told.append):
            assert time.monotonic() - began > 0.6
        owner = f"process 4711 on {socket.gethostname()}"
        assert told == [f"{tmp_path} is being written by {owner}: waiting until it has finished"]
    else:
        with pytest.raises(UserError, match="in use by process 4711"), folder_lock(tmp_path, told.append, wait=False):
            pytest.fail("two are inside")
        assert time.monotonic() - began < 0.6
    end.join()


def test_who_does_not_wait_is_told_who_is_inside(tmp_path):
    with folder_lock(tmp_path, pytest.fail):
        with (
            pytest.raises(UserError, match=rf"is in use by process {os.getpid()} on .*; wait until"),
            folder_lock(tmp_path, pytest.fail, wait=False),
        ):
            pytest.fail("two are inside")
        assert (tmp_path / RECORD_NAME).is_file()


def test_the_lock_is_given_free_whatever_happens_inside(tmp_path):
    with pytest.raises(ZeroDivisionError), folder_lock(tmp_path, pytest.fail):
        raise ZeroDivisionError
    with folder_lock(tmp_path, pytest.fail, wait=False):
        assert left_in(tmp_path) == [RECORD_NAME]
    assert not left_in(tmp_path)


def test_a_disk_without_hard_links_has_the_lock_too(tmp_path, monkeypatch, without_guard):
    def refuse(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(heartbeat.os, "link", refuse)
    held_by(tmp_path, "another machine")
    threading.Timer(0.3, (tmp_path / RECORD_NAME).unlink).start()
    with folder_lock(tmp_path, lambda line: None):
        assert json.loads((tmp_path / RECORD_NAME).read_text())["pid"] == os.getpid()
    assert not left_in(tmp_path)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_in_a_folder_that_cannot_be_written_no_lock_is_taken(tmp_path, monkeypatch, number):
    def refuse(*_, **__):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(FileLock, "acquire", refuse)
    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(heartbeat, "REFUSED_SECONDS", 0.05)
    with folder_lock(tmp_path, pytest.fail):
        assert not left_in(tmp_path)


class Refusals:
    """A call that is refused a few times, as Windows does while another program has the file open."""

    def __init__(self, call, times: int = 3) -> None:
        self.call, self.left = call, times

    def __call__(self, *arguments, **options):
        if self.left > 0:
            self.left -= 1
            raise PermissionError(errno.EACCES, "Permission denied")
        return self.call(*arguments, **options)


@pytest.mark.parametrize("refused", ["draft", "link", "unlink", "guard"])
def test_a_refusal_for_a_moment_is_no_reason_to_go_without_the_lock(tmp_path, monkeypatch, refused):
    place, name = {"draft": (Path, "write_text"), "link": (os, "link"), "unlink": (Path, "unlink")}.get(
        refused, (FileLock, "acquire")
    )
    refusals = Refusals(getattr(place, name), times=1 if refused in ("guard", "link") else 3)
    monkeypatch.setattr(place, name, lambda *a, **k: refusals(*a, **k))
    with folder_lock(tmp_path, pytest.fail):
        assert left_in(tmp_path) == [RECORD_NAME]
        with pytest.raises(UserError), folder_lock(tmp_path, lambda line: None, wait=False):
            pytest.fail("two are inside")
    assert refusals.left == 0
    assert not left_in(tmp_path)
