"""SIGKILL at any moment of extraction, training, checkpointing and publishing: the run goes on to the same end."""

import collections
import math
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from tiny_run import ARGUMENTS, BLOCK_ROWS, TRAIN_IMAGES, outcome
from zygote import Zygote

from alexnet_skip.system.files import read_json

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="these processes are forked, which Windows can't")

BLOCKS = math.ceil(TRAIN_IMAGES / BLOCK_ROWS)
# A checkpoint at every step.
OFTEN = ("--checkpoint-minutes", "1e-9")
# What shows that a phase has begun: kill as soon as it is there.
PHASES = {
    "extracting": "cache/*/progress-*.jsonl",
    "fitting": "cache/*/basis-*.tmp",
    "training": "runs/run/events*",
    "saving": "runs/run/checkpoints/*.tmp",
    "publishing": "runs/run/model",
    "publishing-the-last": "runs/run/last",
}


@pytest.fixture(scope="module")
def whole(whole_run) -> dict[str, Any]:
    """What an uninterrupted run comes to."""
    return outcome(whole_run / "runs" / "run")


def arguments(folder: Path) -> list[str]:
    return [*ARGUMENTS, *OFTEN, "--name", "run", "--cache-dir", f"{folder}/cache", "--runs-dir", f"{folder}/runs"]


def lay_out(whole_run: Path, folder: Path, phase: str) -> None:
    """Lay what the phases before this one have made into the folder's cache."""
    if phase != "extracting":
        left_out = ("basis-*",) if phase == "fitting" else ()
        shutil.copytree(whole_run / "cache", folder / "cache", ignore=shutil.ignore_patterns(*left_out))


def go_on(folder: Path) -> list[str]:
    """What the user types after the interruption: the same once more, until there is a run to go on with."""
    if (folder / "runs" / "run" / "config.json").is_file():
        return ["--resume", "run", "--runs-dir", f"{folder}/runs"]
    shutil.rmtree(folder / "runs", ignore_errors=True)
    return arguments(folder)


def where(folder: Path) -> str:
    """The phase in which a run was killed, from what it left."""
    run = folder / "runs" / "run"
    if (run / "summary.json").is_file():
        return "finished"
    if (run / "model").is_dir():
        return "publishing"
    if list(run.glob("checkpoints/*.tmp")) or list(run.glob("checkpoints/step-*")):
        return "saving" if list(run.glob("checkpoints/*.tmp")) else "training"
    if list(run.glob("events*")):
        return "training"
    return "extracting" if list(folder.glob("cache/*/*")) else "starting"


def kill_and_go_on(
    zygote: Zygote, folder: Path, moment: float | str, then: float | None = None, delay: float = 0.0
) -> list[str]:
    """Kill a run at a moment, once more after ``then`` seconds, and let it finish.

    Args:
        moment: seconds, or a phase, which is given ``delay`` more seconds.

    Returns:
        The phases in which it was killed.
    """
    killed = []
    for limit in (moment, then):
        if limit is None:
            continue
        pid = zygote.start(go_on(folder), folder / "log")
        if isinstance(limit, str):
            deadline = time.monotonic() + 120
            while not list(folder.glob(PHASES[limit])) and time.monotonic() < deadline:
                time.sleep(0.0005)
            time.sleep(delay)
        else:
            time.sleep(limit)
        os.kill(pid, signal.SIGKILL)
        zygote.wait(pid)
        killed.append(where(folder))
    if killed[-1] == "finished":
        return killed
    assert zygote.run(go_on(folder), folder / "log") == 0, (folder / "log").read_text()
    return killed


@pytest.mark.parametrize("phase", PHASES)
def test_a_run_killed_in_any_phase_goes_on_to_the_same_end(zygote, whole_run, whole, tmp_path, phase):
    lay_out(whole_run, tmp_path, phase)
    kill_and_go_on(zygote, tmp_path, phase)
    assert outcome(tmp_path / "runs" / "run") == whole
    assert not list(tmp_path.glob("**/*.lock*"))


def test_a_run_killed_twice_at_random_moments_goes_on_to_the_same_end(zygote, whole_run, whole, tmp_path):
    chance = random.Random(time.time_ns())
    seconds = sum(read_json(whole_run / "runs/run/summary.json")["seconds"].values())
    moments = chance.uniform(0, seconds), chance.uniform(0, seconds)
    kill_and_go_on(zygote, tmp_path, *moments)
    assert outcome(tmp_path / "runs" / "run") == whole, moments


@pytest.mark.soak
def test_soak_sixty_kills_lose_nothing(zygote, whole, tmp_path):
    chance, killed = random.Random(time.time_ns()), collections.Counter()
    for number in range(200):
        folder = tmp_path / str(number)
        folder.mkdir()
        phase, delay = [*PHASES][number % len(PHASES)], chance.choice((0.0, chance.uniform(0, 0.4)))
        killed.update(kill_and_go_on(zygote, folder, phase, delay=delay))
        assert outcome(folder / "runs" / "run") == whole, (phase, delay)
        shutil.rmtree(folder)
        if killed.total() - killed["finished"] >= 60:
            break
    print(f"killed in: {dict(killed)}")
    assert {"extracting", "training", "publishing"} <= set(killed)
    assert killed.total() - killed["finished"] >= 60


def test_two_trainings_on_one_cold_cache_take_turns(zygote, whole, tmp_path):
    pids = []
    for name in ("run", "other"):
        command = [name if a == "run" else a for a in arguments(tmp_path)]
        pids.append(zygote.start(command, tmp_path / f"{name}.log"))
    assert [zygote.wait(pid) for pid in pids] == [0, 0]
    for name in ("run", "other"):
        assert outcome(tmp_path / "runs" / name) == whole
    logs = [(tmp_path / f"{name}.log").read_text() for name in ("run", "other")]
    assert sum(f"shapes-train: extracting {BLOCKS} of {BLOCKS} blocks" in log for log in logs) == 1, logs
    assert sum(f"is being written by process {pid} on" in log for log in logs for pid in pids) == 1, logs


def test_two_processes_do_not_go_on_with_the_same_run(zygote, whole_run, whole, tmp_path):
    lay_out(whole_run, tmp_path, "training")
    pid = zygote.start(arguments(tmp_path), tmp_path / "log")
    while not list(tmp_path.glob("runs/run/checkpoints/*/complete.json")):
        time.sleep(0.001)
    os.kill(pid, signal.SIGSTOP)
    assert zygote.run(go_on(tmp_path), tmp_path / "second.log") == 2
    assert f"runs/run is in use by process {pid} on" in (tmp_path / "second.log").read_text()
    os.kill(pid, signal.SIGCONT)
    assert zygote.wait(pid) == 0
    assert outcome(tmp_path / "runs" / "run") == whole
