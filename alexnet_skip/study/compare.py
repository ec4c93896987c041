"""evaluate.py --compare: is the difference of runs, or of a study's variants, more than chance? Needs no model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_skip.images.dataset import Split
from alexnet_skip.plots.confusion import confusion_difference_figure
from alexnet_skip.plots.gallery import image_grid_figure
from alexnet_skip.plots.style import save_figure
from alexnet_skip.runs.folders import published_name
from alexnet_skip.runs.opened import find_split, images_at
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.statistics.metrics import softmax
from alexnet_skip.study.sides import Side, find_study, read_sides, sides_of_runs, sides_of_study
from alexnet_skip.study.verdict import Comparison, as_json, compare, p_text, points, signed, verdict
from alexnet_skip.system.console import Console, per_cent
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import write_json

MAX_GALLERY_IMAGES = 24


def compare_runs(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Compare runs with the first one, or a study's variants with the one without the skip; returns the figures."""
    # Which runs, and what they said of which samples
    console = Console(settings.quiet)
    names = settings.compare or ()
    study = find_study(settings.runs_dir, names)
    sides = sides_of_study(study) if study else sides_of_runs(settings.runs_dir, names)
    if len(sides) < 2:
        raise UserError(f"--compare {' '.join(names)}: one run has nothing to be compared with; name two, or a study")
    which = published_name(settings.checkpoint)
    if study and which == "best":
        which = f"epoch-{sides[0].config['settings']['run']['snapshot_epochs'][-1]}"
    split, predictions = read_sides(sides, settings.split, which)
    first = predictions[0][0]
    dataset, class_names = sides[0].config["dataset"]["name"], sides[0].config["dataset"]["class_names"]
    if split == "val" and which == "best":
        console.line(
            "The best epoch of each run was chosen on these images of val: its figures flatter", style="yellow"
        )

    # Every side against the first, corrected for their number
    topk = [k for k in (settings.topk or (1, 3)) if k <= len(class_names)]
    comparisons = compare(predictions, topk)

    # Figures and files
    where = (study or sides[0].runs[0]) / "comparison" / f"{split}-{which}"
    where.mkdir(parents=True, exist_ok=True)
    images = find_split(sides[0].config, first, console)
    title = f"{dataset} ({split}, n = {len(first.labels):,})"
    results = []
    for side, of_side, comparison in zip(sides[1:], predictions[1:], comparisons, strict=True):
        _draw(where, sides[0], side, predictions[0], of_side, comparison, class_names, f"{dataset} {split}", images)
        subject = side.name if study and sides[0].variant == "none" else f"{side.name} instead of {sides[0].name}"
        result: dict[str, Any] = {
            "a": sides[0].name,
            "b": side.name,
            "split": split,
            "checkpoint": which,
            "seeds": side.seeds,
        }
        result |= as_json(comparison, class_names)
        result["verdict"] = verdict(comparison, title, subject)
        write_json(where / f"{_stem(sides[0], side)}.json", result)
        results.append(result)

    # What people read, the plain sentence last
    _show(console, f"{title}, {which}", sides, comparisons, class_names)
    console.line(f"Written to {where}")
    for result in results:
        console.line(result["verdict"], style="bold")
    return {"comparison": str(where), "pairs": [_brief(result) for result in results]}, True


def _brief(result: dict[str, Any]) -> dict[str, Any]:
    keys = ("a", "b", "num_samples", "identical", "top1_difference", "p", "p_holm", "models_differ", "over_seeds")
    return {key: result[key] for key in (*keys, "claimed", "verdict")}


def _p_alone(p: float) -> str:
    return p_text(p).removeprefix("p ").removeprefix("= ")


def _stem(a: Side, b: Side) -> str:
    return f"{b.stem}-against-{a.stem}"


