"""embed.py as its user runs it: what it writes, that it is right, and what it refuses."""

import dataclasses
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from google.protobuf import text_format
from numpy.testing import assert_allclose
from PIL import Image
from sklearn.decomposition import PCA as Oracle
from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig
from tiny_run import BATCH_SIZE, HELD_OUT, LEARNT, TEST_IMAGES, VAL_FRACTION, copy_features, shrink

import embed
import evaluate
import train
from alexnet_skip.embedding import output, projector
from alexnet_skip.embedding import space as embedding
from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network.backbone import NUM_FEATURES
from alexnet_skip.network.head import SkipConnection
from alexnet_skip.pca.estimator import PCA
from alexnet_skip.runs.predictions import read_predictions, write_predictions
from alexnet_skip.settings.embed import MAX_PROJECTOR_COMPONENTS, EmbedSettings
from alexnet_skip.statistics.metrics import softmax
from alexnet_skip.system.files import read_json, write_sealed_json

TRAINED = (
    "--dataset", "shapes", "--weights", "random", "--val-fraction", str(VAL_FRACTION), "--no-hflip", "--epochs", "1",
    "--batch-size", str(BATCH_SIZE), "--pca-basis", "8", "--quiet",
)  # fmt: skip
# Shapes of the heads that shrink() makes.
WIDTHS = {"features": 9216, "hidden1": 32, "hidden2": 16, "logits": 10}


write_pictures = output.write_pictures


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(output, "write_pictures", lambda *_: None)


@pytest.fixture(scope="module")
def trained(whole_run, tmp_path_factory) -> Path:
    """A folder with a cache and the runs ``plain`` and ``skip``, on the same images."""
    folder = copy_features(whole_run, tmp_path_factory.mktemp("embed"))
    places = ("--cache-dir", str(folder / "cache"), "--runs-dir", str(folder / "runs"))
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        for name, skip in (("plain", "--no-skip"), ("skip", "--skip")):
            assert train.main([*TRAINED, *places, skip, "--name", name]) == 0
    return folder


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    """Fresh copies of the runs: what one test writes no other finds."""
    return Path(shutil.copytree(trained / "runs", tmp_path / "runs"))


