"""Several processes train as one does, stop together, and none is left behind when one dies."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_run import ARGUMENTS, HELD_OUT, LEARNT, copy_whole, outcome

from alexnet_skip.runs.checkpoints import CheckpointStore
from alexnet_skip.system.files import read_json

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="these processes are forked, which Windows can't")


def arguments(folder: Path) -> list[str]:
    return [*ARGUMENTS, "--name", "run", "--cache-dir", f"{folder}/cache", "--runs-dir", f"{folder}/runs"]


def logs(folder: Path) -> str:
    return "\n".join(path.read_text() for path in sorted(folder.glob("log*")))


def with_warm_cache(folders: dict[int, Path], folder: Path) -> list[str]:
    """Arguments of a run in a folder whose cache has all that two processes have made."""
    shutil.copytree(folders[2] / "cache", folder / "cache")
    return arguments(folder)


def run_together(zygote, processes: int, command, folder: Path, **more: str) -> list[int]:
    return [zygote.wait(pid) for pid in zygote.start_together(processes, command, folder / "log", **more)]


@pytest.fixture(scope="module")
def folders(whole_run, zygote, tmp_path_factory) -> dict[int, Path]:
    """Folders of the same run by 1, 2 and 4 processes: 34 images in batches of 6, the last of which holds 4."""
    places = {1: copy_whole(whole_run, tmp_path_factory.mktemp("by-1"))}
    for processes in (2, 4):
        folder = places[processes] = tmp_path_factory.mktemp(f"by-{processes}")
        assert run_together(zygote, processes, arguments(folder), folder) == [0] * processes, logs(folder)
    return places


@pytest.mark.parametrize("processes", [2, 4])
def test_the_curve_is_that_of_one_process(folders, processes):
    one, several = (outcome(folders[n] / "runs" / "run")["metrics"] for n in (1, processes))
    for a, b in zip(one, several, strict=True):
        for name in ("train_loss", "train_eval_loss", "val_loss", "lr", "grad_norm"):
            assert b[name] == pytest.approx(a[name], rel=1e-5), name
        for name in ("train_top1", "train_eval_top1", "val_top1", "val_top3"):
            assert a[name] == b[name], name
        assert round(a["train_top1"] * LEARNT, 9).is_integer(), "a sample was counted twice, or not at all"


def test_the_second_stage_learns_as_one_process_does(zygote, tmp_path):
    """Twenty images in batches of 7, the last of which holds 6: shares differ by one."""
    found = {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        if processes == 1:
            folder.mkdir()
        else:
            shutil.copytree(tmp_path / "1" / "cache", folder / "cache")
        few = ["--limit-train", "30", "--val-fraction", "0.34", "--epochs", "1", "--snapshot-epochs", "1"]
        more = ["--finetune", "1", "--finetune-epochs", "1", "--finetune-batch-size", "7", "--finetune-lr", "1e-3"]
        command = [*arguments(folder), *few, *more]
        assert run_together(zygote, processes, command, folder) == [0] * processes, logs(folder)
        found[processes] = outcome(folder / "runs" / "run")["metrics"][-1]
    one, two = found[1], found[2]
    assert {"layer10_gradient_main", "layer10_moved"} < set(one)
    assert set(one) == set(two)
    for name, value in one.items():
        assert two[name] == pytest.approx(value, rel=1e-4), name


def test_features_are_the_same_to_the_bit_however_many_extract_them(folders):
    arrays = {n: sorted(folder.glob("cache/*/*_mirrored.npy")) for n, folder in folders.items()}
    assert len(arrays[1]) == 2
    for several in (arrays[2], arrays[4]):
        for a, b in zip(arrays[1], several, strict=True):
            assert a.read_bytes() == b.read_bytes()


def test_every_sample_is_evaluated_once_and_alike_and_the_temperature_is_fitted_on_all(zygote, whole_run, tmp_path):
    """In blocks of 3 images by three processes: not all of them have equally many."""
    copy_whole(whole_run, tmp_path)
    found, temperatures = {}, {}
    for processes in (1, 3):
        command = ["--runs-dir", tmp_path / "runs", "--split", "val", "--fit-temperature", "--quiet"]
        pids = zygote.start_together(
            processes, command, tmp_path / f"log-{processes}", script="evaluate", PREDICT_ROWS="3"
        )
        assert [zygote.wait(pid) for pid in pids] == [0] * processes, logs(tmp_path)
        with np.load(tmp_path / "runs/run/evaluation/val-best/predictions.npz") as file:
            found[processes] = {name: file[name] for name in file.files}
        published = read_json(tmp_path / "runs/run/model/config.json")
        assert published["temperature_images"] == HELD_OUT
        temperatures[processes] = published["temperature"]
    assert temperatures[3] == pytest.approx(temperatures[1], rel=1e-5)
    assert len(np.unique(found[1]["index"])) == HELD_OUT
    np.testing.assert_array_equal(found[3]["index"], found[1]["index"])
    np.testing.assert_allclose(found[3]["logits"], found[1]["logits"], rtol=1e-5, atol=1e-6)


def test_a_signal_to_one_process_stops_all_at_the_same_step_and_the_run_goes_on_to_the_same_end(
    zygote, folders, tmp_path
):
    pids = zygote.start_together(2, with_warm_cache(folders, tmp_path), tmp_path / "log")
    while not list(tmp_path.glob("runs/run/metrics.jsonl")):
        time.sleep(0.001)
    os.kill(pids[1], signal.SIGHUP)
    assert [zygote.wait(pid) for pid in pids] == [129, 129], logs(tmp_path)
    _, saved = CheckpointStore(tmp_path / "runs/run/checkpoints", keep=1).newest(pytest.fail)
    drawn = [process["random"]["torch"] for process in saved["processes"]]
    assert not torch.equal(*drawn), "on a GPU both would draw the same masks for different rows"
    command = ["--resume", "run", "--runs-dir", f"{tmp_path}/runs"]
    assert run_together(zygote, 2, command, tmp_path) == [0, 0], logs(tmp_path)
    assert outcome(tmp_path / "runs" / "run") == outcome(folders[2] / "runs" / "run")


def test_a_run_saved_by_two_processes_goes_on_with_one(zygote, folders, tmp_path):
    pids = zygote.start_together(2, with_warm_cache(folders, tmp_path), tmp_path / "log")
    while not list(tmp_path.glob("runs/run/metrics.jsonl")):
        time.sleep(0.001)
    os.kill(pids[0], signal.SIGINT)
    assert [zygote.wait(pid) for pid in pids] == [130, 130], logs(tmp_path)
    assert zygote.run(["--resume", "--runs-dir", f"{tmp_path}/runs"], tmp_path / "log") == 0, logs(tmp_path)
    assert "was saved by 2 process(es) and goes on with 1" in logs(tmp_path)
    one, found = (outcome(place / "runs" / "run")["metrics"] for place in (folders[1], tmp_path))
    assert [line["val_loss"] for line in found] == pytest.approx([line["val_loss"] for line in one], rel=1e-5)


def test_a_loss_that_is_not_finite_in_one_process_stops_all_before_the_step(zygote, folders, tmp_path):
    command = [*with_warm_cache(folders, tmp_path), "--checkpoint-epochs", "1"]
    assert run_together(zygote, 2, command, tmp_path, SPOIL_RANK="1") == [2, 2], logs(tmp_path)
    for rank in (0, 1):
        told = " ".join((tmp_path / f"log-{rank}").read_text().split())
        assert "epoch 2, step 2: the loss or its gradient is not finite" in told
    assert run_together(zygote, 2, ["--resume", "--runs-dir", f"{tmp_path}/runs"], tmp_path) == [0, 0], logs(tmp_path)


@pytest.mark.parametrize("victim", [0, 1])
def test_when_one_process_dies_the_other_ends_within_a_minute(zygote, folders, tmp_path, victim):
    """Below the launcher, as on two machines: the connection breaks."""
    command = [*with_warm_cache(folders, tmp_path), "--epochs", "2000", "--quiet"]
    pids = zygote.start_together(2, command, tmp_path / "log")
    while not list(tmp_path.glob("runs/run/metrics.jsonl")):
        time.sleep(0.01)
    os.kill(pids[victim], signal.SIGKILL)
    began = time.monotonic()
    codes = [zygote.wait(pid) for pid in pids]
    assert time.monotonic() - began < 60
    assert codes[victim] == -signal.SIGKILL
    assert codes[1 - victim] not in (0, None)
    assert "Connection" in (tmp_path / f"log-{1 - victim}").read_text()


def test_under_the_launcher_a_dying_process_ends_the_job_with_its_error_first_and_leaves_no_orphan(
    zygote, folders, tmp_path
):
    """The launcher's agent and forks; test_scripts.py starts the launcher itself."""
    command = [tmp_path, *with_warm_cache(folders, tmp_path)]
    assert zygote.wait(zygote.start(command, tmp_path / "log", script="dying_process", ACCELERATE_USE_CPU="1")) != 0
    told = logs(tmp_path)
    first = told.index("the second process has had enough")
    assert "Traceback" not in told[: told.rindex("Traceback", 0, first)]
    pids = [int(path.read_text()) for path in tmp_path.glob("*.pid")]
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    config = json.loads((tmp_path / "runs/run/config.json").read_text())
    assert config["num_processes"] == 2
