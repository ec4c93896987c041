"""What an evaluation leaves in the run folder."""

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from alexnet_skip.files import read_json, write_json, write_text
from alexnet_skip.model_card import model_card
from alexnet_skip.plots import save_figure


def write_evaluation(
    where: Path,
    summary: dict[str, Any],
    logits: np.ndarray,
    labels: np.ndarray,
    index: np.ndarray,
    digest: str,
    figure: Figure,
) -> None:
    """Write metrics.json, predictions.npz, confusion_matrix.csv and confusion_matrix.png.

    Args:
        logits: (N, num_classes).
        labels: true classes (N,).
        index: stable sample ids (N,).
        digest: of the split that the samples come from.
    """
    where.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, logits=logits.astype(np.float32), labels=labels, index=index, digest=np.array(digest))
    temporary = where / "predictions.npz.tmp"
    temporary.write_bytes(buffer.getvalue())
    os.replace(temporary, where / "predictions.npz")
    names = list(summary["per_class"])
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["true \\ predicted", *names])
    writer.writerows([name, *row] for name, row in zip(names, summary["confusion_matrix"], strict=True))
    write_text(where / "confusion_matrix.csv", table.getvalue())
    save_figure(figure, where / "confusion_matrix.png")
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
