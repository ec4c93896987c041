"""Which samples an evaluation takes, and what it leaves in the run folder."""

import csv
import io
import os
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from torch.utils.tensorboard import SummaryWriter

from alexnet_skip.console import Console
from alexnet_skip.data import Dataset, train_val_positions
from alexnet_skip.errors import UserError
from alexnet_skip.files import write_json, write_text
from alexnet_skip.plots import save_figure


def choose_split(wanted: str, dataset: Dataset, val_fraction: float, console: Console) -> tuple[str, str, np.ndarray]:
    """Choose what to evaluate on.

    Returns:
        The split's name, the stored split that holds it, and the positions (N,) in that one.

    Raises:
        UserError: if the run held nothing out and the dataset has no such split.
    """
    if wanted == "test" and "test" not in dataset.splits:
        console.line(f"{dataset.name} has no test split: evaluating on val, which chose the best epoch")
        wanted = "val"
    if wanted in dataset.splits and wanted != "train":
        return wanted, wanted, np.arange(len(dataset.splits[wanted].labels))
    fraction = 0.0 if "val" in dataset.splits else val_fraction
    positions, held_out = train_val_positions(dataset.splits["train"].labels, fraction)
    if wanted == "train":
        return "train", "train", positions
    if not len(held_out):
        raise UserError(
            f"--split is {wanted}, but {dataset.name} has no such split and the run held nothing out "
            "(--val-fraction 0); use --split train, or --dataset FOLDER with FOLDER/test"
        )
    return "val", "train", held_out


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


def log_evaluation(run_folder: Path, tag: str, summary: dict[str, Any], figure: Figure) -> None:
    """Show an evaluation in the run's TensorBoard: top-k, NLL and the confusion matrix."""
    writer = SummaryWriter(str(run_folder))
    for k, value in summary["topk"].items():
        writer.add_scalar(f"evaluation/{tag}/top{k}", value, summary["epoch"])
    writer.add_scalar(f"evaluation/{tag}/nll", summary["nll"], summary["epoch"])
    writer.add_figure(f"confusion_matrix/{tag}", figure, summary["epoch"])
    writer.close()
