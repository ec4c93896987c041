"""Evaluate a trained run: top-k accuracy with intervals, per-class figures and the confusion matrix.

python evaluate.py --topk 1 3                         the newest run, on its test split
python evaluate.py --run NAME --split val --tta
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet_skip.config import DataSettings, with_paths
from alexnet_skip.console import Console, run_script, show_evaluation
from alexnet_skip.evaluate_config import EvaluateSettings, parse_evaluate


def evaluate(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Evaluate one run; returns the figures and paths a program needs, and whether this process prints them."""
    # Imported once the command line is understood: torch takes seconds, --help should not.
    import numpy as np

    from alexnet_skip import checkpoint, launch, metrics, plots
    from alexnet_skip.engine import predict
    from alexnet_skip.errors import UserError
    from alexnet_skip.evaluation import choose_split, log_evaluation, write_evaluation
    from alexnet_skip.features import open_features
    from alexnet_skip.inputs import load_images

    # The run and its published model
    accelerator, _ = launch.start("no")
    console = Console(settings.quiet, accelerator.is_main_process)
    folder = checkpoint.find_run(settings.runs_dir, settings.run)
    config = checkpoint.read_json(folder / "config.json")
    model, form = checkpoint.load_published(checkpoint.published_folder(folder, settings.checkpoint))
    num_classes = len(model.class_names)
    if max(settings.topk) > num_classes:
        raise UserError(
            f"--topk is {max(settings.topk)}, but {folder.name} has {num_classes} classes; give 1 to {num_classes}"
        )

    # The images it is evaluated on
    data = DataSettings(**with_paths(config["settings"]["data"]))
    data = dataclasses.replace(data, dataset=config["dataset"]["source"])
    if settings.dataset is not None:
        data = DataSettings(dataset=settings.dataset)
    with accelerator.main_process_first():
        dataset = load_images(data, console)
    if dataset.class_names != model.class_names:
        raise UserError(
            f"--dataset {data.dataset} has the classes {', '.join(dataset.class_names)}, but the run was trained on "
            f"{', '.join(model.class_names)}; give a folder with the same classes"
        )
    val_fraction = config["settings"]["training"]["val_fraction"]
    split_name, stored, positions = choose_split(settings.split, dataset, val_fraction, console)
    split = dataset.splits[stored]
    if stored == "train" and settings.dataset is None and split.digest != config["dataset"]["digest"]:
        raise UserError(f"the images of {dataset.name} have changed since {folder.name} was trained; train it again")

    # One exact pass: every sample once, whatever the number of processes
    cache = config["settings"]["cache"]
    features = open_features(
        f"{dataset.name}-{stored}", split, model.backbone.to(accelerator.device), config["weights"]["sha256"],
        accelerator, console, cache_dir=Path(cache["cache_dir"]) if cache["cache"] else None,
        tap=form["skip_mode"] != "none", mirrored=settings.tta,
    )  # fmt: skip
    logits = predict(model.trained.to(accelerator.device), features, positions, accelerator, tta=settings.tta)

    # Every figure from that one array of predictions
    labels = split.labels[positions]
    title = f"{dataset.name} {split_name}, {folder.name}, {settings.checkpoint} (epoch {form['epoch']})"
    summary = {"dataset": dataset.name, "split": split_name, "tta": settings.tta, "epoch": form["epoch"]}
    summary |= metrics.summarize(logits, labels, model.class_names, settings.topk)
    confusion = np.array(summary["confusion_matrix"])
    where = folder / "evaluation" / f"{split_name}-{settings.checkpoint}{'-tta' if settings.tta else ''}"
    if accelerator.is_main_process:
        figure = plots.confusion_matrix_figure(confusion, model.class_names, title)
        write_evaluation(where, summary, logits, labels, split.index[positions], split.digest, figure)
        log_evaluation(folder, where.name, summary, figure)
    confused = metrics.most_confused_pairs(confusion, 5)
    names = model.class_names
    show_evaluation(console, title, summary, [(names[t], names[p], count) for t, p, count in confused])
    console.line(f"Written to {where}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    figures = {key: summary[key] for key in ("dataset", "split", "num_samples", "topk", "top1_ci95", "nll", "ece")}
    return figures | {"run": str(folder), "evaluation": str(where)}, accelerator.is_main_process


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and evaluate; returns the exit code."""
    return run_script(lambda: evaluate(parse_evaluate(argv)))


if __name__ == "__main__":
    sys.exit(main())
