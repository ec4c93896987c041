"""The state of every generator of random numbers that a process draws from."""

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch


def random_state(device: torch.device) -> dict[str, Any]:
    """States by generator: Python's, NumPy's global one, torch's, and on a GPU that one's."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 (a library may draw from it)
    state = {"python": random.getstate(), "numpy": numpy_state, "torch": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Undo :func:`random_state`; a run that moves to or from a GPU keeps what it can."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])
