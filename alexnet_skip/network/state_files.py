"""The files of a published model: its head, and apart from it what many models share, so that it can lie there once."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from alexnet_skip.system.files import file_digest
from alexnet_skip.system.tensors import save_tensors

# Models from before they were apart have all in the first.
HEAD, CONVOLUTIONS, PROJECTION = "model.safetensors", "convolutions.safetensors", "projection.safetensors"
NAMES = (HEAD, CONVOLUTIONS, PROJECTION)
# The PCA projection of a head that was trained on principal coordinates, by its name in the network's state.
PROJECTION_TENSOR = "trained.head.fc1.projection"


def file_of(tensor: str) -> str:
    """The file that a tensor of a network's state is published in."""
    if tensor.startswith("backbone."):
        return CONVOLUTIONS
    return PROJECTION if tensor == PROJECTION_TENSOR else HEAD


def write_state(folder: Path, state: Mapping[str, Tensor]) -> dict[str, str]:
    """Write a network's state; returns the SHA-256 of each file by its name."""
    digests = {}
    for name in NAMES:
        tensors = {key: value for key, value in state.items() if file_of(key) == name}
        if tensors:
            save_tensors(folder / name, tensors)
            digests[name] = file_digest(folder / name)
        else:
            (folder / name).unlink(missing_ok=True)
    return digests


def read_state(folder: Path, digests: Mapping[str, str], whole: str | None) -> dict[str, Tensor]:
    """Read a network's state.

    Args:
        digests: SHA-256 of each file by its name; of older models nothing.
        whole: :func:`whole_digest` of them, or the digest of the one file of an older model; None is not checked.

    Raises:
        OSError, SafetensorError: if a file is missing or no such file.
        ValueError: if one does not fit its digest.
    """
    found = {name: file_digest(folder / name) for name in digests or NAMES if name == HEAD or (folder / name).is_file()}
    # A flipped bit would be another model. Models from before this was recorded are taken as they are.
    wrong = [name for name, digest in digests.items() if found.get(name) != digest]
    if wrong or (whole is not None and whole != whole_digest(found)):
        raise ValueError(f"the content of {wrong[0] if wrong else HEAD} does not fit the checksum in config.json")
    return {key: value for name in found for key, value in load_file(str(folder / name)).items()}


def whole_digest(digests: Mapping[str, str]) -> str:
    """One SHA-256 for all files: that of the only one, or of the list of theirs."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    listed = "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))
    return hashlib.sha256(listed.encode()).hexdigest()
