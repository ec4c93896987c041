"""The README.md of a published model: what it is, what it was trained on, how good it is, what it is not good for."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.records import ModelConfig
from alexnet_skip.statistics.metrics import usual_topk, wilson_interval

JOINS = {
    "none": "no skip connection",
    "conv": "skip connection through a trained 1×1 convolution, added",
    "identity": "skip connection, added as it is",
    "concat": "skip connection, side by side with the features",
}

# Settings of a training that decide what comes out, in the order of the card.
SETTINGS = (
    "epochs", "batch_size", "lr", "weight_decay", "dropout", "label_smoothing", "class_weights", "hflip", "pca_basis",
    "seed",
)  # fmt: skip


def model_card(config: ModelConfig, evaluations: Sequence[Mapping[str, Any]] = ()) -> str:
    """Write the card, in Markdown.

    Args:
        config: of the published model; what it does not say is left out.
        evaluations: metrics.json of each evaluation of this model.
    """
    names = config.class_names
    sections = [
        f"# {config.dataset.name if config.dataset else 'Images'}: {_network(config)}, {JOINS[config.skip_mode]}",
        f"Classifies images into {len(names)} classes: {', '.join(names)}.",
        "```python\nfrom alexnet_skip import AlexNetWithSkip\n\n"
        'model = AlexNetWithSkip.from_pretrained("THIS FOLDER")\n'
        'print(model.predict(["photo.jpg"])[0])\n```',
        "The folder is complete: it can be moved, and needs neither the run, the data nor the weights it came from.",
        "## Data\n\n" + _data(config),
        "## Figures\n\n" + _figures(config, evaluations),
        "## Training\n\n" + _training(config),
        "## Limits\n\n" + _limits(config),
    ]
    return "\n\n".join(sections) + "\n"


def _network(config: ModelConfig) -> str:
    if not config.finetuned_layers:
        return "frozen AlexNet"
    *others, last = map(str, config.finetuned_layers)
    told = f"layers {', '.join(others)} and {last}" if others else f"layer {last}"
    return f"AlexNet with {told} fine-tuned"


def _data(config: ModelConfig) -> str:
    lines = [f"* Dataset: {config.dataset.name if config.dataset else 'unknown'}"]
    if config.num_train is not None:
        lines[0] += f", {config.num_train:,} images to train on and {config.num_val or 0:,} held out"
    if config.dataset is not None and config.dataset.digest:
        lines.append(f"* SHA-256 of the training split: `{config.dataset.digest}`")
    height, width = config.image_size
    lines.append(f"* Image size: {height}×{width}; other images are squeezed to it, nothing is cut off")
    if config.weights is not None:
        weights = config.weights
        kind = "Convolutions that training began with" if config.finetuned_layers else "Frozen convolutions"
        lines.append(f"* {kind}: {weights.source}, SHA-256 of the values `{weights.sha256}`")
    if config.parent_sha256:
        lines.append(f"* Begun with the published model of SHA-256 `{config.parent_sha256}`")
    return "\n".join(lines)


# Of an evaluation, beside its top-k accuracies: what classes of different size count alike in.
MEANS = {"balanced_accuracy": "balanced accuracy", "macro_f1": "macro F1"}


def _figures(config: ModelConfig, evaluations: Sequence[Mapping[str, Any]]) -> str:
    rows: list[tuple[str, int, dict[int, Any], Mapping[str, Any]]] = []
    figures, count, topk = config.metrics, config.num_val or 0, usual_topk(len(config.class_names))
    epoch = "unknown" if config.epoch is None else config.epoch
    if figures.get("val_top1") is not None and count:
        held_out = {k: figures.get(f"val_top{k}") for k in topk}
        rows.append(("held out of training; chose the epoch", count, held_out, {}))
    for summary in evaluations:
        n, name = summary["num_samples"], summary["split"] + (", mirrored too" if summary.get("tta") else "")
        rows.append((f"{summary['dataset']} {name}", n, {k: summary.get(f"top{k}") for k in topk}, summary))
    if not rows:
        return f"Epoch {epoch}. Nothing was measured: no images were held out."
    columns = ["images", "number", *(f"top-{k}" for k in topk), *MEANS.values()]
    table = [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for images, n, values, summary in rows:
        means = [f"{100 * summary[name]:.2f} %" if name in summary else "" for name in MEANS]
        table.append(f"| {' | '.join([images, f'{n:,}', *(_share(v, n) for v in values.values()), *means])} |")
    note = f"Epoch {epoch}. In brackets: 95 % intervals (Wilson) for the choice of images."
    if not evaluations:
        note += " Not evaluated on a test split yet: `python evaluate.py` does, and adds it here."
    return "\n".join([*table, "", note])


def _share(value: float | None, count: int) -> str:
    if value is None:
        return ""
    low, high = wilson_interval(round(value * count), count)
    return f"{100 * value:.2f} % ({100 * low:.2f} to {100 * high:.2f})"


def _training(config: ModelConfig) -> str:
    lines, environment = [], config.environment
    if config.settings is not None:
        options = to_dict(config.settings.training)
        lines = [f"* recipe: {config.settings.recipe}", *(f"* {name}: {options[name]}" for name in SETTINGS)]
        if config.finetuned_layers:
            # Where the parent lay is nobody's business; its digest stands above.
            second = dataclasses.replace(config.settings.finetuning, finetune_from=None)
            lines += [f"* {name}: {value}" for name, value in to_dict(second).items() if value not in (None, False)]
    shown = [f"{name} {environment[name]}" for name in ("python", "torch", "torchvision") if environment.get(name)]
    if shown:
        lines.append(f"* made {config.created[:10]} with {', '.join(shown)}")
    return "\n".join(lines) or "Not recorded."


def _limits(config: ModelConfig) -> str:
    lines = [
        f'* It answers with one of its {len(config.class_names)} classes whatever it is shown: there is no "none of '
        'these".',
        f"* Its probabilities: {config.calibration}"
        + ("" if config.temperature is None else " (on which its epoch was chosen, too)")
        + ". They hold for images like the training images; on others they can be confidently wrong.",
        "* One training run. Another seed gives somewhat other figures; the intervals do not include that.",
        "* The convolutions were trained on ImageNet and share its biases.",
    ]
    if max(config.image_size) <= 64:
        lines.insert(1, "* It has only seen small images: a photograph with a small object in it loses that object.")
    if config.dataset is not None and config.dataset.name == "shapes":
        lines.insert(0, "* Trained on drawn shapes, to try the program out: it knows nothing of photographs.")
    if config.weights is not None and config.weights.source.startswith("random"):
        lines.insert(0, "* Its convolutions are random: made to try the program out, not to be used.")
    return "\n".join(lines)
