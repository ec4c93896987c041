"""Run folders made from known predictions: what comparing needs of a run, without training one."""

import json
from pathlib import Path

import numpy as np

from alexnet_skip.runs.predictions import Predictions, write_predictions


def make_run(
    folder: Path,
    predictions: dict[str, Predictions],
    class_names: tuple[str, ...],
    *,
    variant: str = "none",
    seed: int = 0,
    epochs: int = 4,
    snapshot_epochs: tuple[int, ...] = (1, 4),
) -> Path:
    """A finished run with the given evaluations, each under the name of its folder, such as ``test-epoch-4``."""
    folder.mkdir(parents=True)
    config = {
        "created": f"2026-01-01T00:00:{seed:02d}",
        "settings": {
            "skip": variant != "none",
            "skip_mode": "conv" if variant == "none" else variant,
            "training": {"seed": seed, "epochs": epochs, "val_fraction": 0.1},
            "run": {"snapshot_epochs": [epoch for epoch in snapshot_epochs if epoch <= epochs]},
            "data": {"dataset": "nowhere"},
        },
        "dataset": {"name": "pictures", "source": "nowhere", "class_names": list(class_names), "digest": "abc"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "summary.json").write_text("{}")
    for name, of_evaluation in predictions.items():
        where = folder / "evaluation" / name
        where.mkdir(parents=True)
        write_predictions(where, of_evaluation)
    return folder


def make_predictions(
    accuracy: float, rng: np.random.Generator, n: int = 400, classes: int = 10, digest: str = "d" * 64
) -> Predictions:
    """Predictions of the same n samples for every call, right with the given probability."""
    labels = np.arange(n) % classes
    wrong = (labels + rng.integers(1, classes, n)) % classes
    said = np.where(rng.random(n) < accuracy, labels, wrong)
    logits = 3 * np.eye(classes)[said] + rng.normal(0, 0.3, (n, classes))
    return Predictions(logits.astype(np.float32), labels, np.arange(n), digest)
