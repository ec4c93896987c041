"""Every kind of file we write, damaged at random offsets: it is noticed or makes no difference; never a wrong result.

Checkpoints have their own tests (test_checkpoint_store.py).
"""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_run import copy_whole, shrink

import evaluate
from alexnet_skip.features import cache as feature_cache
from alexnet_skip.features import coordinates as basis
from alexnet_skip.features.source import FrozenFeatures
from alexnet_skip.images import dataset, splits
from alexnet_skip.network import model as published
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.weights import load_weights
from alexnet_skip.runs import predictions
from alexnet_skip.system import files
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError

Reader = Callable[[Path], Any]
BLOCK_ROWS = 8


@pytest.fixture(scope="module")
def sound(whole_run, tmp_path_factory) -> Path:
    """A folder with a run, its evaluation and its cache; read only."""
    folder = copy_whole(whole_run, tmp_path_factory.mktemp("sound"), checkpoints=False)
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        assert evaluate.main(["--runs-dir", str(folder / "runs"), "--split", "val"]) == 0
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(feature_cache, "BLOCK_ROWS", BLOCK_ROWS)


def damage(whole: bytes, rng: np.random.Generator) -> bytes:
    """One flipped bit, a piece cut off, a piece overwritten with zeros or noise, or a piece doubled."""
    at, length = int(rng.integers(len(whole))), int(rng.integers(1, 1 + min(64, len(whole))))
    match int(rng.integers(8)):
        case 0:
            return whole[:at]
        case 1:
            return whole[:at] + bytes(length) + whole[at + length :]
        case 2:
            return whole[:at] + rng.bytes(length) + whole[at + length :]
        case 3:
            return whole[: at + length] + whole[at:]
        case _:
            return whole[:at] + bytes([whole[at] ^ 1 << int(rng.integers(8))]) + whole[at + 1 :]


def model_state(folder: Path) -> Any:
    model, _ = published.load_published(folder)
    return {name: value.numpy().tobytes() for name, value in model.state_dict().items()}, content(
        folder / "config.json"
    )


def read_predictions(folder: Path) -> Any:
    read = predictions.read_predictions(folder)
    return read.logits.tobytes(), read.labels.tolist(), read.index.tolist(), read.digest


def content(path: Path) -> Any:
    """A JSON file, but for a checksum whose name a flipped bit has changed: the content is untouched then."""
    read = files.read_json(path)
    return {name: value for name, value in read.items() if not re.fullmatch("[0-9a-f]{16}", str(value))}


# File, how it is read, and how many times it is damaged in the default suite.
READ: dict[str, tuple[str, Reader, int]] = {
    "published model": ("model/model.safetensors", lambda path: model_state(path.parent), 25),
    "published convolutions": ("model/convolutions.safetensors", lambda path: model_state(path.parent), 8),
    "published projection": ("model/projection.safetensors", lambda path: model_state(path.parent), 8),
    "published config": ("model/config.json", lambda path: model_state(path.parent), 25),
    "run's config": ("config.json", content, 100),
    "summary": ("summary.json", content, 60),
    "metrics": ("evaluation/val-best/metrics.json", content, 60),
    "predictions": ("evaluation/val-best/predictions.npz", lambda path: read_predictions(path.parent), 100),
}


def check_reader(folder: Path, kind: str, times: int, rng: np.random.Generator) -> int:
    """Damage a file so many times; returns how often it was noticed."""
    name, read, _ = READ[kind]
    path, noticed = folder / name, 0
    whole, expected = path.read_bytes(), read(path)
    for _ in range(times):
        path.write_bytes(damage(whole, rng))
        try:
            found = read(path)
        except UserError as error:
            noticed += str(folder) in str(error)
            continue
        assert found == expected, f"{kind}: a damaged file was taken for sound"
    path.write_bytes(whole)
    assert read(path) == expected
    return noticed


@pytest.mark.parametrize("kind", READ)
def test_a_damaged_file_is_refused_by_its_path_or_reads_the_same(sound, tmp_path, rng, kind):
    shutil.copytree(sound / "runs" / "run", tmp_path / "run")
    times = READ[kind][2]
    assert check_reader(tmp_path / "run", kind, times, rng) > times / 2


