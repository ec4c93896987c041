"""Fixtures shared by all tests."""

import gc
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Set before any library is imported: figures without a display, and no progress bars or hub look-ups.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Figures are held against fp32's: tests train in fp32 unless they ask, on processors with native bf16 as well.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_VNNI")
# Below nohup, or a service that does the same, a hang-up is ignored, and by the programs that tests start as well.
if hasattr(signal, "SIGHUP"):
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

import numpy as np
import pytest
from accelerate.state import AcceleratorState, GradientState, PartialState
from hypothesis import settings
from tiny_run import share_processors, train_whole
from zygote import Zygote

from alexnet_skip.system.locks import folder_lock

ROOT = Path(__file__).resolve().parent.parent
# How long an example takes says something of the machine, and nothing of the code.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


def pytest_collection_finish() -> None:
    """What is imported stays: a collection, of which some runs ask for many, need not look through it each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def fresh_accelerate_state() -> Iterator[None]:
    """Accelerate keeps process-wide singletons; a test must not inherit another's."""
    yield
    AcceleratorState._reset_state(True)
    PartialState._reset_state()
    GradientState._reset_state()


@pytest.fixture(autouse=True, scope="session")
def threads() -> None:
    share_processors(setattr)


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """Starts tiny runs as processes of their own."""
    process = Zygote()
    yield process
    process.close()


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a warm cache and the finished run ``run``, made once for all processes of the suite.

    Read only: :func:`tiny_run.copy_whole` makes a copy that a test may change.
    """
    place = tmp_path_factory.getbasetemp()
    place = place.parent if "PYTEST_XDIST_WORKER" in os.environ else place
    with folder_lock(place, print):
        if not (place / "whole").exists():
            train_whole(place / "in the making")
            (place / "in the making").rename(place / "whole")
    return place / "whole"


@pytest.fixture
def another_users(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Makes an empty folder that this process may not look into; to root a folder's mode says nothing."""
    closed: list[str] = []

    def refusing(look: Callable[..., Any], end: str) -> Callable[..., Any]:
        def looked(path: Any = ".", *arguments: Any, **more: Any) -> Any:
            if isinstance(path, str | os.PathLike) and f"{path}{end}".startswith(tuple(closed)):
                raise PermissionError(13, os.strerror(13), str(path))
            return look(path, *arguments, **more)

        return looked

    def make(folder: Path) -> None:
        folder.mkdir(parents=True)
        closed.append(f"{folder}{os.sep}")

    # The folder itself is there to be seen, and nothing in it.
    for name, end in (("stat", ""), ("listdir", os.sep), ("scandir", os.sep)):
        monkeypatch.setattr(os, name, refusing(getattr(os, name), end))
    return make


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)
