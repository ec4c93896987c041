"""Processes that do not have the same in hand do not begin."""

import socket

import hypothesis.strategies as st
import pytest
from hypothesis import given
from tiny_run import ARGUMENTS

from alexnet_skip.devices.agreement import find_difference


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.none()), st.integers(1, 5))
def test_equal_records_differ_in_nothing(record, processes):
    assert find_difference([dict(record) for _ in range(processes)]) is None


@given(st.lists(st.integers(0, 2), min_size=2, max_size=5).filter(lambda v: len(set(v)) > 1))
def test_a_difference_names_the_entry_and_every_process_with_its_value(values):
    told = find_difference([{"alike": [1, 2], "the precision": value} for value in values])
    assert told.startswith("the processes differ in the precision: ")
    for value in set(values):
        ranks = ", ".join(str(rank) for rank, other in enumerate(values) if other == value)
        assert f"process {ranks} has {value}" in told


def test_an_entry_that_one_process_lacks_is_a_difference():
    assert "the val images: process 0 has 3; process 1 has null" in find_difference([{"the val images": 3}, {}])


def test_of_long_values_the_error_shows_where_they_part():
    names = [f"class-{number}" for number in range(1000)]
    other = [*names[:700], "Hahn", *names[701:]]
    told = find_difference([{"the classes": names}, {"the classes": other}])
    assert "class-700" in told
    assert "Hahn" in told
    assert len(told) < 250


@pytest.mark.parametrize(
    ("flag", "values", "told"),
    [
        ("--mixed-precision", ("no", "bf16"), 'the head\'s precision: process 0 has "no"; process 1 has "bf16"'),
        ("--limit-train", ("90", "80"), "the number of train images: process 0 has 90; process 1 has 80"),
        ("--seed", ("1", "2"), "--seed: process 0 has 1; process 1 has 2"),
    ],
)
def test_two_processes_that_differ_are_both_refused_before_anything_is_written(zygote, tmp_path, flag, values, told):
    common = ["--cache-dir", tmp_path / "cache", "--runs-dir", tmp_path / "runs"]
    codes, logs = start_two(zygote, tmp_path, [[*ARGUMENTS, *common, flag, value] for value in values])
    assert codes == [2, 2]
    assert all(told in " ".join(log.split()) for log in logs)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/config.json"))


def test_places_may_differ_and_the_run_is_trained(zygote, tmp_path):
    both = [
        [*ARGUMENTS, "--epochs", "2", "--cache-dir", tmp_path / "cache", "--runs-dir", tmp_path / "runs",
         "--data-dir", tmp_path / f"data-{rank}", *quiet]
        for rank, quiet in enumerate(([], ["--quiet"]))
    ]  # fmt: skip
    codes, logs = start_two(zygote, tmp_path, both)
    assert codes == [0, 0], logs


def start_two(zygote, folder, arguments):
    """Exit codes and output of two processes of one launch, each with arguments of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    common = {
        "ACCELERATE_USE_CPU": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }  # fmt: skip
    logs = [folder / f"log-{rank}" for rank in range(2)]
    started = [
        zygote.start(given, log, RANK=str(rank), LOCAL_RANK=str(rank), **common)
        for rank, (given, log) in enumerate(zip(arguments, logs, strict=True))
    ]
    codes = [zygote.wait(pid) for pid in started]
    return codes, [log.read_text() for log in logs]
