"""How much sooner we are where the source report's training gets, and how far we get beyond it.

    python -m benchmarks.time_to_accuracy --dataset FOLDER --weights FILE [--skip] [--recipe quick] [--quick]

In turn, `--repeats` times: some steps of the report's loop, and our whole command (`train.py` in a process of its own,
with an empty cache: start-up, decoding, features, basis, training, validation). The report's 100 epochs are its seconds
per step, times all steps. Then the report's recipe is trained from the cache on the same images, for as long as it
still improves, to find the best accuracy that it ever has on the held-out ones: `ratio` is the report's 100 epochs over
our time to the first epoch at least as good, `ratio_best_epoch` the report's loop stopped at that best epoch over the
same, `ratio_fast` the report's 100 epochs over our whole command. Its 100 epochs are of all images, as it has them; its
loop up to the best epoch is of those that are trained on here. What is known so far goes to stderr; the last line is
one JSON object.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from alexnet_skip.network.weights import load_weights
from benchmarks.command_line import benchmark_parser, machine, print_result
from benchmarks.report_loop import BATCH_SIZE, EPOCHS, ReportTraining, list_training_images
from benchmarks.timing import ratio_summary

TRAIN = Path(__file__).resolve().parent.parent / "train.py"
# Without regularisation the report's recipe is past its best within about ten epochs; where it is not, it goes on.
REPORT_EPOCHS, REPORT_PATIENCE = 10, 3

History = list[dict[str, Any]]


def read_history(path: Path) -> History:
    """The finished lines of a metrics.jsonl; none if it is not there yet."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line[-1] == "\n"]


def run_ours(folder: Path, options: Sequence[str]) -> dict[str, Any]:
    """Run train.py in a fresh folder; returns its summary, wall-clock seconds, and seconds until each epoch's figures.

    The seconds are from before Python starts until the line of the epoch is seen in metrics.jsonl.
    """
    metrics = folder / "runs" / "ours" / "metrics.jsonl"
    places = ["--cache-dir", str(folder / "cache"), "--runs-dir", str(folder / "runs"), "--name", "ours"]
    seen: list[float] = []
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(0.05):
            seen.extend([time.perf_counter() - began] * (len(read_history(metrics)) - len(seen)))

    began = time.perf_counter()
    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        command = [sys.executable, str(TRAIN), *options, *places, "--quiet"]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
        seconds = time.perf_counter() - began
    finally:
        finished.set()
        watcher.join()
    if done.returncode:
        raise RuntimeError(f"train.py failed:\n{done.stderr[-3000:]}")
    history = read_history(metrics)
    seen += [seconds] * (len(history) - len(seen))
    return json.loads(done.stdout.splitlines()[-1]) | {"wall_seconds": seconds, "history": history, "seen": seen}


