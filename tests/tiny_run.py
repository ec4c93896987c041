"""Runs so small that a test can afford to break many of them, and what is compared of them in the end."""

import contextlib
import functools
import hashlib
import io
import json
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

import train
from alexnet_skip.devices import launch
from alexnet_skip.evaluation import evaluate as evaluation
from alexnet_skip.features import cache
from alexnet_skip.images import dataset, shapes
from alexnet_skip.network import head, state_files, weights
from alexnet_skip.system.files import read_json, write_sealed_json
from alexnet_skip.system.machine import available_cpus
from alexnet_skip.training import finetuning, log, run
from alexnet_skip.upkeep import speed_probe

# Every part of the full job is there: extraction of both views in several blocks, the basis, the trained skip
# connection, dropout, a schedule, uneven steps. What takes the time are the convolutions, of every image and view.
TRAIN_IMAGES, TEST_IMAGES = 54, 23
VAL_FRACTION, HELD_OUT = 0.4, 20
LEARNT = TRAIN_IMAGES - HELD_OUT
BATCH_SIZE, LR = 6, 0.02
ARGUMENTS = (
    "--dataset", "shapes", "--weights", "random", "--skip", "--val-fraction", str(VAL_FRACTION), "--epochs", "3",
    "--batch-size", str(BATCH_SIZE), "--pca-basis", "8", "--snapshot-epochs", "2",
    "--lr", str(LR), "--dropout", "0.2", "0.4", "0.3",
)  # fmt: skip
STEPS_PER_EPOCH = math.ceil(LEARNT / BATCH_SIZE)
BLOCK_ROWS = 16
# Measured times differ between any two runs.
TIMES = ("seconds", "images_per_second")


def share_processors(replace: Callable[[Any, str, Any], None]) -> None:
    """Give each process of the suite its share of the processors: threads beyond them would wait for each other.

    Args:
        replace: as :func:`shrink` takes it.
    """
    threads = max(1, available_cpus() // int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 1)))
    torch.set_num_threads(threads)
    replace(launch, "available_cpus", lambda: threads)


drawn_once = functools.cache(shapes.render)


def draw(num_images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """What :func:`shapes.render` draws, drawn once for all runs of a process."""
    images, labels = drawn_once(num_images, seed)
    return images.copy(), labels.copy()


drawn_weights_once = functools.cache(weights._random_state)


def draw_weights(seed: int) -> dict[str, torch.Tensor]:
    """The weights that are called random, drawn once for all runs of a process."""
    return {name: value.clone() for name, value in drawn_weights_once(seed).items()}


def shrink(replace: Callable[[Any, str, Any], None], *, pictures: bool = False) -> None:
    """Make images few, blocks of the cache short and the head narrow, draw no pictures and do not wait for the disk.

    Args:
        replace: sets an attribute: ``monkeypatch.setattr``, or plain ``setattr`` in a process of its own.
        pictures: draw them all the same.
    """
    replace(dataset, "SHAPES_TRAIN", TRAIN_IMAGES)
    replace(dataset, "SHAPES_TEST", TEST_IMAGES)
    replace(cache, "BLOCK_ROWS", BLOCK_ROWS)
    replace(head, "HIDDEN_SIZES", (32, 16))
    replace(speed_probe, "PART_SECONDS", 0.01)
    replace(speed_probe, "PROBE_IMAGES", 4)
    replace(finetuning, "PROBE_IMAGES", 4)
    replace(shapes, "render", draw)
    replace(weights, "_random_state", draw_weights)
    # No test cuts the power; that files are brought to the disk before they are whole is seen in test_files.py.
    replace(os, "fsync", lambda _: None)
    # TensorBoard reads event files by name: second, process, and this number, of which 10 would come before 9. Only a
    # test is interrupted and goes on within one second and one process.
    replace(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(1_000_000))
    if not pictures:
        replace(evaluation, "draw_evaluation", lambda *_: None)
        replace(run, "report_run", lambda *_: None)
        replace(log, "learning_curves_figure", lambda *_, **__: None)
        replace(log, "gradients_figure", lambda *_: None)
        replace(log, "save_figure", lambda *_: None)


def train_in(folder: Path, *arguments: str) -> int:
    """Run ``train.py`` with the cache and the runs of this folder; returns its exit code."""
    return train.main([*arguments, "--cache-dir", str(folder / "cache"), "--runs-dir", str(folder / "runs")])


def train_whole(folder: Path) -> None:
    """Train the run ``run`` in a fresh folder, without an interruption; it keeps its checkpoints."""
    # Not --quiet, which the run's config would hold, and who goes on with the run would be told nothing.
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()):
        shrink(patch.setattr)
        assert train_in(folder, *ARGUMENTS, "--name", "run", "--checkpoint-epochs", "1") == 0


def copy_features(whole_run: Path, folder: Path) -> Path:
    """Give a folder the features that the fixture ``whole_run`` has extracted; returns the folder."""
    shutil.copytree(whole_run / "cache", folder / "cache")
    return folder


def copy_whole(whole_run: Path, folder: Path, *, checkpoints: bool = True) -> Path:
    """Copy the fixture ``whole_run`` into a folder; returns that. The copy's run knows no cache but the copy's.

    Args:
        checkpoints: keep them; otherwise the run is as if nobody had asked for any.
    """
    shutil.copytree(whole_run, folder, dirs_exist_ok=True)
    run = folder / "runs" / "run"
    config = read_json(run / "config.json")
    config["settings"]["cache"]["cache_dir"] = str(folder / "cache")
    if not checkpoints:
        shutil.rmtree(run / "checkpoints")
        config["settings"]["checkpoints"]["checkpoint_epochs"] = 0
    write_sealed_json(run / "config.json", config)
    return folder


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run has come to that must not depend on how often it was interrupted."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("4 speed/")]
    models = sorted(path for name in state_files.NAMES for path in folder.glob(f"**/{name}"))
    assert not list(folder.glob("**/*.tmp"))
    return {
        "models": {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in models},
        "metrics": [{name: value for name, value in line.items() if name not in TIMES} for line in lines],
        "scalars": {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags},
    }
