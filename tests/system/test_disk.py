"""Room on the disk is counted as du counts it."""

import os
import shutil
import subprocess

import pytest

from alexnet_skip.system.disk import disk_usage


def test_a_file_under_two_names_is_counted_once_and_is_free_only_when_both_go(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "shared").write_bytes(b"x" * 300_000)
    os.link(tmp_path / "a" / "shared", tmp_path / "b" / "shared")
    (tmp_path / "b" / "own").write_bytes(b"y" * 50_000)
    one, other, both = disk_usage([tmp_path / "a"]), disk_usage([tmp_path / "b"]), disk_usage([tmp_path])
    assert one.own_bytes == 0
    assert other.num_bytes - other.own_bytes == one.num_bytes >= 300_000
    assert both.num_bytes == both.own_bytes == other.num_bytes == disk_usage([tmp_path / "b", tmp_path / "a"]).own_bytes


@pytest.mark.skipif(shutil.which("du") is None, reason="du is POSIX's")
def test_it_is_what_du_says_but_for_the_folders_themselves(tmp_path, rng):
    for number in range(20):
        (tmp_path / f"{number}").write_bytes(rng.bytes(int(rng.integers(1, 100_000))))
    os.link(tmp_path / "1", tmp_path / "again")
    said = int(subprocess.run(["du", "-sk", tmp_path], capture_output=True, check=True).stdout.split()[0]) * 1024
    own = tmp_path.stat().st_blocks * 512
    assert disk_usage([tmp_path]).num_bytes == pytest.approx(said - own, abs=1024)


def test_a_folder_that_is_gone_takes_nothing(tmp_path):
    assert disk_usage([tmp_path / "gone"]).num_bytes == 0
