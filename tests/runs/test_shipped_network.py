"""What is evaluated, embedded, predicted with and exported is the network in the published file, all of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from made_runs import change
from tiny_run import TEST_IMAGES, copy_whole, shrink

import embed
import evaluate
from alexnet_skip import AlexNetWithSkip
from alexnet_skip.embedding import output
from alexnet_skip.evaluation.export import export_network
from alexnet_skip.features.cache import FeatureKey
from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.network.backbone import STATE_SHAPES, FrozenAlexNet, weights_digest
from alexnet_skip.network.weights import load_weights
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.settings.records import read_model_config
from alexnet_skip.statistics import metrics

# Weight or bias of each convolution, and of the head one of each file: nothing else is published.
TENSORS = [
    *(f"backbone.{name}" for name in ("0.weight", "3.bias", "6.weight", "8.bias", "10.weight")),
    "trained.head.fc2.weight",
    "trained.head.fc1.projection",
]
# Stored features are fp16: relative 2⁻¹¹ each, summed by the head.
FP16 = {"rtol": 5e-3, "atol": 5e-3}


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(output, "write_pictures", lambda *_: None)


@pytest.fixture(scope="module")
def trained(whole_run, tmp_path_factory) -> Path:
    """A folder with a cache, warm for test, and the run ``run``, evaluated."""
    folder = copy_whole(whole_run, tmp_path_factory.mktemp("shipped"), checkpoints=False)
    with pytest.MonkeyPatch.context() as patch:
        shrink(patch.setattr)
        assert evaluate.main(["--runs-dir", str(folder / "runs"), "--quiet"]) == 0
    return folder


@pytest.fixture
def runs(trained, tmp_path) -> Path:
    return Path(shutil.copytree(trained / "runs", tmp_path / "runs"))


def shipped_logits(run: Path) -> np.ndarray:
    images = load_dataset("shapes").splits["test"].images
    with torch.inference_mode():
        return AlexNetWithSkip.from_pretrained(run)(torch.from_numpy(images)).numpy()


def evaluated_logits(run: Path) -> np.ndarray:
    assert evaluate.main(["--run", run.name, "--runs-dir", str(run.parent), "--quiet"]) == 0
    return read_predictions(run / "evaluation" / "test-best").logits


def test_the_published_network_is_evaluated(trained):
    run = trained / "runs" / "run"
    np.testing.assert_allclose(read_predictions(run / "evaluation" / "test-best").logits, shipped_logits(run), **FP16)


@pytest.mark.parametrize("tensor", TENSORS)
def test_each_tensor_of_the_published_file_is_evaluated(runs, tensor):
    before = read_predictions(runs / "run" / "evaluation" / "test-best").logits
    change(runs / "run" / "model", tensor)
    expected = shipped_logits(runs / "run")
    assert np.abs(expected - before).max() > 0.04, "the change must matter"
    np.testing.assert_allclose(evaluated_logits(runs / "run"), expected, **FP16)


def test_a_changed_network_is_embedded_calibrated_predicted_with_and_exported(runs, tmp_path, capsys):
    change(runs / "run" / "model", "backbone.10.weight")
    expected = shipped_logits(runs / "run")
    (runs / "run" / "evaluation" / "test-best" / "predictions.npz").unlink()
    assert embed.main(["--runs-dir", str(runs), "--layer", "logits", "--quiet", "--components", "2"]) == 0
    result = json.loads(capsys.readouterr().out)
    (table,) = Path(result["embedding"]).glob("metadata-*.tsv")
    confidence = [float(line.split("\t")[3]) for line in table.read_text().splitlines()[1:]]
    temperature = read_model_config(runs / "run" / "model").temperature
    np.testing.assert_allclose(confidence, metrics.softmax(expected / temperature).max(1), atol=5e-3)

    assert evaluate.main(["--runs-dir", str(runs), "--split", "val", "--fit-temperature", "--quiet"]) == 0
    val = read_predictions(runs / "run" / "evaluation" / "val-best")
    network = AlexNetWithSkip.from_pretrained(runs / "run")
    assert network.temperature == pytest.approx(metrics.fit_temperature(val.logits, val.labels), rel=1e-4)

    images = load_dataset("shapes").splits["test"].images[:5]
    probabilities = np.stack([prediction.probabilities for prediction in network.predict(images)])
    np.testing.assert_allclose(probabilities, metrics.softmax(expected[:5] / network.temperature), rtol=1e-3, atol=1e-6)
    assert export_network(network, tmp_path / "model.pt2", "torch") < 1e-4
    module = torch.export.load(tmp_path / "model.pt2").module()
    np.testing.assert_allclose(module(torch.from_numpy(images)).detach().numpy(), probabilities, atol=1e-4)


def test_the_dry_run_looks_for_the_features_of_the_published_convolutions(runs, capsys):
    def to_extract() -> int:
        assert evaluate.main(["--dry-run", "--runs-dir", str(runs), "--quiet"]) == 0
        return json.loads(capsys.readouterr().out)["images_to_extract"]

    assert to_extract() == 0
    change(runs / "run" / "model", "backbone.3.weight")
    assert to_extract() == TEST_IMAGES


def test_a_backbone_tells_the_digest_of_its_own_weights_which_is_what_caches_are_named_by_already():
    loaded = load_weights("random")
    assert FrozenAlexNet(loaded.state).weights_digest == loaded.sha256 == weights_digest(loaded.state)
    # As entries have been named since the first version: a cache stays valid.
    halves = weights_digest({name: torch.full(shape, 0.5) for name, shape in STATE_SHAPES.items()})
    assert halves == "762620b0f31f3f03c42b86f09ade2060035b2b9f553ddfd5543bcd15b355dcb7"
    assert FeatureKey("d" * 64, halves, 5).short == "d7ae227f3b16"