@pytest.fixture(scope="module")
def images():
    """Images and weights; with one thread, since a basis fitted again must be the same to the bit."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        patch.setattr(dataset, "SHAPES_TRAIN", 20)  # three blocks, the last one shorter
        yield dataset.load_dataset("shapes"), load_weights("random")
    torch.set_num_threads(before)


def cached_rows(folder: Path, images) -> tuple[list[bytes], list[bytes]]:
    """All features, and all coordinates with their basis, as a run would take them from the cache."""
    shapes, weights = images
    accelerator, console = Accelerator(cpu=True), Console(quiet=True)
    backbone = FrozenAlexNet(weights.state)
    frozen = FrozenFeatures(backbone, folder / "cache", accelerator, console)
    features = frozen.open(shapes, "train", tap=True, mirrored=True)
    positions, _ = splits.train_val_positions(shapes.splits["train"].labels, 0.5)
    fitted, coordinates = basis.open_basis(features, positions, "conv", 8, accelerator, console, mirrored=True)
    rows = np.arange(2 * features.num_samples)
    taken = [*features.fetch(rows), coordinates.fetch(rows)[0]]
    return [t.numpy().tobytes() for t in taken], [fitted.mean.numpy().tobytes(), fitted.projection.numpy().tobytes()]


def check_cache(folder: Path, images, pattern: str, times: int, rng: np.random.Generator) -> None:
    expected = cached_rows(folder, images)
    paths = sorted((folder / "cache").glob(f"*/{pattern}"))
    assert paths
    for number in range(times):
        path = paths[number % len(paths)]
        path.write_bytes(damage(path.read_bytes(), rng))
        assert cached_rows(folder, images) == expected, path


CACHE = {"main*.npy": 6, "tap*.npy": 6, "manifest.json": 4, "basis-*": 12}


@pytest.fixture(scope="module")
def cache(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feature_cache, "BLOCK_ROWS", BLOCK_ROWS)
        cached_rows(folder, images)
    return folder


@pytest.mark.parametrize("pattern", CACHE)
def test_a_damaged_cache_is_mended_before_it_is_used(cache, images, rng, pattern):
    check_cache(cache, images, pattern, CACHE[pattern], rng)


def test_a_line_of_an_unfinished_pass_that_lies_costs_a_block_and_nothing_else(cache, images):
    expected = cached_rows(cache, images)
    (entry,) = (cache / "cache").glob("shapes-train-*")
    (entry / "manifest.json").unlink()
    lines = [json.dumps(["main", 0, 1]), "[[], {}, 1]", '["main", [], 2]', "\x00", '["elsewhere", 0, 0]', '["main", 1']
    (entry / "progress-0000.jsonl").write_text("\n".join(lines))
    assert cached_rows(cache, images) == expected


def test_the_log_of_a_run_is_not_read_back_by_anything(sound, tmp_path):
    """metrics.jsonl has no checksum: it is written for people and other programs. Going on with a run rewrites it."""
    shutil.copytree(sound, tmp_path / "copy")
    run = tmp_path / "copy" / "runs" / "run"
    logits = predictions.read_predictions(run / "evaluation" / "val-best").logits
    (run / "metrics.jsonl").write_text("{")
    (run / "evaluation" / "val-best" / "predictions.npz").unlink()
    assert evaluate.main(["--runs-dir", str(run.parent), "--split", "val"]) == 0
    np.testing.assert_array_equal(predictions.read_predictions(run / "evaluation" / "val-best").logits, logits)


@pytest.mark.soak
def test_soak_thousands_of_corruptions_give_no_wrong_result(sound, cache, images, tmp_path):
    rng = np.random.default_rng()
    shutil.copytree(sound / "runs" / "run", tmp_path / "run")
    for kind, (_, _, times) in READ.items():
        print(kind, 10 * times, "damaged,", check_reader(tmp_path / "run", kind, 10 * times, rng), "noticed")
    for pattern, times in CACHE.items():
        check_cache(cache, images, pattern, 10 * times, rng)
        print(pattern, 10 * times, "damaged, all mended")
    assert feature_cache.BLOCK_ROWS == BLOCK_ROWS
