"""Does time grow in step with the number of images, does memory stay the same, and what does a second process bring?

    python -m benchmarks.scaling --dataset FOLDER --weights FILE [--quick]

For each number of images and processes, in processes of their own with an empty cache: extract the features, then fit
the basis and train one epoch in it. Every launch has as many threads as this machine has processors, shared among its
processes. `seconds_per_image`, `peak_mib` (above what the process held before it read an image) and
`ratio_two_processes`: extraction by two processes with one thread each against one process with two, in the same round.
The last line is one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_skip.images.file import read_image
from alexnet_skip.system.machine import available_cpus
from benchmarks.command_line import benchmark_parser, machine, print_result
from benchmarks.report_loop import list_training_images
from benchmarks.timing import ratio_summary

ROOT = Path(__file__).resolve().parent.parent


def launch(images: Path, weights: str, num_images: int, processes: int, pca_basis: int) -> dict[str, float]:
    """Run the work of :mod:`benchmarks.scaling_worker` on some processes; returns the main one's figures."""
    threads = max(1, available_cpus() // processes)
    with tempfile.TemporaryDirectory(dir=images.parent) as cache:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes)]
        worker = ["-m", "benchmarks.scaling_worker", str(images), weights, str(num_images), str(pca_basis), cache]
        done = subprocess.run(
            [sys.executable, *launcher, *worker], cwd=ROOT, capture_output=True, text=True, check=False,
            env=os.environ | {"ACCELERATE_USE_CPU": "1", "OMP_NUM_THREADS": str(threads)},
        )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"scaling_worker failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run every number of images, one process and two in turn."""
    sizes, pca_basis = ((16,), 8) if arguments.quick else ((5_000, 20_000, 80_000), 1024)
    paths, labels = list_training_images(arguments.dataset)
    paths = paths[: max(sizes)]
    result: dict[str, Any] = {"benchmark": "scaling", "sizes": list(sizes)}
    with tempfile.TemporaryDirectory() as folder:
        # One file for all: where there are fewer images than asked for they come again, which costs the same.
        stored = Path(folder) / "images"
        images = np.stack([read_image(path, None) for path in paths])
        index = np.arange(max(sizes)) % len(paths)
        np.save(stored.with_suffix(".npy"), images[index])
        np.save(stored.with_suffix(".labels.npy"), np.array(labels)[index])
        # Two processes only up to the middle size: what they bring does not depend on it.
        both = sizes[: max(1, len(sizes) - 1)]
        pairs = [(n, p) for n in sizes for p in ((1, 2) if n in both else (1,))]
        rounds = {(n, p): launch(stored, arguments.weights, n, p, pca_basis) for n, p in pairs}
    for phase in ("extract", "train"):
        result[f"seconds_per_image_{phase}"] = {
            f"{n} images, {p} process(es)": figures[f"{phase}_seconds"] / n for (n, p), figures in rounds.items()
        }
        one = [rounds[n, 1][f"{phase}_seconds"] / n for n in sizes]
        result[f"growth_{phase}"] = round(one[-1] / one[0], 3)
    result["peak_mib"] = {f"{n} images, {p} process(es)": f["peak_mib"] for (n, p), f in rounds.items()}
    result["growth_memory"] = round(rounds[sizes[-1], 1]["peak_mib"] / rounds[sizes[0], 1]["peak_mib"], 3)
    result["ratio_two_processes"] = ratio_summary(
        [rounds[n, 1]["extract_seconds"] for n in both], [rounds[n, 2]["extract_seconds"] for n in both]
    )
    return result | machine()


def main(argv: Sequence[str] | None = None) -> int:
    print_result(measure(benchmark_parser(__doc__).parse_args(argv)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
