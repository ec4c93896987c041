"""The peers of :mod:`benchmarks.peers`, each a script in a process of its own, maybe of another Python."""

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.peer_scripts.answers import MODEL_IS_THERE

ROOT = Path(__file__).resolve().parent.parent
# Each peer's script and the package that it needs; the quickest first, so that an interruption costs least.
PEERS = {
    "logistic_regression": ("logistic_regression", "sklearn"),
    "cv_example": ("cv_example", "accelerate"),
    "fastai": ("fastai_fine_tune", "fastai"),
}


def measure_peer(command: Sequence[str], torch_home: Path) -> dict[str, Any]:
    """Run a script of `peer_scripts`; returns the seconds until its model was there, and what it says of that.

    Raises:
        RuntimeError: if it fails; it has said why on stderr.
    """
    environment = os.environ | {"TORCH_HOME": str(torch_home)}
    began = time.perf_counter()
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        assert process.stdout is not None
        first = process.stdout.readline().rstrip()
        seconds = time.perf_counter() - began
        last = process.stdout.read()
    if process.returncode or first != MODEL_IS_THERE:
        raise RuntimeError(f"{' '.join(command)} failed with exit code {process.returncode}")
    return {"seconds": seconds} | json.loads(last)


def python_with(package: str, pythons: Sequence[str]) -> str | None:
    """The first of these Pythons that can import a package."""
    code = f"import importlib.util, sys; sys.exit(importlib.util.find_spec({package!r}) is None)"
    return next(
        (python for python in pythons if not subprocess.run([python, "-c", code], check=False).returncode), None
    )
