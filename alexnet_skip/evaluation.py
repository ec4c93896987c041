"""What an evaluation computes, and what it leaves in the run folder."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from alexnet_skip import metrics, plots
from alexnet_skip.checkpoint import published_folder, published_name
from alexnet_skip.engine import FeatureSource, predict
from alexnet_skip.files import read_json, write_json, write_text
from alexnet_skip.model_card import model_card
from alexnet_skip.network import AlexNetWithSkip
from alexnet_skip.opened_run import Selection
from alexnet_skip.predictions import Predictions, write_predictions


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation: its folder, title, and figures (:func:`alexnet_skip.metrics.summarize`)."""

    folder: Path
    title: str
    summary: dict[str, Any]


def evaluation_folder(run: Path, split: str, which: str, *, tta: bool = False) -> Path:
    """Where a run keeps the evaluation of one of its published models on one split."""
    return run / "evaluation" / f"{split}-{published_name(which)}{'-tta' if tta else ''}"


def evaluate_model(
    model: AlexNetWithSkip,
    epoch: int,
    run: Path,
    which: str,
    dataset_name: str,
    samples: Selection,
    features: FeatureSource,
    accelerator: Accelerator,
    *,
    topk: tuple[int, ...] = (1,),
    tta: bool = False,
) -> Evaluation:
    """Evaluate a published model in one exact pass and write what comes of it; to be called on every process.

    Args:
        epoch: that the model is from.
        which: the model's name in its run: ``best``, ``last`` or ``epoch-N``.
        features: of the samples' stored split.
        tta: average the logits of both views.
    """
    names = model.class_names
    logits = predict(model.trained.to(accelerator.device), features, samples.positions, accelerator, tta=tta)
    title = f"{dataset_name} {samples.name}, {run.name}, {published_name(which)}"
    title += "" if which.startswith("epoch") else f" (epoch {epoch})"
    summary = {"dataset": dataset_name, "split": samples.name, "tta": tta, "epoch": epoch}
    summary |= metrics.summarize(logits, samples.labels, names, topk)
    where = evaluation_folder(run, samples.name, which, tta=tta)
    if accelerator.is_main_process:
        figure = plots.confusion_matrix_figure(np.array(summary["confusion_matrix"]), names, title)
        predictions = Predictions(logits, samples.labels, samples.index, samples.split.digest)
        write_evaluation(where, summary, predictions, figure)
        log_evaluation(run, where.name, summary, figure)
        add_to_card(run, published_folder(run, which))
    accelerator.wait_for_everyone()
    return Evaluation(where, title, summary)


def write_evaluation(where: Path, summary: dict[str, Any], predictions: Predictions, figure: Figure) -> None:
    """Write predictions.npz, confusion_matrix.csv and confusion_matrix.png, and metrics.json last."""
    where.mkdir(parents=True, exist_ok=True)
    write_predictions(where, predictions)
    names = list(summary["per_class"])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["true \\ predicted", *names])
    writer.writerows([name, *row] for name, row in zip(names, summary["confusion_matrix"], strict=True))
    write_text(where / "confusion_matrix.csv", table.getvalue())
    plots.save_figure(figure, where / "confusion_matrix.png")
    write_json(where / "metrics.json", summary)


def add_to_card(run_folder: Path, published: Path) -> None:
    """Write every evaluation of a published model into its card."""
    config = read_json(published / "config.json")
    summaries = [read_json(path) for path in sorted(run_folder.glob("evaluation/*/metrics.json"))]
    mine = [summary for summary in summaries if summary["epoch"] == config["epoch"]]
    write_text(published / "README.md", model_card(config, mine))


def log_evaluation(run_folder: Path, tag: str, summary: dict[str, Any], figure: Figure) -> None:
    """Show an evaluation in the run's TensorBoard: top-k, NLL and the confusion matrix."""
    writer = SummaryWriter(str(run_folder))
    for k, value in summary["topk"].items():
        writer.add_scalar(f"evaluation/{tag}/top{k}", value, summary["epoch"])
    writer.add_scalar(f"evaluation/{tag}/nll", summary["nll"], summary["epoch"])
    writer.add_figure(f"confusion_matrix/{tag}", figure, summary["epoch"])
    writer.close()