def steps_of(num_images: int) -> int:
    """Steps of an epoch of the report's loop."""
    return -(-num_images // BATCH_SIZE)


def best_epoch(history: History) -> dict[str, Any]:
    """The line of the epoch with the best top-1 on the held-out images; the first of several."""
    return max(history, key=lambda line: line["val_top1"])


def train_while_improving(train: Callable[[int], History], epochs: int, patience: int, limit: int = EPOCHS) -> History:
    """Train for some epochs, then on until the last few were no better than one before them.

    Args:
        train: goes on until so many epochs are done in all, and returns their history.
        epochs: how many at least.
        patience: how many epochs without a new best end it; 0 trains ``epochs`` and no more.
        limit: how many at most.
    """
    history = train(epochs)
    while len(history) < limit and best_epoch(history)["epoch"] > len(history) - patience:
        history = train(min(len(history) + patience, limit))
    return history


def tell(**known: Any) -> None:
    """What is known so far, for whoever waits, or has to stop before the end."""
    print(json.dumps(known), file=sys.stderr, flush=True)


def ratios(
    step_seconds: Sequence[float], num_images: int, num_train: int, report_history: History, runs: Sequence[dict]
) -> dict[str, Any]:
    """What the times of the report's steps and of our runs come to.

    Args:
        step_seconds: of the report's step, before, between and after our runs.
        num_images: that the report trains on, all there are.
        num_train: that are trained on here, since some are held out.
        report_history: of its recipe, on those.
        runs: ours, as :func:`run_ours` returns them.

    Returns:
        Ratios (median, smallest, largest); without those to the report's best accuracy if a run has not reached it.
    """
    best = best_epoch(report_history)
    around = [(a + b) / 2 for a, b in pairwise(step_seconds)]
    hundred = [EPOCHS * steps_of(num_images) * seconds for seconds in around]
    until_best = [best["epoch"] * steps_of(num_train) * seconds for seconds in around]
    reached = [
        [s for s, line in zip(run["seen"], run["history"], strict=True) if line["val_top1"] >= best["val_top1"]]
        for run in runs
    ]
    found: dict[str, Any] = {"ratio_fast": ratio_summary(hundred, [run["wall_seconds"] for run in runs])}
    if all(reached):
        ours = [seconds[0] for seconds in reached]
        found["ratio"] = ratio_summary(hundred, ours)
        found["ratio_best_epoch"] = ratio_summary(until_best, ours)
        found["seconds_to_reports_best"] = ours
    return found


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    """Run both in turn, then the report's recipe from the cache; returns ratios and accuracies."""
    paths, labels = list_training_images(arguments.dataset)
    report = ReportTraining(paths, labels, load_weights(arguments.weights).state, arguments.skip)
    steps, repeats = (1, 1) if arguments.quick else (arguments.steps, arguments.repeats)
    report_epochs, patience = (1, 0) if arguments.quick else (REPORT_EPOCHS, REPORT_PATIENCE)
    common = ["--dataset", str(arguments.dataset), "--weights", arguments.weights]
    common += ["--skip" if arguments.skip else "--no-skip"]
    small = ("--epochs", "2", "--pca-basis", "8", "--val-fraction", "0.5") if arguments.quick else ()
    asked = [*common, "--recipe", arguments.recipe, *small]
    runs, step_seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        report.seconds_per_step(min(2, steps))  # workers start, buffers are made
        step_seconds.append(report.seconds_per_step(steps))
        for number in range(repeats):
            where = Path(folder) / str(number)
            runs.append(run_ours(where, asked))
            step_seconds.append(report.seconds_per_step(steps))
            tell(report_seconds_per_step=step_seconds, **{key: runs[-1][key] for key in ("wall_seconds", "seen")})
        # The last run's cache serves the report's recipe: how soon it gets there is known from its steps.
        run = Path(folder) / "report"
        recipe = [*common, "--recipe", "report", "--val-fraction", "0.5" if arguments.quick else "0.1"]
        recipe += ["--cache-dir", str(where / "cache"), "--runs-dir", folder, "--name", run.name]

        def train_report(epochs: int) -> History:
            options = ["--resume", str(run)] if run.is_dir() else [*recipe, "--checkpoint-epochs", "1"]
            command = [sys.executable, str(TRAIN), *options, "--epochs", str(epochs), "--quiet"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            history = read_history(run / "metrics.jsonl")
            tell(report_val_top1=[line["val_top1"] for line in history])
            return history

        report_history = train_while_improving(train_report, report_epochs, patience)
        num_train = json.loads((run / "config.json").read_text(encoding="utf-8"))["num_train"]

    result: dict[str, Any] = {"benchmark": "time_to_accuracy", "skip": arguments.skip, "num_images": len(paths)}
    result["recipe"] = arguments.recipe
    result |= ratios(step_seconds, len(paths), num_train, report_history, runs)
    return result | {
        "seconds_fast": [run["wall_seconds"] for run in runs],
        "seconds_by_phase": [run["seconds"] for run in runs],
        "report_seconds_per_step": step_seconds,
        "report_val_top1": [line["val_top1"] for line in report_history],
        "report_val_top3": [line.get("val_top3") for line in report_history],
        "report_best_epoch": best_epoch(report_history)["epoch"],
        "fast_val_top1": [[line["val_top1"] for line in run["history"]] for run in runs],
        "fast_val_top3": [run["best"].get("val_top3") for run in runs],
    } | machine()  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    parser = benchmark_parser(__doc__)
    parser.add_argument("--skip", action="store_true", help="both with the skip connection")
    parser.add_argument("--recipe", choices=("fast", "quick"), default="fast", help="ours; the rival's is the report's")
    parser.add_argument("--steps", type=int, default=60, help="steps of the report's loop that are timed at once")
    parser.add_argument("--repeats", type=int, default=2, help="runs of our whole command")
    print_result(measure(parser.parse_args(argv)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
