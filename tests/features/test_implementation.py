"""Features are kept under what computed them, and computed in true fp32 wherever that is."""

import json
from contextlib import nullcontext
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_run import BLOCK_ROWS, shrink

from alexnet_skip.features import entries, source
from alexnet_skip.features.cache import UNRECORDED_IMPLEMENTATION, FeatureCache, FeatureKey
from alexnet_skip.features.source import FrozenFeatures, cache_entry
from alexnet_skip.images.dataset import Dataset, Split
from alexnet_skip.network import backbone as network
from alexnet_skip.network.backbone import CPU_IMPLEMENTATION, FrozenAlexNet, implementation
from alexnet_skip.network.weights import load_weights
from alexnet_skip.system.console import Console

# A key as every version before wrote it into its manifests, and the name that it had.
OLD_KEY = {
    "data_digest": "d" * 64,
    "weights_digest": "w" * 64,
    "num_samples": 5,
    "image_size": 224,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "resize": "bilinear, antialias when down-scaling, to a square",
    "tap": "features[8] before ReLU, AdaptiveAvgPool2d(6)",
    "dtype": "float16",
    "block_rows": 512,
    "format_version": 1,
}
OLD_NAME = "7822dcc839d3"


@pytest.fixture(scope="module")
def backbone() -> FrozenAlexNet:
    return FrozenAlexNet(load_weights("random").state)


def test_a_key_of_the_cpu_of_today_is_written_and_named_as_before_there_was_a_field_for_it():
    key = FeatureKey("d" * 64, "w" * 64, 5, implementation=implementation(torch.device("cpu")))
    assert key.as_json() == OLD_KEY
    assert key.short == OLD_NAME


def test_other_devices_and_a_cpu_computing_otherwise_have_entries_of_their_own(monkeypatch):
    devices = [torch.device(name) for name in ("cpu", "cuda:0", "mps")]
    made_by = [implementation(device) for device in devices]
    monkeypatch.setattr(network, "CPU_IMPLEMENTATION", "CPU: version 2")
    made_by.append(implementation(devices[0]))
    keys = [FeatureKey("d", "w", 5, implementation=each) for each in made_by]
    assert len({key.short for key in keys}) == len({json.dumps(key.as_json()) for key in keys}) == 4
    assert implementation(torch.device("cuda:0")) == implementation(torch.device("cuda:1"))


def test_the_unrecorded_implementation_is_a_text_of_its_own():
    # Whoever bumps CPU_IMPLEMENTATION finds this failing and takes it out: old entries are not of the new one.
    assert UNRECORDED_IMPLEMENTATION == CPU_IMPLEMENTATION
    assert FeatureKey(**OLD_KEY).implementation == UNRECORDED_IMPLEMENTATION


@pytest.fixture
def shapes(rng, monkeypatch) -> Dataset:
    shrink(monkeypatch.setattr)
    images = rng.integers(0, 256, (BLOCK_ROWS + 3, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(len(images)) % 2
    return Dataset("few", "few", ("a", "b"), {"train": Split(images, labels, np.arange(len(images)), "d" * 64)})


def open_features(tmp_path, dataset: Dataset, backbone: FrozenAlexNet) -> np.ndarray:
    frozen = FrozenFeatures(backbone, tmp_path / "cache", Accelerator(cpu=True), Console(quiet=True))
    return np.array(frozen.open(dataset, "train", tap=False).views[0][0])


def test_an_entry_from_before_the_field_is_used_as_it_is_and_listed_and_verified(
    tmp_path, shapes, backbone, monkeypatch
):
    expected = open_features(tmp_path, shapes, backbone)
    (folder,) = (tmp_path / "cache").iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    old = OLD_KEY | {"weights_digest": backbone.weights_digest, "num_samples": len(expected)}
    (folder / "manifest.json").write_text(json.dumps({"key": old, "crc32": manifest["crc32"]}))
    monkeypatch.setattr(source, "extract", lambda *_: pytest.fail("what is in the cache was extracted again"))
    assert np.array_equal(open_features(tmp_path, shapes, backbone), expected)
    (entry,) = entries.read_entries(tmp_path / "cache", tmp_path / "runs")
    assert (entry.state, entry.num_samples) == ("complete", len(expected))
    assert entries.verify_entry(entry) == []


def test_an_entry_of_another_implementation_is_listed_and_verified_but_never_taken(
    tmp_path, shapes, backbone, monkeypatch
):
    expected = open_features(tmp_path, shapes, backbone)
    (old,) = (tmp_path / "cache").iterdir()
    monkeypatch.setattr(network, "CPU_IMPLEMENTATION", "CPU: version 2")
    assert np.array_equal(open_features(tmp_path, shapes, backbone), expected)
    (new,) = set((tmp_path / "cache").iterdir()) - {old}
    assert json.loads((new / "manifest.json").read_text())["key"]["implementation"] == "CPU: version 2"
    found = entries.read_entries(tmp_path / "cache", tmp_path / "runs")
    assert [entry.state for entry in found] == ["complete", "complete"]
    assert [entries.verify_entry(entry) for entry in found] == [[], []]


def test_a_manifest_of_another_implementation_in_the_same_folder_counts_for_nothing(tmp_path):
    key = FeatureKey("d", "w", 5)
    (tmp_path / "manifest.json").write_text(
        json.dumps({"key": key.as_json() | {"implementation": "other"}, "crc32": {"main": [1]}})
    )
    assert FeatureCache(tmp_path, key).recorded_checksums()["main"] == {}
    mine = FeatureCache(tmp_path, replace(key, implementation="other"))
    assert mine.recorded_checksums()["main"] == {0: 1}


def test_every_setting_of_a_key_is_in_its_name():
    key = FeatureKey("d", "w", 5)
    others = [
        replace(key, **{name: value * 2 if isinstance(value, (str, tuple)) else value + 1})
        for name, value in asdict(key).items()
    ]
    assert len({other.short for other in (key, *others)}) == 1 + len(asdict(key))


def flags() -> tuple[bool, bool, str]:
    backends = torch.backends
    return backends.cudnn.allow_tf32, backends.cuda.matmul.allow_tf32, torch.get_float32_matmul_precision()


@pytest.mark.parametrize("convolutions", [True, False])
@pytest.mark.parametrize("products", ["highest", "high", "medium"])
def test_on_a_gpu_features_are_computed_without_tf32_and_the_callers_settings_come_back(
    backbone, monkeypatch, products, convolutions
):
    # The meta device stands in for a GPU: it takes the same way and computes nothing.
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    seen = []
    convolve = FrozenAlexNet.convolutions
    monkeypatch.setattr(FrozenAlexNet, "convolutions", lambda *a: seen.append(flags()) or convolve(*a))
    stand_in = FrozenAlexNet(backbone.torchvision_state()).to("meta")
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    try:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
        outside = flags()
        main, _ = stand_in(torch.zeros(2, 32, 32, 3, dtype=torch.uint8, device="meta"))
        assert main.shape == (2, 256, 6, 6)
        assert seen == [(False, False, "highest")]
        assert flags() == outside
        with pytest.raises(RuntimeError, match="stop"), network.fp32_products("cuda"):
            raise RuntimeError("stop")
        assert flags() == outside
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def test_the_entry_is_that_of_the_device_that_computes(shapes, tmp_path):
    cpu, gpu = (cache_entry(tmp_path, shapes, "train", "w", torch.device(name)) for name in ("cpu", "cuda"))
    assert cpu.folder != gpu.folder
    assert gpu.key.implementation == implementation(torch.device("cuda"))
