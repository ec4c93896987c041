"""Processes that do not have the same in hand do not begin."""

import shutil
import socket
from types import SimpleNamespace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from made_runs import change, make_images
from tiny_run import ARGUMENTS, copy_features

from alexnet_skip.devices import agreement
from alexnet_skip.devices.agreement import find_difference, in_common, on_main_process
from alexnet_skip.images.dataset import Dataset, load_dataset
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.system.errors import UserError


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


def test_what_the_main_process_finds_or_refuses_every_other_one_is_told(monkeypatch):
    """Or they would begin to train, and wait for it forever."""
    main, other = (SimpleNamespace(is_main_process=is_main) for is_main in (True, False))

    def refuse():
        raise UserError("no room")

    for work in (lambda: "found", refuse):
        sent = []
        monkeypatch.setattr(agreement, "broadcast_object_list", lambda found, sent=sent: sent.append(found) or found)
        outcomes = []
        for process, mine in ((main, work), (other, lambda: pytest.fail("only the main process looks"))):
            try:
                outcomes.append(on_main_process(process, mine))
            except UserError as error:
                outcomes.append(str(error))
            monkeypatch.setattr(agreement, "broadcast_object_list", lambda _, sent=sent: sent[0])
        assert outcomes == [["found"] * 2, ["no room"] * 2][work is refuse]


@pytest.mark.parametrize(
    ("flag", "values", "told"),
    [
        ("--mixed-precision", ("no", "bf16"), 'the head\'s precision: process 0 has "no"; process 1 has "bf16"'),
        ("--limit-train", ("40", "30"), "the number of train images: process 0 has 40; process 1 has 30"),
        ("--seed", ("1", "2"), "--seed: process 0 has 1; process 1 has 2"),
    ],
)
def test_two_processes_that_differ_are_both_refused_before_anything_is_written(zygote, tmp_path, flag, values, told):
    common = ["--cache-dir", tmp_path / "cache", "--runs-dir", tmp_path / "runs"]
    codes, logs = start_two(zygote, tmp_path, [[*ARGUMENTS, *common, flag, value] for value in values])
    assert codes == [2, 2]
    assert all(told in " ".join(log.split()) for log in logs)
    assert not (tmp_path / "runs").exists() or not list((tmp_path / "runs").glob("*/config.json"))


def test_places_may_differ_and_the_run_is_trained(zygote, whole_run, tmp_path):
    copy_features(whole_run, tmp_path)
    both = [
        [*ARGUMENTS, "--epochs", "2", "--cache-dir", tmp_path / "cache", "--runs-dir", tmp_path / "runs",
         "--data-dir", tmp_path / f"data-{rank}", *quiet]
        for rank, quiet in enumerate(([], ["--quiet"]))
    ]  # fmt: skip
    codes, logs = start_two(zygote, tmp_path, both)
    assert codes == [0, 0], logs


@pytest.fixture(scope="module")
def places(zygote, tmp_path_factory):
    """Images ``two``, ``permuted/two`` with the class folders exchanged, and the run ``mine`` of the first."""
    folder = tmp_path_factory.mktemp("agreement")
    make_images(folder / "two", 0)
    for split in ("train", "test"):
        for name, source in (("cat", "dog"), ("dog", "cat")):
            shutil.copytree(folder / "two" / split / source, folder / "permuted" / "two" / split / name)
    asked = [*ARGUMENTS, "--epochs", "2", "--dataset", folder / "two", "--name", "mine", "--runs-dir", folder / "runs"]
    assert zygote.run([*asked, "--cache-dir", folder / "cache"], folder / "log") == 0
    return folder


@pytest.mark.parametrize("script", ["train", "evaluate", "embed"])
def test_two_processes_whose_class_folders_are_permuted_are_both_refused(zygote, places, tmp_path, script):
    """The same names, the same numbers of the same files: only their content tells."""
    before = contents(places / "runs")
    own = [*ARGUMENTS, "--name", "new", "--cache-dir", tmp_path / "cache"] if script == "train" else ["--run", "mine"]
    images = (places / "two", places / "permuted" / "two")
    both = [[*own, "--runs-dir", places / "runs", "--dataset", place] for place in images]
    codes, logs = start_two(zygote, tmp_path, both, script)
    assert codes == [2, 2], logs
    digests = [load_dataset(str(place)).splits["train"].digest for place in images]
    told = f'the train images (SHA-256): process 0 has "{digests[0][:20]}'
    for log in logs:
        assert told in " ".join(log.split())
        assert f'process 1 has "{digests[1][:20]}' in log
        assert "Traceback" not in log
    assert contents(places / "runs") == before


def test_processes_that_judge_another_model_or_are_asked_otherwise_are_refused(zygote, places, tmp_path):
    shutil.copytree(places / "runs", tmp_path / "runs")
    change(tmp_path / "runs" / "mine" / "model", "trained.head.fc2.weight")
    here = ["--run", "mine", "--runs-dir", places / "runs"]
    there = ["--run", "mine", "--runs-dir", tmp_path / "runs"]
    for number, (script, other, told) in enumerate([
        ("evaluate", there, "the model best of mine (SHA-256): process 0 has "),
        ("evaluate", [*here, "--tta"], "--tta: process 0 has false; process 1 has true"),
        ("embed", [*here, "--layer", "logits"], '--layer: process 0 has "features"; process 1 has "logits"'),
    ]):  # fmt: skip
        (tmp_path / str(number)).mkdir()
        codes, logs = start_two(zygote, tmp_path / str(number), [here, other], script)
        assert codes == [2, 2], logs
        assert all(told in " ".join(log.split()) for log in logs)


def test_versions_and_the_very_code_are_among_what_is_compared(monkeypatch):
    dataset = Dataset("a", "a", ("cat", "dog"), {})
    mine = in_common(EvaluateSettings(), dataset)
    assert mine["the version of torch"] == torch.__version__
    monkeypatch.setattr(agreement, "code_digest", lambda: "other code")
    told = find_difference([mine, in_common(EvaluateSettings(), dataset)])
    assert told.startswith('the processes differ in the code of alexnet_skip (SHA-256): process 0 has "')
    assert told.endswith('process 1 has "other code"')


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def start_two(zygote, folder, arguments, script="train"):
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
        zygote.start(given, log, script=script, RANK=str(rank), LOCAL_RANK=str(rank), **common)
        for rank, (given, log) in enumerate(zip(arguments, logs, strict=True))
    ]
    codes = [zygote.wait(pid) for pid in started]
    return codes, [log.read_text() for log in logs]
