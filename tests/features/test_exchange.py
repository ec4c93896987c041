"""Machines that do not all share a disk: each feature is extracted once in all, and is on every disk in the end."""

import errno
import json
import os
import shutil
import socket
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny_run import ARGUMENTS, BLOCK_ROWS

from alexnet_skip.features import exchange
from alexnet_skip.features.cache import ARRAYS
from alexnet_skip.features.exchange import divide

PIECES = st.sets(st.tuples(st.integers(0, 6), st.sampled_from(["main", "tap"])))


def by_block(pieces) -> dict[int, list[str]]:
    return {block: sorted(name for b, name in pieces if b == block) for block in {block for block, _ in pieces}}


@given(lacking=st.lists(PIECES, min_size=1, max_size=4), processes=st.data())
def test_what_no_disk_has_is_extracted_once_and_everything_lacking_is_sent_by_one_that_has_it(lacking, processes):
    counts = [processes.draw(st.integers(1, 3)) for _ in lacking]
    disks = [disk for disk, count in enumerate(counts) for _ in range(count)]
    # Those of a disk each report the blocks that they have looked at.
    reports = [
        by_block({piece for piece in lacking[disk] if piece[0] % counts[disk] == place})
        for disk, count in enumerate(counts)
        for place in range(count)
    ]
    division = divide(reports, disks)
    assert division.lacking == lacking
    extracted = [
        (block, name, disks[p])
        for p, blocks in enumerate(division.extract)
        for block, names in blocks.items()
        for name in names
    ]
    assert sorted((block, name) for block, name, _ in extracted) == sorted(set.intersection(*lacking))
    has = [{(b, n) for b, n, d in extracted if d == disk} for disk in range(len(lacking))]
    assert set(division.send) == set.union(*lacking)
    for piece, disk in division.send.items():
        assert piece in has[disk] or piece not in lacking[disk]
    shares = [len(blocks) for blocks in division.extract]
    assert max(shares) - min(shares) <= 1


def test_a_disk_that_can_not_be_written_is_each_machines_own(tmp_path, monkeypatch):
    """And a system that says so of a file that is not there, as Linux does where a disk is read-only."""

    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    for name in ("mkdir", "touch", "unlink"):
        monkeypatch.setattr(Path, name, refuse)
    monkeypatch.setattr(exchange, "broadcast_object_list", lambda found: found)
    monkeypatch.setattr(exchange, "gather_object", lambda found: [*found, 1])
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "1")
    first_of_two = SimpleNamespace(process_index=0, num_processes=2, wait_for_everyone=lambda: None)
    crew = exchange.crew_of(tmp_path, first_of_two)
    assert crew == exchange.Crew(0, 1, 0, (0, 1))
    assert not crew.shared


def start_on(zygote, places: list[Path]) -> list[int]:
    """The same run by one process on each of several machines, each with the disk that is its place."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    pids = [
        zygote.start(
            [*ARGUMENTS, "--name", "run", "--cache-dir", f"{place}/cache", "--runs-dir", f"{places[0]}/runs"],
            place / f"log-{rank}", RANK=str(rank), LOCAL_RANK="0", WORLD_SIZE=str(len(places)), LOCAL_WORLD_SIZE="1",
            MASTER_ADDR="127.0.0.1", MASTER_PORT=port, ACCELERATE_USE_CPU="1",
        )
        for rank, place in enumerate(places)
    ]  # fmt: skip
    return [zygote.wait(pid) for pid in pids]


def logs(places: list[Path]) -> str:
    return "\n".join(log.read_text() for place in places for log in place.glob("log-*"))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="these processes are forked, which Windows can't")
def test_a_machine_takes_what_another_disk_has_and_extracts_only_its_part(zygote, whole_run, tmp_path):
    first, second = places = [tmp_path / name for name in ("first", "second")]
    for place in places:
        place.mkdir()
    (entry,) = (path for path in (whole_run / "cache").iterdir() if path.is_dir())
    blocks = len(json.loads((entry / "manifest.json").read_text())["crc32"]["main"])
    assert blocks > 2

    # The disk of the second and third machine has two blocks already. The first bears a mark: it must come to the first
    # machine, not be extracted again.
    shutil.copytree(entry, second / "cache" / entry.name, ignore=shutil.ignore_patterns("basis-*"))
    manifest_path = second / "cache" / entry.name / "manifest.json"
    manifest = json.loads(manifest_path.read_text())
    array = np.load(second / "cache" / entry.name / "main.npy", mmap_mode="r+")
    array[:BLOCK_ROWS, 0] = 7
    array.flush()
    manifest["crc32"]["main"][0] = zlib.crc32(np.ascontiguousarray(array[:BLOCK_ROWS]).data)
    manifest["crc32"]["main"][2:] = [0] * (blocks - 2)
    manifest_path.write_text(json.dumps(manifest))
    del array

    assert start_on(zygote, [first, second, second]) == [0, 0, 0], logs([first, second])
    both = [sorted((place / "cache" / entry.name).iterdir()) for place in (first, second)]
    assert len(both[0]) == len(ARRAYS) + 1, "every array, and the manifest"
    assert not list(tmp_path.glob("*/cache/.seen-*"))
    for a, b in zip(*both, strict=True):
        assert (a.name, a.read_bytes()) == (b.name, b.read_bytes())
    whole, shared = (np.load(place / "cache" / entry.name / "main.npy") for place in (whole_run, first))
    assert (shared[:BLOCK_ROWS, 0] == 7).all()
    shared[:BLOCK_ROWS, 0] = whole[:BLOCK_ROWS, 0]
    np.testing.assert_array_equal(shared, whole)
