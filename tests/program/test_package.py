"""The package's own face: what it offers, and what it costs to import."""

import subprocess
import sys

import pytest


def in_a_fresh_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_dir_lists_what_the_package_offers_and_imports_no_torch():
    code = "import sys, alexnet_skip; print(*dir(alexnet_skip), 'torch' in sys.modules)"
    assert in_a_fresh_process(code) == "AlexNetWithSkip PCA __version__ load_predictions train False"


def test_all_that_dir_lists_can_be_had():
    import alexnet_skip

    for name in dir(alexnet_skip):
        assert getattr(alexnet_skip, name) is not None


@pytest.mark.parametrize("room", ["pca", "statistics.metrics", "plots.confusion", "settings.train_arguments"])
def test_rooms_without_networks_do_without_torch(room):
    heavy = {"torch", "torchvision", "accelerate"}
    assert in_a_fresh_process(f"import sys, alexnet_skip.{room}; print(set(sys.modules).isdisjoint({heavy}))") == "True"


def test_the_pca_is_had_without_torch():
    code = "import sys; from alexnet_skip import PCA; from alexnet_skip.pca import PCA as same; print(PCA is same"
    assert in_a_fresh_process(f"{code}, 'torch' in sys.modules)") == "True False"
