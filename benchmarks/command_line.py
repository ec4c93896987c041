"""What all benchmarks have on their command line, and how they print."""

import argparse
import json
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from alexnet_skip.system.machine import available_cpus


def benchmark_parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with --dataset, --weights and --quick."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dataset", type=Path, required=True, help="folder with train/<class>/<image>")
    parser.add_argument("--weights", default="imagenet", help="imagenet, random, or a file of torchvision's AlexNet")
    parser.add_argument("--quick", action="store_true", help="tiny and once: that it runs, not how fast")
    return parser


def machine() -> dict[str, Any]:
    """What a figure was measured on."""
    return {
        "machine": platform.processor() or platform.machine(),
        "num_cpus": available_cpus(),
        "num_threads": torch.get_num_threads(),
        "torch": torch.__version__,
    }


def print_result(result: Mapping[str, Any]) -> None:
    """Ratios as a small table, then all as one JSON line, where NAME is a ratio's median beside NAME_min and NAME_max.

    Args:
        result: figures; those of :func:`benchmarks.timing.ratio_summary` are the ratios.
    """
    flat: dict[str, Any] = {}
    for name, value in result.items():
        if isinstance(value, dict) and {"median", "min", "max"} == set(value):
            print(f"{name:28} {value['median']:9.3f}   ({value['min']:.3f} to {value['max']:.3f})")
            flat |= {name: value["median"], f"{name}_min": value["min"], f"{name}_max": value["max"]}
        else:
            flat[name] = value
    print(json.dumps(flat), flush=True)
