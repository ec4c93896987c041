"""Fixtures shared by all tests."""

import os
from collections.abc import Iterator
from pathlib import Path

# Set before any library is imported: figures without a display, and no progress bars or hub look-ups.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState, GradientState, PartialState
from hypothesis import settings
from zygote import Zygote

ROOT = Path(__file__).resolve().parent.parent
# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(autouse=True)
def fresh_accelerate_state() -> Iterator[None]:
    """Accelerate keeps process-wide singletons; a test must not inherit another's."""
    yield
    AcceleratorState._reset_state(True)
    PartialState._reset_state()
    GradientState._reset_state()


@pytest.fixture(autouse=True, scope="session")
def two_threads() -> None:
    torch.set_num_threads(2)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Starts tiny runs as processes of their own."""
    process = Zygote()
    yield process
    process.close()


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
