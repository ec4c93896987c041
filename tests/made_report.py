"""A small study as it lies on disk: predictions, curves of every run, and embeddings of two of them."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from made_runs import make_predictions, make_run

from alexnet_skip.embedding.projector import export_embedding, make_sprite
from alexnet_skip.study.source_report import CLASS_NAMES

IMAGES = 120
LEVELS = {"none": 0.55, "conv": 0.8, "concat": 0.56}


def make_history(run: Path, rng: np.random.Generator, epochs: int = 4, first: int = 1) -> None:
    """The figures of every epoch."""
    lines = []
    for epoch in range(first, first + epochs):
        top1 = 0.9 - 0.5 / (1 + epoch) + rng.normal(0, 0.01)
        figures = {"train_loss": 2 / epoch, "val_loss": 2.2 / epoch, "val_top1": top1, "val_top3": top1 + 0.05}
        figures |= {"train_eval_loss": 1.8 / epoch, "train_eval_top1": top1 + 0.02}
        lines.append(json.dumps({"epoch": epoch, **figures}) + "\n")
    (run / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")


def make_embedding(run: Path, epoch: int, class_names: tuple[str, ...], rng: np.random.Generator) -> Path:
    """An embedding as embed.py leaves it; returns its folder."""
    name = f"embedding/test-hidden2-checkpoint-epoch-{epoch}"
    labels = np.arange(IMAGES) % len(class_names)
    names = np.array(class_names)
    columns = {
        "true class": names[labels].tolist(),
        "predicted": names[np.roll(labels, 1)].tolist(),
        "right": ["wrong"] * IMAGES,
        "confidence": [f"{value:.3f}" for value in rng.random(IMAGES)],
        "sample": list(range(IMAGES)),
    }
    images = np.broadcast_to((2 * np.arange(IMAGES))[:, None, None, None], (IMAGES, 32, 32, 3)).astype(np.uint8)
    scores = rng.normal(0, 3, (IMAGES, 5)).astype(np.float32)
    export_embedding(run, name, scores, columns, make_sprite(images, 32), 32, 0.85, print)
    full = {"knn_top1": 0.5, "silhouette": 0.1, "variance_ratio": 0.2}
    about = {"dataset": "pictures", "split": "test", "num_samples": IMAGES, "images_sha256": "d" * 64, "epoch": epoch,
             "space": "hidden2", "fitted_on": "30 train images", "explained_variance_ratio": [0.5, 0.25, 0.1],
             "separation": {"full": full, "embedding": full}}  # fmt: skip
    (run / name / "metrics.json").write_text(json.dumps(about), encoding="utf-8")
    return run / name


def make_study(
    folder: Path,
    class_names: tuple[str, ...] = CLASS_NAMES,
    seeds: int = 3,
    levels: Mapping[str, float] = LEVELS,
) -> Path:
    """A study of three forms, evaluated after epochs 1 and 4."""
    rng = np.random.default_rng(0)
    for variant, level in levels.items():
        for seed in range(seeds):
            done = {
                f"test-epoch-{epoch}": make_predictions(level - shift, rng, n=IMAGES, classes=len(class_names))
                for epoch, shift in ((1, 0.2), (4, 0.0))
            }
            run = make_run(folder / f"{variant}-seed{seed}", done, class_names, variant=variant, seed=seed)
            make_history(run, rng)
    for epoch in (1, 4):
        make_embedding(folder / "conv-seed0", epoch, class_names, rng)
    return folder
