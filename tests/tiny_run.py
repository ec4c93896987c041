"""Runs so small that a test can afford to break many of them, and what is compared of them in the end."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from alexnet_skip.features import cache
from alexnet_skip.images import dataset
from alexnet_skip.network import head
from alexnet_skip.training import log, run

# 83 images to train on in 6 uneven steps an epoch, 20 held out. Every part of the full job is there: extraction of both
# views in several blocks, the basis, the trained skip connection, dropout, a schedule.
ARGUMENTS = (
    "--dataset", "shapes", "--weights", "random", "--skip", "--val-fraction", "0.2", "--epochs", "3",
    "--batch-size", "16", "--pca-basis", "8", "--snapshot-epochs", "2",
    "--lr", "1e-3", "--dropout", "0.2", "0.4", "0.3",
)  # fmt: skip
STEPS_PER_EPOCH = 6
BLOCK_ROWS = 16
# Measured times differ between any two runs.
TIMES = ("seconds", "images_per_second")


def shrink(replace: Callable[[Any, str, Any], None]) -> None:
    """Make images few, blocks of the cache short and the head narrow, and draw no pictures.

    Args:
        replace: sets an attribute: ``monkeypatch.setattr``, or plain ``setattr`` in a process of its own.
    """
    replace(dataset, "SHAPES_TRAIN", 103)
    replace(dataset, "SHAPES_TEST", 40)
    replace(cache, "BLOCK_ROWS", BLOCK_ROWS)
    replace(head, "HIDDEN_SIZES", (32, 16))
    replace(run, "report_run", lambda *_: None)
    replace(log, "learning_curves_figure", lambda *_: None)
    replace(log, "save_figure", lambda *_: None)
    # TensorBoard reads event files by name: second, process, and this number, of which 10 would come before 9. Only a
    # test is interrupted and goes on within one second and one process.
    replace(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(1_000_000))


def outcome(folder: Path) -> dict[str, Any]:
    """Everything a run has come to that must not depend on how often it was interrupted."""
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0})
    events.Reload()
    tags = [tag for tag in events.Tags()["scalars"] if not tag.startswith("speed/")]
    models = sorted(folder.glob("**/model.safetensors"))
    assert not list(folder.glob("**/*.tmp"))
    return {
        "models": {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in models},
        "metrics": [{name: value for name, value in line.items() if name not in TIMES} for line in lines],
        "scalars": {tag: [(event.step, event.value) for event in events.Scalars(tag)] for tag in tags},
    }
