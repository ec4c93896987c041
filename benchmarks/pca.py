"""Speed, memory and accuracy of the PCA against the report's function, scikit-learn's and torch's, for 3 components.

    python -m benchmarks.pca --dataset FOLDER --weights FILE [--features main.npy] [--quick]

All take the same features of real images, as fp32 in memory; `ours from halves` reads them from a memory-mapped fp16
file, as embed.py does. `report`: np.cov and np.linalg.eigh, as the report prints it; its axes and variances, in
float64, are the exact answer that the others are held against. Subspace error: sine of the largest angle between the
three axes and the exact ones. Variance error: the largest relative one. Extra memory: growth of the process's own
memory during a call, over the size of the fp32 features. The last line is one JSON object.
"""

import argparse
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA as SklearnPCA

from alexnet_skip.features.cache import compute_features
from alexnet_skip.images.file import read_image
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.weights import load_weights
from alexnet_skip.pca.estimator import PCA
from benchmarks.command_line import benchmark_parser, machine, print_result
from benchmarks.report_loop import list_training_images
from benchmarks.timing import ratio_summary

K = 3
BLOCK_ROWS = 512
SAMPLE_SECONDS = 0.005
# Minutes a call: once or twice is enough to compare with.
SLOW = ("report", "scikit-learn covariance_eigh")

Result = tuple[np.ndarray, np.ndarray]
"""Axes (3, D) and variances (3,)."""


def report_pca(features: np.ndarray) -> Result:
    """The report's own function: centre, covariance, eigenvectors of all of it, the leading ones."""
    centred = features - features.mean(axis=0)
    values, vectors = np.linalg.eigh(np.cov(centred, rowvar=False))
    order = np.argsort(values)[::-1][:K]
    return vectors[:, order].T, values[order]


def ours(features: np.ndarray) -> Result:
    pca = PCA(K).fit(features)
    return pca.components_, pca.explained_variance_


def sklearn_pca(features: np.ndarray, solver: str) -> Result:
    pca = SklearnPCA(K, svd_solver=solver, random_state=0).fit(features)
    return pca.components_, pca.explained_variance_


def torch_pca(features: np.ndarray) -> Result:
    _, singular, axes = torch.pca_lowrank(torch.from_numpy(features), q=K)
    return axes.T.numpy(), (singular**2 / (len(features) - 1)).numpy()


class MemoryWatch:
    """Bytes by which this process's own memory (not maps of files) grows within a block; 0 where nobody tells."""

    def __enter__(self) -> "MemoryWatch":
        self.before = self.peak = own_bytes()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._watch)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.ended.wait(SAMPLE_SECONDS):
            self.peak = max(self.peak, own_bytes())

    def __exit__(self, *_: object) -> None:
        self.peak = max(self.peak, own_bytes())
        self.ended.set()
        self.thread.join()

    @property
    def grown(self) -> int:
        return self.peak - self.before


def own_bytes() -> int:
    try:
        status = Path("/proc/self/status").read_text()
    except OSError:
        return 0
    return next((1024 * int(line.split()[1]) for line in status.splitlines() if line.startswith("RssAnon")), 0)


def subspace_error(axes: np.ndarray, exact: np.ndarray) -> float:
    """Sine of the largest angle between the spans of orthonormal rows (3, D): what is left of one outside the other."""
    axes = np.linalg.qr(axes.astype(np.float64).T)[0].T
    return float(np.linalg.norm(axes - (axes @ exact.T) @ exact, 2))


def real_features(arguments: argparse.Namespace, folder: Path) -> np.ndarray:
    """Memory map of fp16 features (N, 9216) of images of all classes in turn."""
    if arguments.features is not None:
        cached = np.load(arguments.features, mmap_mode="r")
        rows = np.linspace(0, len(cached) - 1, min(arguments.images, len(cached))).astype(int)
        values = cached[rows]
    else:
        paths, _ = list_training_images(arguments.dataset)
        paths = paths[: arguments.images]
        backbone = FrozenAlexNet(load_weights(arguments.weights).state)
        blocks = []
        for start in range(0, len(paths), BLOCK_ROWS):
            images = np.stack([read_image(path, None) for path in paths[start : start + BLOCK_ROWS]])
            blocks.append(compute_features(backbone, images, ["main"])["main"])
        values = np.concatenate(blocks)
    np.save(folder / "main.npy", values[:, ::16] if arguments.quick else values)
    return np.load(folder / "main.npy", mmap_mode="r")


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run all in turn; returns ratios of time, extra memory and errors."""
    repeats, slow_repeats = (1, 1) if arguments.quick else (arguments.repeats, arguments.slow_repeats)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:  # Windows keeps mapped files
        halves = real_features(arguments, Path(folder))
        features = np.array(halves, dtype=np.float32)
        contestants: dict[str, Callable[[], Result]] = {
            "report": lambda: report_pca(features),
            "ours": lambda: ours(features),
            "ours from halves": lambda: ours(halves),
            "scikit-learn auto": lambda: sklearn_pca(features, "auto"),
            "scikit-learn randomized": lambda: sklearn_pca(features, "randomized"),
            "scikit-learn covariance_eigh": lambda: sklearn_pca(features, "covariance_eigh"),
            "torch.pca_lowrank": lambda: torch_pca(features),
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        memory: dict[str, int] = dict.fromkeys(contestants, 0)
        results: dict[str, Result] = {}
        for round_number in range(-1, repeats):
            for name, function in contestants.items():
                # Slow ones need no round to warm up, and not as many.
                if name in SLOW and not 0 <= round_number < slow_repeats:
                    continue
                with MemoryWatch() as watch:
                    start = time.perf_counter()
                    results[name] = function()
                    taken = time.perf_counter() - start
                memory[name] = max(memory[name], watch.grown)
                if round_number >= 0:
                    seconds[name].append(taken)
    return summarize(seconds, memory, results, features) | machine()


def summarize(
    seconds: dict[str, list[float]], memory: dict[str, int], results: dict[str, Result], features: np.ndarray
) -> dict[str, Any]:
    """Ratios against ours of the same round, and each one's figures."""
    exact_axes, exact_variances = results["report"]
    rivals = {}
    for name, (axes, variances) in results.items():
        comparable = axes.shape == exact_axes.shape
        rivals[name] = {
            "seconds": [round(value, 3) for value in seconds[name]],
            "extra_memory": round(memory[name] / features.nbytes, 3),
            "subspace_error": float(f"{subspace_error(axes, exact_axes):.2e}") if comparable else None,
            "variance_error": float(f"{np.abs(variances / exact_variances - 1).max():.2e}") if comparable else None,
        }
    return {
        "benchmark": "pca",
        "shape": list(features.shape),
        "solver": PCA(K).fit(features).solver_,
        "ratio_report": ratio_summary(seconds["report"], seconds["ours"][: len(seconds["report"])]),
        "ratio_sklearn": ratio_summary(seconds["scikit-learn auto"], seconds["ours"]),
        "ratio_torch": ratio_summary(seconds["torch.pca_lowrank"], seconds["ours"]),
        "rivals": rivals,
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--features", type=Path, help="main.npy of a feature cache, instead of extracting them")
    parser.add_argument("--images", type=int, default=10_000, help="rows of the matrix")
    parser.add_argument("--repeats", type=int, default=5, help="timed rounds")
    parser.add_argument("--slow-repeats", type=int, default=2, help="rounds that the slow ones take part in")
    print_result(measure(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
