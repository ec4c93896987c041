"""evaluate.py --explain: where models look in the images that only one of two gets right, or where one looks."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from alexnet_skip.network.grad_cam import grad_cam
from alexnet_skip.network.model import load_published
from alexnet_skip.network.prediction import probabilities
from alexnet_skip.plots.heatmaps import Look, heatmaps_figure
from alexnet_skip.plots.style import save_figure
from alexnet_skip.runs.folders import evaluation_folder, find_run, published_folder, published_name
from alexnet_skip.runs.own_images import find_split, images_at
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.study.sides import (
    Side,
    find_study,
    in_words,
    left_out,
    read_sides,
    sides_of_runs,
    sides_of_study,
)
from alexnet_skip.system.console import Console, per_cent
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import write_json

# The end of the names of what is drawn, and of the figures beside it.
STEM = "where-they-look"
LAYER_NAMES = {"last": "last convolution", "tap": "tap (layer 8)"}


def explain(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Draw where the models look; returns the figures and paths a program needs."""
    # Which models, what they said of which samples, and the images
    console = Console(settings.quiet)
    study, sides, checkpoint_name = _chosen(settings, console)
    with console.working("Reading the predictions"):
        split, by_side = read_sides(sides, settings.split, checkpoint_name)
    predictions = [of_side[0] for of_side in by_side]
    config, first = sides[0].config, predictions[0]
    images = find_split(config, first, console, settings.dataset)
    if images is None:
        raise UserError(
            f"--explain: the images that {sides[0].runs[0]} was evaluated on are not at hand; give --dataset the "
            "folder that they are in now"
        )

    # The clearest of each kind
    chances = [
        probabilities(one.logits, side.temperatures(checkpoint_name)[0])
        for side, one in zip(sides, predictions, strict=True)
    ]
    kinds = _kinds(sides, predictions, chances)
    most = settings.explain or 0
    rows = np.concatenate([found[: -(-most // len(kinds))] for found in kinds.values()])[:most]
    told = ", ".join(f"{what} {len(found):,}" for what, found in kinds.items())
    console.line(f"Of {len(first.labels):,} images of {split}: {told}")
    path = _path(study, sides, split, checkpoint_name)
    result: dict[str, Any] = {"split": split, "checkpoint": checkpoint_name, "picture": str(path)}
    result["models_sha256"] = {side.name: one.model for side, one in zip(sides, predictions, strict=True)}
    result["counts"] = {what: len(found) for what, found in kinds.items()}
    if not len(rows):
        console.line("There is no such image: nothing is drawn")
        return result | {"picture": None, "images": 0}, True

    # Where each model looks in them; what people see, what programs read
    shown, names = images_at(images, first, rows), config.dataset.class_names
    with console.working("Looking"):
        looks = [_look(side, checkpoint_name, shown, first.labels[rows], names) for side in sides]
    truths = [names[label] for label in first.labels[rows]]
    title = f"{config.dataset.name} {split}, {checkpoint_name}: where {'they look' if len(sides) > 1 else 'it looks'}"
    path.parent.mkdir(parents=True, exist_ok=True)
    with console.working("Drawing"):
        save_figure(heatmaps_figure(shown, truths, looks, title), path)
    drawn = [
        {"index": int(first.index[row]), "file": first.files[row] if first.files else "", "true": truths[place]}
        | {"models": [_told(look, place) for look in looks]}
        for place, row in enumerate(rows)
    ]
    write_json(path.with_suffix(".json"), result | {"method": "Grad-CAM of the predicted class", "images": drawn})
    console.line(f"Drawn in {path}; figures in {path.with_suffix('.json').name} beside it")
    return result | {"images": len(rows)}, True


def _chosen(settings: EvaluateSettings, console: Console) -> tuple[Path | None, list[Side], str]:
    """The study if it is one, the sides to look at, by their first seed, and which of their models."""
    checkpoint_name = published_name(settings.checkpoint)
    if settings.compare is None:
        run = find_run(settings.runs_dir, settings.run, console.line)
        return None, sides_of_runs(settings.runs_dir, [str(run)]), checkpoint_name
    study = find_study(settings.runs_dir, settings.compare, console.line)
    if study is None:
        if len(settings.compare) != 2:
            raise UserError(f"--compare is {' '.join(settings.compare)}; with --explain name two runs, or a study")
        return None, sides_of_runs(settings.runs_dir, settings.compare), checkpoint_name
    first, *others = sides = sides_of_study(study)
    for line in in_words(left_out(study, sides)):
        console.line(line, style="yellow")
    if checkpoint_name == "best":
        checkpoint_name = f"epoch-{first.config.settings.run.snapshot_epochs[-1]}"
    # The form of the skip that is trained where no other is asked for, if the study has it.
    return study, [first, next((side for side in others if side.variant == "conv"), others[-1])], checkpoint_name


def _kinds(
    sides: Sequence[Side], predictions: Sequence[Predictions], chances: Sequence[np.ndarray]
) -> dict[str, np.ndarray]:
    """Rows of the samples to look at by what they are, the clearest first."""
    labels = predictions[0].labels
    if len(sides) == 1:
        sure, right = chances[0].max(axis=1), predictions[0].correct
        kinds = {"mistakes": (~right, sure), "hits": (right, sure)}
    else:
        (of_a, of_b), (a, b) = ([one[np.arange(len(labels)), labels] for one in chances], predictions)
        kinds = {
            f"right only {sides[1].name}": (b.correct & ~a.correct, of_b - of_a),
            f"right only {sides[0].name}": (a.correct & ~b.correct, of_a - of_b),
        }
    found = {what: np.flatnonzero(meant) for what, (meant, _) in kinds.items()}
    return {what: rows[np.argsort(-kinds[what][1][rows], kind="stable")] for what, rows in found.items()}


def _path(study: Path | None, sides: Sequence[Side], split: str, checkpoint_name: str) -> Path:
    if len(sides) == 1:
        return evaluation_folder(sides[0].runs[0], split, checkpoint_name) / f"{STEM}.png"
    a, b = sides
    folder = (study or a.runs[0]) / "comparison" / f"{split}-{checkpoint_name}"
    return folder / f"{b.stem}-against-{a.stem}-{STEM}.png"


def _look(side: Side, checkpoint_name: str, images: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> Look:
    network, _ = load_published(published_folder(side.runs[0], checkpoint_name))
    found = grad_cam(network, torch.from_numpy(images))
    chances = probabilities(found.logits.numpy(), network.temperature)
    predicted = chances.argmax(axis=1)
    said = [f"{names[c]} {per_cent(p, 0)} %" for c, p in zip(predicted, chances.max(axis=1), strict=True)]
    maps = {LAYER_NAMES[layer]: values.numpy() for layer, values in found.maps.items()}
    return Look(side.name, maps, said, predicted == labels)


def _told(look: Look, place: int) -> dict[str, Any]:
    maps = {layer: heat[place].round(3).astype(float).tolist() for layer, heat in look.maps.items()}
    return {"name": look.name, "says": look.said[place], "right": bool(look.right[place]), "maps": maps}
