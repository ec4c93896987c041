"""Run folders made from known predictions, and published models made others: what tests need without training."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from alexnet_skip.network.state_files import file_of, whole_digest
from alexnet_skip.runs.predictions import Predictions, write_predictions
from alexnet_skip.system.files import file_digest, read_json, write_sealed_json


def make_images(folder: Path, seed: int, sizes: tuple[tuple[str, int], ...] = (("train", 15), ("test", 5))) -> Path:
    """An image folder of two classes that differ in brightness, and by the seed."""
    rng = np.random.default_rng(seed)
    for split, count in sizes:
        for name in ("cat", "dog"):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(count):
                image = rng.integers(0, 128, (32, 32, 3), dtype=np.uint8) + (100 if name == "cat" else 0)
                Image.fromarray(image.astype(np.uint8)).save(place / f"{number:02}.png")
    return folder


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
    (folder / "summary.json").write_text(json.dumps({"epochs": epochs}))
    for name, of_evaluation in predictions.items():
        where = folder / "evaluation" / name
        where.mkdir(parents=True)
        write_predictions(where, of_evaluation)
    return folder


def tell(run: Path, **values: Any) -> None:
    """Change what a run says of itself in its config.json; groups of settings are changed value by value."""
    config = json.loads((run / "config.json").read_text(encoding="utf-8"))
    settings = values.pop("settings", {})
    for group, of_group in settings.items():
        known = config["settings"].get(group, {})
        config["settings"][group] = known | of_group if isinstance(of_group, dict) else of_group
    (run / "config.json").write_text(json.dumps(config | values), encoding="utf-8")


def make_published(folder: Path, class_names: tuple[str, ...], temperature: float, epoch: int | None = None) -> None:
    """A published model as far as its config, in the folder that a run keeps it in."""
    folder.mkdir(parents=True)
    about = {"skip_mode": "conv", "class_names": list(class_names), "temperature": temperature, "epoch": epoch}
    (folder / "config.json").write_text(json.dumps(about | {"temperature_images": 9}))


def make_predictions(
    accuracy: float, rng: np.random.Generator, n: int = 400, classes: int = 10, digest: str = "d" * 64
) -> Predictions:
    """Predictions of the same n samples for every call, right with the given probability."""
    labels = np.arange(n) % classes
    wrong = (labels + rng.integers(1, classes, n)) % classes
    said = np.where(rng.random(n) < accuracy, labels, wrong)
    logits = 3 * np.eye(classes)[said] + rng.normal(0, 0.3, (n, classes))
    return Predictions(logits.astype(np.float32), labels, np.arange(n), digest)


def change(model: Path, tensor: str) -> None:
    """Another network in the folder of a published model: one tensor replaced, the checksums right."""
    path = model / file_of(tensor)
    state = load_file(path)
    noise = torch.randn(state[tensor].shape, generator=torch.Generator().manual_seed(0))
    spread = 3 * state[tensor].std() if state[tensor].any() else 5.0
    state[tensor] = state[tensor] + spread * noise
    path.unlink()  # other models may share the file, which is never written into
    save_file(state, path)
    config = read_json(model / "config.json")
    files = config["files"] | {path.name: file_digest(path)}
    write_sealed_json(model / "config.json", config | {"files": files, "model_sha256": whole_digest(files)})
