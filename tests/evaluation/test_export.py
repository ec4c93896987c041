"""The exported network: one file, uint8 images of any size in, PyTorch's probabilities out."""

import json
import warnings

import numpy as np
import pytest
import torch

from alexnet_skip.evaluation import export
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.model import AlexNetWithSkip
from alexnet_skip.network.plain import PlainNetwork
from alexnet_skip.network.weights import load_weights
from alexnet_skip.system.errors import UserError

NAMES = ("cat", "dog", "ship")


@pytest.fixture(scope="module")
def network() -> AlexNetWithSkip:
    torch.manual_seed(0)
    backbone = FrozenAlexNet(load_weights("random").state)
    return AlexNetWithSkip(backbone, SkipHead("conv", 3), NAMES, (32, 32), temperature=0.5).eval()


def test_the_plain_network_is_the_fast_one(network, rng):
    """Images of the training size: the folded convolution against resize and convolution; others: against PIL."""
    plain = PlainNetwork(network)
    for size, tolerance in (((32, 32), 1e-5), ((81, 100), 0.02)):
        images = rng.integers(0, 256, (3, *size, 3), dtype=np.uint8)
        with torch.no_grad():
            found = plain(torch.from_numpy(images)).numpy()
        expected = np.stack([p.probabilities for p in network.predict(images)])
        np.testing.assert_allclose(found, expected, atol=tolerance)


def test_a_torch_file_needs_nothing_of_ours_and_predicts_the_same(network, tmp_path, rng):
    path = tmp_path / "model.pt2"
    assert export.export_network(network, path, "torch") < export.TOLERANCE
    assert [p.name for p in tmp_path.iterdir()] == ["model.pt2"]
    extra = {"class_names.json": ""}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.export.load(path, extra_files=extra).module()
    assert json.loads(extra["class_names.json"]) == list(NAMES)
    images = rng.integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    expected = np.stack([p.probabilities for p in network.predict(images)])
    np.testing.assert_allclose(module(torch.from_numpy(images)).detach().numpy(), expected, atol=1e-5)


def test_an_onnx_file_predicts_the_same_under_onnxruntime(network, tmp_path, rng):
    reason = "install the extra packages of --export onnx: python -m pip install '.[export]'"
    for package in export.ONNX_PACKAGES:
        pytest.importorskip(package, reason=reason)
    import onnxruntime

    path = tmp_path / "model.onnx"
    assert export.export_network(network, path, "onnx") < export.TOLERANCE
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["class_names"]) == list(NAMES)
    images = rng.integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    expected = np.stack([p.probabilities for p in network.predict(images)])
    np.testing.assert_allclose(session.run(None, {"images": images})[0], expected, atol=1e-5)


def test_a_file_that_differs_from_pytorch_is_not_kept(network, tmp_path, monkeypatch):
    def wrong(program, path, network):
        path.write_bytes(b"something else")
        return lambda images: np.full((len(images), len(NAMES)), 0.5)

    monkeypatch.setattr(export, "_write_torch", wrong)
    monkeypatch.setattr(torch.export, "export", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match="differs from PyTorch"):
        export.export_network(network, tmp_path / "model.pt2", "torch")
    assert not list(tmp_path.iterdir())


def test_missing_packages_are_named_with_the_way_to_get_them(monkeypatch):
    monkeypatch.setattr(export.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs onnx, onnxscript, onnxruntime; .*\[export\].*--export torch"):
        export.require_packages("onnx")
    export.require_packages("torch")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("stage", ["write", "read back"])
def test_whatever_ends_an_export_leaves_nothing_and_keeps_what_was_there(network, tmp_path, monkeypatch, stage, error):
    def refuse(*_):
        raise error

    def write(program, path, network):
        path.write_bytes(b"half of it")
        return refuse() if stage == "write" else refuse

    (tmp_path / "model.pt2").write_bytes(b"of before")
    monkeypatch.setattr(export, "_write_torch", write)
    monkeypatch.setattr(torch.export, "export", lambda *_, **__: None)
    with pytest.raises(type(error)):
        export.export_network(network, tmp_path / "model.pt2", "torch")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"model.pt2": b"of before"}
