"""Two machines, for real but for the metal: two network namespaces on one host, joined by a cable of their own."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from tiny_run import ARGUMENTS, outcome

MACHINES = ("alexnet-a", "alexnet-b")
ADDRESSES = ("10.77.0.1", "10.77.0.2")


def ip(*arguments: str) -> bool:
    return subprocess.run(["ip", *arguments], capture_output=True, check=False).returncode == 0


@pytest.fixture
def machines():
    """Two network namespaces that see each other and nothing else."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("ip"):
        pytest.skip("two network namespaces need the superuser of a Linux machine, and iproute2")
    for name in MACHINES:
        ip("netns", "del", name)
        if not ip("netns", "add", name):
            pytest.skip("this machine makes no network namespaces")
    assert ip("link", "add", "cable-a", "netns", MACHINES[0], "type", "veth", "peer", "cable-b", "netns", MACHINES[1])
    for name, cable, address in zip(MACHINES, ("cable-a", "cable-b"), ADDRESSES, strict=True):
        assert ip("-n", name, "addr", "add", f"{address}/24", "dev", cable)
        assert ip("-n", name, "link", "set", cable, "up")
        assert ip("-n", name, "link", "set", "lo", "up")
    yield MACHINES
    for name in MACHINES:
        ip("netns", "del", name)


def train_on(machines, places: list[Path], zygote) -> None:
    """Start the same command on both machines, each with its own folders, and wait for both."""
    command = [*ARGUMENTS, "--name", "run", "--cache-dir", "cache", "--runs-dir", "runs"]
    common = {
        "ACCELERATE_USE_CPU": "1", "MASTER_ADDR": ADDRESSES[0], "MASTER_PORT": "29511", "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "1", "LOCAL_RANK": "0",
    }  # fmt: skip
    pids = []
    for rank, (name, place) in enumerate(zip(machines, places, strict=True)):
        own = {"RANK": str(rank), "GLOO_SOCKET_IFNAME": f"cable-{'ab'[rank]}", "MACHINE": name, "FOLDER": str(place)}
        pids.append(zygote.start(command, place / f"log-{rank}", **common, **own))
    codes = [zygote.wait(pid) for pid in pids]
    assert codes == [0, 0], "\n".join((place / f"log-{rank}").read_text() for rank, place in enumerate(places))


@pytest.mark.parametrize("disk", ["own", pytest.param("shared", marks=pytest.mark.soak)])
def test_two_machines_train_as_one_process_does(machines, whole_run, tmp_path, zygote, disk):
    places = [tmp_path / "a", tmp_path / ("a" if disk == "shared" else "b")]
    for place in places:
        place.mkdir(exist_ok=True)
    train_on(machines, places, zygote)

    one, two = (outcome(place / "runs" / "run")["metrics"] for place in (whole_run, places[0]))
    for a, b in zip(one, two, strict=True):
        # Where the disk is not shared, coordinates are not rounded to fp16 on their way through it.
        assert b["val_loss"] == pytest.approx(a["val_loss"], rel=1e-5 if disk == "shared" else 1e-3)
    assert not (tmp_path / "b" / "runs" / "run").exists(), "only the first machine writes the run"
    expected = sorted(whole_run.glob("cache/*/main*.npy"))
    for place in set(places):
        for path, whole in zip(sorted(place.glob("cache/*/main*.npy")), expected, strict=True):
            assert path.read_bytes() == whole.read_bytes(), "every machine has all features"