def embed_run(runs: Path, capsys, *arguments: str) -> dict:
    assert embed.main([*arguments, "--runs-dir", str(runs), "--quiet"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    (line,) = captured.out.splitlines()
    return json.loads(line)


def refused(runs: Path, capsys, *arguments: str) -> str:
    assert embed.main([*arguments, "--runs-dir", str(runs)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    return " ".join(captured.err.split())


def exported(result: dict) -> tuple[np.ndarray, list[list[str]], Path]:
    """Coordinates, table and sprite that TensorBoard finds under the name that embed.py told."""
    run = Path(result["run"])
    config = text_format.Parse((run / "projector_config.pbtxt").read_text(encoding="utf-8"), ProjectorConfig())
    (entry,) = (entry for entry in config.embeddings if entry.tensor_name == result["projector"])
    tensor = np.fromfile(run / entry.tensor_path, "<f4").reshape(entry.tensor_shape)
    lines = (run / entry.metadata_path).read_text(encoding="utf-8").splitlines()
    return tensor, [line.split("\t") for line in lines], run / entry.sprite.image_path


def cached(folder: Path, split: str, array: str) -> np.ndarray:
    (path,) = folder.glob(f"cache/shapes-{split}-*/{array}.npy")
    return np.load(path).astype(np.float64)


def test_all_that_is_promised_is_written(runs, capsys, monkeypatch):
    monkeypatch.setattr(output, "write_pictures", write_pictures)
    result = embed_run(runs, capsys, "--run", "skip")
    where = Path(result["embedding"])
    assert where == runs / "skip" / "embedding" / "test-features"
    assert (result["dataset"], result["split"], result["num_samples"]) == ("shapes", "test", TEST_IMAGES)
    assert (result["space"], result["fitted_on"]) == ("features (joined by conv)", f"{LEARNT} train images")
    for name in ("pca_2d.png", "pca_3d.png", "explained_variance.png"):
        with Image.open(where / name) as picture:
            assert min(picture.size) > 300
    with Image.open(where / "pca_3d.gif") as turn:
        assert turn.is_animated
    metrics = json.loads((where / "metrics.json").read_text())
    assert metrics["separation"] == result["separation"]
    assert {space["num_queries"] for space in metrics["separation"].values()} == {TEST_IMAGES}
    # As many as the projector takes, where the images they are fitted on have as many.
    assert EmbedSettings().projector_components == MAX_PROJECTOR_COMPONENTS
    axes = min(MAX_PROJECTOR_COMPONENTS, LEARNT)
    assert len(metrics["explained_variance_ratio"]) == PCA.load(where / "pca.npz").n_components_ == axes
    coordinates, table, sprite = exported(result)
    assert coordinates.shape == (TEST_IMAGES, axes)
    assert table[0] == ["true class", "predicted", "right", "confidence", "sample"]
    assert {row[2] for row in table[1:]} <= {"right", "wrong"}
    with Image.open(sprite) as picture:
        assert picture.size == (5 * 32, 5 * 32)
    held = 100 * sum(metrics["explained_variance_ratio"])
    assert result["projector"] == f"test-features ({held:.1f} % of variance)"
    assert not list(where.rglob("events.out.tfevents.*")), "no run of its own"
    assert not list(runs.rglob("*.tmp"))


@pytest.mark.parametrize("fit", ["train", "split"])
def test_coordinates_are_those_of_scikit_learn_on_the_cached_features(trained, runs, capsys, fit):
    result = embed_run(runs, capsys, "--run", "plain", "--fit", fit, "--projector-components", "5")
    fit_rows = test_rows = cached(trained, "test", "main")
    if fit == "train":
        labels = load_dataset("shapes").splits["train"].labels
        fit_rows = cached(trained, "train", "main")[train_val_positions(labels, VAL_FRACTION)[0]]
    oracle = Oracle(5, svd_solver="full").fit(fit_rows)
    coordinates, _, _ = exported(result)
    scale = np.abs(coordinates).max()
    assert_allclose(coordinates, oracle.transform(test_rows), atol=1e-3 * scale)
    metrics = json.loads((Path(result["embedding"]) / "metrics.json").read_text())
    assert_allclose(metrics["explained_variance_ratio"], oracle.explained_variance_ratio_, rtol=1e-4)


@pytest.mark.parametrize("layer", ["hidden1", "hidden2", "logits"])
def test_the_heads_own_spaces_have_their_widths_and_the_predictions_of_evaluate(runs, capsys, layer):
    result = embed_run(runs, capsys, "--run", "skip", "--layer", layer)
    assert (result["space"], result["num_features"]) == (layer, WIDTHS[layer])
    assert evaluate.main(["--run", "skip", "--runs-dir", str(runs), "--quiet"]) == 0
    with np.load(runs / "skip" / "evaluation" / "test-best" / "predictions.npz") as arrays:
        logits, labels = arrays["logits"], arrays["labels"]
    names = load_dataset("shapes").class_names
    _, table, _ = exported(result)
    columns = list(zip(*table[1:], strict=True))
    assert columns[0] == tuple(names[label] for label in labels)
    assert columns[1] == tuple(names[label] for label in logits.argmax(axis=1))
    right = logits.argmax(axis=1) == labels
    assert columns[2] == tuple(np.where(right, "right", "wrong"))
    assert columns[4] == tuple(str(number) for number in range(TEST_IMAGES))
    if layer == "logits":
        coordinates, _, _ = exported(result)
        distances = np.linalg.norm(coordinates[:, None] - coordinates[None], axis=2)
        # All ten components of ten logits: distances are theirs.
        assert_allclose(distances, np.linalg.norm(logits[:, None] - logits[None], axis=2), atol=1e-3)


def test_what_evaluate_has_predicted_is_not_predicted_again_unless_it_is_of_another_model(runs, capsys, monkeypatch):
    config, temperature = runs / "plain" / "model" / "config.json", 1.7
    write_sealed_json(config, read_json(config) | {"temperature": temperature, "temperature_images": HELD_OUT})
    expected = exported(embed_run(runs, capsys, "--run", "plain"))[1]
    assert evaluate.main(["--run", "plain", "--runs-dir", str(runs), "--quiet"]) == 0
    capsys.readouterr()
    logits = read_predictions(runs / "plain" / "evaluation" / "test-best").logits
    assert_allclose(
        [float(row[3]) for row in expected[1:]], softmax(logits / temperature).max(axis=1), atol=2e-3,
        err_msg="confidence is the probability that the published model tells",
    )  # fmt: skip
    calls, predict = [], embedding.predict
    monkeypatch.setattr(embedding, "predict", lambda *a, **k: calls.append(1) or predict(*a, **k))
    assert exported(embed_run(runs, capsys, "--run", "plain"))[1] == expected
    assert exported(embed_run(runs, capsys, "--run", "plain", "--max-points", "12"))[1][1:] == [
        row for row in expected[1:] if row in exported_rows(runs, "plain", "test-features-points-12")
    ]
    assert not calls
    where = runs / "plain" / "evaluation" / "test-best"
    write_predictions(where, dataclasses.replace(read_predictions(where), model="0" * 64))
    assert exported(embed_run(runs, capsys, "--run", "plain"))[1] == expected
    assert calls


def exported_rows(runs: Path, run: str, name: str) -> list[list[str]]:
    (path,) = (runs / run / "embedding" / name).glob("metadata-*.tsv")
    return [line.split("\t") for line in path.read_text(encoding="utf-8").splitlines()]


def test_views_of_the_features_are_what_their_names_say(trained, runs, capsys):
    plain, main, joined, tap = (
        embed_run(runs, capsys, "--run", run, *view)
        for run, view in (
            ("plain", ()), ("skip", ("--skip-view", "main")), ("skip", ()), ("plain", ("--skip-view", "tap")),
        )
    )  # fmt: skip
    assert (plain["space"], main["space"]) == ("features (main)", "features (main)")
    assert np.array_equal(exported(plain)[0], exported(main)[0])
    assert not np.array_equal(exported(joined)[0], exported(main)[0])
    assert Path(main["embedding"]).name == "test-features-main"
    labels = load_dataset("shapes").splits["train"].labels
    oracle = Oracle(3).fit(cached(trained, "train", "tap")[train_val_positions(labels, VAL_FRACTION)[0]])
    expected = oracle.transform(cached(trained, "test", "tap"))
    assert_allclose(exported(tap)[0][:, :3], expected, atol=1e-3 * np.abs(expected).max())
    config = text_format.Parse((runs / "skip" / "projector_config.pbtxt").read_text(), ProjectorConfig())
    listed = [(entry.tensor_path.split("/")[1], bool(entry.sprite.image_path)) for entry in config.embeddings]
    assert sorted(listed) == [
        ("test-features", False), ("test-features", True), ("test-features-main", False), ("test-features-main", True),
    ]  # fmt: skip


def test_without_the_cache_the_same_comes_out(runs, capsys):
    expected = exported(embed_run(runs, capsys, "--run", "plain"))[0]
    path = runs / "plain" / "config.json"
    config = json.loads(path.read_text())
    config.pop("checksum", None)
    config["settings"]["cache"]["cache"] = False
    path.write_text(json.dumps(config))
    found = exported(embed_run(runs, capsys, "--run", "plain"))[0]
    # Of the leading axes: those of few images' noise turn with the rounding of the cache's halves.
    assert_allclose(found[:, :3], expected[:, :3], atol=5e-3 * np.abs(expected).max())


def test_two_runs_are_compared_on_the_same_images(runs, capsys):
    result = embed_run(runs, capsys, "--run", "plain", "--compare", "skip", "--split", "val", "--layer", "hidden2")
    (other,) = result["compared"]
    alone = embed_run(runs, capsys, "--run", "skip", "--split", "val", "--layer", "hidden2")
    assert other["run"] == "skip"
    assert other["separation"] == alone["separation"]
    with Image.open(Path(result["embedding"]) / "compare-skip.png") as picture:
        assert min(picture.size) > 500


def test_a_run_that_saw_the_images_in_training_is_no_comparison(runs, capsys):
    path = runs / "skip" / "config.json"
    config = json.loads(path.read_text())
    config.pop("checksum", None)
    config["settings"]["training"]["val_fraction"] = 0.2
    path.write_text(json.dumps(config))
    assert "--compare skip was trained on some of the images that plain held out" in refused(
        runs, capsys, "--run", "plain", "--compare", "skip", "--split", "val"
    )
    config["dataset"]["digest"] = "0"
    path.write_text(json.dumps(config))
    assert "--compare skip was trained on other images" in refused(runs, capsys, "--run", "plain", "--compare", "skip")
    assert not (runs / "plain" / "embedding").exists()


def test_more_images_than_thumbnails_fit_are_thinned_out_evenly_and_that_is_said(runs, capsys, monkeypatch):
    monkeypatch.setattr(projector, "MAX_SPRITE_PX", 96)
    assert embed.main(["--run", "plain", "--thumbnails", "24", "--runs-dir", str(runs)]) == 0
    captured = capsys.readouterr()
    assert f"The projector gets 16 of {TEST_IMAGES} images, balanced over the classes" in captured.err
    _, table, _ = exported(json.loads(captured.out.splitlines()[-1]))
    counts = np.unique([row[0] for row in table[1:]], return_counts=True)[1]
    assert counts.sum() == 16
    assert set(counts) == {1, 2}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--projector-components", "50"), "--projector-components is 50, but must be 2 to 49"),
        (("--components", "1"), "--components is 1, but must be at least 2"),
        (("--components", "11", "--layer", "logits"), f"--components is 11, but {LEARNT} images of 10 values have 10"),
        (("--layer", "logits", "--skip-view", "tap"), "--skip-view is tap, but must be joined for --layer logits"),
        (("--thumbnails", "4"), "--thumbnails is 4, but must be 0 or 8 to 256"),
        (("--max-points", "2"), "--max-points is 2"),
        (("--compare", "nobody"), "no run there"),
    ],
)
def test_a_users_mistake_is_refused_and_leaves_nothing(runs, capsys, arguments, message):
    assert message in refused(runs, capsys, "--run", "plain", *arguments)
    assert not (runs / "plain" / "embedding").exists()


def test_without_a_run_the_way_to_one_is_said(tmp_path, capsys):
    assert "accelerate launch --quiet train.py --skip" in refused(tmp_path, capsys)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are forked, which Windows can't")
def test_two_processes_embed_the_same_once(zygote, runs, capsys, tmp_path):
    arguments = ("--run", "skip", "--compare", "plain", "--layer", "hidden2", "--split", "val")
    alone = embed_run(runs, capsys, *arguments)
    expected = exported(alone)
    pids = zygote.start_together(2, [*arguments, "--runs-dir", runs, "--quiet"], tmp_path / "log", script="embed")
    codes = [zygote.wait(pid) for pid in pids]
    told = "".join((tmp_path / f"log-{rank}").read_text() for rank in (0, 1))
    assert codes == [0, 0], told
    (line,) = (line for line in told.splitlines() if line.startswith("{"))
    together = json.loads(line)
    for space in ("embedding", "full"):
        for figure in ("knn_top1", "silhouette", "variance_ratio"):
            assert together["separation"][space][figure] == pytest.approx(alone["separation"][space][figure], rel=1e-4)
    assert together["compared"][0]["run"] == "plain"
    coordinates, table, _ = exported(together)
    assert_allclose(coordinates, expected[0], atol=1e-4 * np.abs(coordinates).max())
    assert [row[:3] for row in table] == [row[:3] for row in expected[1]]


@pytest.mark.parametrize(
    ("mode", "view", "main_part", "tap_part"),
    [("identity", "main", 1, 0), ("identity", "tap", 0, 1), ("identity", "joined", 1, 1), ("none", "tap", 0, 1)],
)
def test_computed_features_are_those_of_the_view_as_cached_ones_are(rng, mode, view, main_part, tap_part):
    main, tap = (torch.from_numpy(rng.normal(size=(2, NUM_FEATURES)).astype(np.float32)) for _ in range(2))
    space = embedding.Space(SimpleNamespace(skip=SkipConnection(mode)), "features", view)
    torch.testing.assert_close(space(main, tap), main_part * main + tap_part * tap)
