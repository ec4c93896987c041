"""The package's own face: what it offers, and what it costs to import."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import alexnet_skip
from alexnet_skip.api.predictions import load_predictions
from alexnet_skip.api.training import train
from alexnet_skip.network.model import AlexNetWithSkip
from alexnet_skip.pca import PCA

PROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


def in_a_fresh_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_dir_lists_what_the_package_offers_and_imports_no_torch():
    code = "import sys, alexnet_skip; print(*dir(alexnet_skip), 'torch' in sys.modules)"
    assert in_a_fresh_process(code) == "AlexNetWithSkip PCA __version__ load_predictions train False"


def test_all_that_dir_lists_can_be_had():
    version = re.search(r'^version = "(.+)"$', PROJECT.read_text(encoding="utf-8"), re.MULTILINE)[1]
    had = {name: getattr(alexnet_skip, name) for name in dir(alexnet_skip)}
    offered = {"AlexNetWithSkip": AlexNetWithSkip, "PCA": PCA, "load_predictions": load_predictions, "train": train}
    assert had == offered | {"__version__": version}


@pytest.mark.parametrize("room", ["pca", "statistics.metrics", "plots.confusion", "settings.train_arguments"])
def test_rooms_without_networks_do_without_torch(room):
    heavy = {"torch", "torchvision", "accelerate"}
    assert in_a_fresh_process(f"import sys, alexnet_skip.{room}; print(set(sys.modules).isdisjoint({heavy}))") == "True"


def test_the_pca_is_had_without_torch():
    code = "import sys; from alexnet_skip import PCA; from alexnet_skip.pca import PCA as same; print(PCA is same"
    assert in_a_fresh_process(f"{code}, 'torch' in sys.modules)") == "True False"
