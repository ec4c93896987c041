"""What TensorBoard shows of a run beside its curves: tables, pictures, precision and recall, the network's graph."""

import re
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard._pytorch_graph import graph
from torch.utils.tensorboard.summary import hparams

from alexnet_skip.images.split import Images
from alexnet_skip.plots.confusion import confusion_matrix_figure
from alexnet_skip.plots.gallery import confident_mistakes, gallery, sample
from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.records import RunConfig
from alexnet_skip.statistics import metrics
from alexnet_skip.training.log import TAGS

# More curves than this nobody looks through; the first classes have one.
MAX_CURVES = 100
VAL_PICTURES = "8 val, best epoch"
# Names of modules that only hold others: "PlainNetwork/AlexNetWithSkip[network]/FrozenAlexNet[backbone]/Conv2d[0]".
SCOPES = re.compile(r"^PlainNetwork/|AlexNetWithSkip\[network\]/|ModuleDict\[features\]/")


def markdown_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown; bars and line ends in cells are kept from breaking it."""

    def cell(value: object) -> str:
        return str(value).replace("|", "\\|").replace("\n", " ")

    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def charts(num_classes: int) -> dict[str, dict[str, Any]]:
    """Charts for the tab "Custom Scalars": of many runs first one line each, then train beside val."""
    of_val = {f"top-{k}": [f"val_top{k}"] for k in metrics.usual_topk(num_classes)} | {"loss": ["val_loss"]}
    of_both = {
        "top-1": ["train_eval_top1", "val_top1"],
        "loss": ["train_eval_loss", "val_loss"],
        "loss, as minimised": ["train_loss", "val_loss"],
    }
    of_steps = {"learning rate": ["lr"], "gradient norm": ["grad_norm"]}
    # The tab takes each for a pattern of how a tag begins.
    return {
        title: {name: ["Multiline", [f"{re.escape(TAGS[f])}$" for f in figures]] for name, figures in shown.items()}
        for title, shown in {"val": of_val, "train beside val": of_both, "optimizer": of_steps}.items()
    }


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as one level: ``training.lr`` and so on."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
    return found


def log_texts(writer: SummaryWriter, config: RunConfig) -> None:
    """Fill the tab "Text" and lay out "Custom Scalars": to be called before the first epoch."""
    dataset, precision = config.dataset, config.precision
    writer.add_custom_scalars(charts(len(dataset.class_names)))
    about: dict[str, Any] = {"name": dataset.name, "source": dataset.source, "digest": dataset.digest}
    about |= {"classes": ", ".join(dataset.class_names), "images to train on": f"{config.num_train:,}"}
    about |= {"images held out": f"{config.num_val:,}", "image size": "×".join(map(str, config.image_size or ()))}
    machine: dict[str, Any] = {"device": config.device, "processes": config.num_processes}
    machine |= {"precision": f"{precision.mixed_precision} ({precision.reason})"} if precision else {}
    tables = {
        "1 settings": flat(to_dict(config.settings)),
        "2 dataset": about,
        "3 weights": vars(config.weights) if config.weights else {},
        "5 environment": machine | config.environment,
    }
    for name, values in tables.items():
        writer.add_text(name, markdown_table(("name", "value"), list(values.items())))


def log_trained(writer: SummaryWriter, model: nn.Module, epochs_before: int) -> None:
    """Tell in "Text" what is trained in a stage: to be called before its first epoch."""
    table = markdown_table(("tensor", "shape", "values"), parameter_rows(model))
    writer.add_text("4 model", table, epochs_before)


def parameter_rows(model: nn.Module) -> list[list[str]]:
    """Name, shape and size of every trained tensor, then their sum."""
    rows = [[name, "×".join(map(str, p.shape)), f"{p.numel():,}"] for name, p in model.named_parameters()]
    return [*rows, ["all that is trained", "", f"{sum(p.numel() for p in model.parameters()):,}"]]


def log_hparams(writer: SummaryWriter, settings: Mapping[str, Any]) -> None:
    """Fill the tab "HParams" with settings beside the last value of every curve.

    Not ``add_hparams``, nor Accelerate's tracker: both write into folders of their own, which appear as stray runs.

    Args:
        settings: text, numbers and booleans by name; anything else is written as text.
    """
    plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in settings.items()}
    # Without the experiment's own list of columns: of several runs' lists the tab takes one, and without any it looks
    # which settings the runs have and puts those first in which they differ.
    _, *session = hparams(plain, {})
    for summary in session:
        writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]


def log_validation(
    writer: SummaryWriter,
    images: Images,
    chances: np.ndarray,
    labels: np.ndarray,
    class_names: Sequence[str],
    epoch: int,
    title: str,
) -> None:
    """Fill "Images" and "PR Curves" from the held-out images at the best epoch.

    Args:
        images: uint8 (N, H, W, 3).
        chances: probabilities (N, C), as the published model tells them.
        labels: true classes (N,).
    """
    pictures = {
        f"{VAL_PICTURES}/{name}": gallery(images[rows], chances[rows], labels[rows], class_names, title)
        for name, rows in (
            ("2 sample predictions", sample(len(labels))),
            ("3 most confident mistakes", confident_mistakes(chances, labels)),
        )
    }
    confusion = metrics.confusion_matrix(labels, chances.argmax(axis=1), len(class_names))
    pictures[f"{VAL_PICTURES}/1 confusion matrix"] = confusion_matrix_figure(confusion, class_names, title)
    for name, figure in pictures.items():
        writer.add_figure(name, figure, epoch)
    for label, name in list(enumerate(class_names))[:MAX_CURVES]:
        writer.add_pr_curve(f"precision and recall/{name}", labels == label, chances[:, label], epoch)


def log_graph(writer: SummaryWriter, network: nn.Module, image_size: tuple[int, int]) -> None:
    """Fill the tab "Graphs" with a network that takes uint8 images (B, H, W, 3)."""
    with warnings.catch_warnings():
        # The tracer is deprecated, and the only one whose graphs TensorBoard reads.
        warnings.simplefilter("ignore")
        traced, profile = graph(network, torch.zeros((1, *image_size, 3), dtype=torch.uint8))
    # Without the outermost scopes, which TensorBoard would show as one closed box.
    for node in traced.node:
        node.name = SCOPES.sub("", node.name)
        node.input[:] = [SCOPES.sub("", name) for name in node.input]
    writer.file_writer.add_graph((traced, profile))  # type: ignore[attr-defined]