def _draw(
    where: Path,
    a: Side,
    b: Side,
    predictions_a: Sequence[Predictions],
    predictions_b: Sequence[Predictions],
    comparison: Comparison,
    class_names: Sequence[str],
    title: str,
    images: Split | None,
) -> None:
    """Write the difference of the confusion matrices, and the samples that only one side gets right."""
    seeds = f", sum of {len(b.seeds)} seeds" if len(b.seeds) > 1 else ""
    save_figure(
        confusion_difference_figure(
            comparison.confusion_a, comparison.confusion_b, class_names, f"{title}: {b.name} against {a.name}{seeds}"
        ),
        where / f"{_stem(a, b)}.png",
    )
    if images is None:
        return
    mean_a, mean_b = (np.mean([softmax(one.logits) for one in side], axis=0) for side in (predictions_a, predictions_b))
    for winner, rows, better, worse in (
        (b, comparison.only_b, mean_b, mean_a),
        (a, comparison.only_a, mean_a, mean_b),
    ):
        labels = predictions_a[0].labels[rows]
        gain = better[rows, labels] - worse[rows, labels]
        chosen = rows[np.argsort(-gain, kind="stable")[:MAX_GALLERY_IMAGES]]
        captions = [
            f"{class_names[label]} {per_cent(better[row, label], 0)} %\n"
            f"≠ {class_names[worse[row].argmax()]} {per_cent(worse[row].max(), 0)} %"
            for row, label in zip(chosen, predictions_a[0].labels[chosen], strict=True)
        ]
        every = " with every seed" if len(b.seeds) > 1 else ""
        heading = f"{title}: only {winner.name} is right{every}, {len(chosen)} of {len(rows):,}"
        figure = image_grid_figure(images_at(images, predictions_a[0], chosen), captions, heading)
        save_figure(figure, where / f"{_stem(a, b)}-only-{winner.stem}.png")


def _show(
    console: Console,
    title: str,
    sides: Sequence[Side],
    comparisons: Sequence[Comparison],
    class_names: Sequence[str],
) -> None:
    """Print accuracies, differences, seeds and classes."""
    accuracies = [comparisons[0].top1_a, *(comparison.top1_b for comparison in comparisons)]
    rows = [
        [side.name, per_cent(float(np.mean(top1)), 2), f"{per_cent(min(top1), 2)} to {per_cent(max(top1), 2)}"]
        for side, top1 in zip(sides, accuracies, strict=True)
    ]
    count = len(sides[0].seeds)
    console.table(title, ("", "top-1 %", f"range over {count} seed(s)"), rows)

    pairs = list(zip(sides[1:], comparisons, strict=True))
    corrected = f"p (Holm, {len(pairs)} pairs)" if len(pairs) > 1 else "p"
    topk = list(comparisons[0].differences)
    columns = ["", *(f"top-{k}, points" for k in topk), corrected, "agreement %", "kappa"]
    rows = [
        [
            side.name,
            *(points(one.differences[k]).replace(" points", "") for k in topk),
            _p_alone(one.p_holm),
            per_cent(one.agreement),
            f"{one.kappa:.3f}",
        ]
        for side, one in pairs
    ]
    against = f"Against {sides[0].name}"
    console.table(f"{against}, these models: 95 % intervals and p for other images (paired)", columns, rows)
    _show_seeds(console, against, corrected, pairs)
    gains = np.stack([one.recall_gains for one in comparisons], axis=1)
    order = np.arange(len(class_names)) if len(class_names) <= 25 else np.argsort(-np.abs(gains).max(axis=1))[:25]
    rows = [[class_names[c], *(signed(gain) for gain in gains[c])] for c in order]
    console.table("Recall per class, points gained", ["class", *(side.name for side, _ in pairs)], rows)


def _show_seeds(console: Console, against: str, corrected: str, pairs: Sequence[tuple[Side, Comparison]]) -> None:
    """Print what holds for other seeds, and each seed's difference."""
    rows = [
        [side.name, points(one.method.interval()).replace(" points", ""), _p_alone(one.method.p_holm)]
        for side, one in pairs
        if one.method
    ]
    if rows:
        title = f"{against}, the method: 95 % intervals and p for other images and seeds (t, all sides' spread pooled)"
        console.table(title, ["", "top-1, points", corrected], rows)
    rows = []
    for side, one in pairs:
        for seed, a, b, test in zip(side.seeds, one.top1_a, one.top1_b, one.mcnemar, strict=True):
            rows.append([side.name, str(seed), signed(b - a, 2), f"{test.n01:,}", f"{test.n10:,}", _p_alone(test.p)])
    columns = ["", "seed", "top-1, points", "only this one right", "only the other right", "McNemar's p"]
    console.table(f"{against}, seed by seed (p not corrected)", columns, rows)
