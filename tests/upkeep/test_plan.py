"""Room on disks is judged for all that is put there together."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from alexnet_skip.system import machine
from alexnet_skip.system.console import size
from alexnet_skip.upkeep.plan import DiskNeed, Plan


def needs(mib: int) -> list[DiskNeed]:
    return [
        DiskNeed("disk for the cache", Path("cache"), mib * 2**20, "choose another --cache-dir"),
        DiskNeed("disk for the run", Path("runs"), mib * 2**20, "choose another --runs-dir"),
    ]


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setattr(machine, "free_disk_bytes", lambda folder: 100 * 2**20)
    return Plan(SimpleNamespace())


def test_what_fits_by_itself_and_not_together_is_too_much_on_one_disk(plan, monkeypatch):
    monkeypatch.setattr(machine, "disk_of", lambda folder: 1)
    plan.tell_disks(needs(60))
    (problem,) = plan.problems
    assert problem.startswith("disk for the cache: 60 MiB and disk for the run: 60 MiB are needed, 100 MiB are free on")
    assert problem.endswith("choose another --cache-dir, or choose another --runs-dir")


def test_what_fits_by_itself_fits_on_two_disks(plan, monkeypatch):
    monkeypatch.setattr(machine, "disk_of", lambda folder: 1 + (folder == Path("runs")))
    plan.tell_disks(needs(60))
    assert plan.problems == []
    assert (plan.facts["disk_for_the_run_needed"], plan.facts["disk_for_the_run_free"]) == (60 * 2**20, 100 * 2**20)
    plan.tell_disks(needs(101))
    assert len(plan.problems) == 2


def test_room_is_unknown_where_the_platform_does_not_tell(plan):
    plan.tell_room("memory", 10, None, "do something")
    assert plan.problems == []
    assert "unknown" in plan.rows[0][1]
    assert (size(3 * 2**30), size(5 * 2**20)) == ("3.0 GiB", "5 MiB")
