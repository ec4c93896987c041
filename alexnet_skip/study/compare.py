"""evaluate.py --compare: is the difference of runs, or of a study's variants, more than chance? Needs no model."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_skip.images.dataset import Split
from alexnet_skip.plots.confusion import confusion_difference_figure
from alexnet_skip.plots.gallery import image_grid_figure
from alexnet_skip.plots.style import save_figure
from alexnet_skip.runs.folders import published_name
from alexnet_skip.runs.own_images import find_split, images_at
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.statistics.metrics import usual_topk
from alexnet_skip.study.only_one import clearest
from alexnet_skip.study.sides import (
    Side,
    find_study,
    in_words,
    left_out,
    read_sides,
    sides_of_runs,
    sides_of_study,
)
from alexnet_skip.study.verdict import Comparison, compare, p_text, points, signed, verdict
from alexnet_skip.system.console import Console, per_cent
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import write_json

MAX_GALLERY_IMAGES = 24


@dataclass(frozen=True)
class Pair:
    """A side held against the first one.

    Attributes:
        of_a, of_b: predictions of both, by seed.
        chances_a, chances_b: what their models tell of them (N, C), by seed.
    """

    a: Side
    b: Side
    of_a: Sequence[Predictions]
    of_b: Sequence[Predictions]
    chances_a: Sequence[np.ndarray]
    chances_b: Sequence[np.ndarray]
    comparison: Comparison

    @property
    def stem(self) -> str:
        """Of the names of its files."""
        return f"{self.b.stem}-against-{self.a.stem}"


def compare_runs(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Compare runs with the first one, or a study's variants with the one without the skip; returns the figures."""
    # Which runs, and what they said of which samples
    console = Console(settings.quiet)
    names = settings.compare or ()
    study = find_study(settings.runs_dir, names, console.line)
    sides = sides_of_study(study) if study else sides_of_runs(settings.runs_dir, names)
    left = left_out(study, sides)
    if len(sides) < 2:
        raise UserError(f"--compare {' '.join(names)}: one run has nothing to be compared with; name two, or a study")
    checkpoint_name = published_name(settings.checkpoint)
    if study and checkpoint_name == "best":
        checkpoint_name = f"epoch-{sides[0].config.settings.run.snapshot_epochs[-1]}"
    dataset, class_names = sides[0].config.dataset.name, sides[0].config.dataset.class_names
    settings.check_topk(len(class_names), (study or sides[0].runs[0]).name)
    with console.working("Reading the predictions"):
        split, predictions = read_sides(sides, settings.split, checkpoint_name)
    first = predictions[0][0]
    if split == "val" and checkpoint_name == "best":
        console.line(
            "The best epoch of each run was chosen on these images of val: its figures flatter", style="yellow"
        )

    # Every side against the first, corrected for their number
    with console.working("Comparing"):
        comparisons = compare(predictions, settings.topk or usual_topk(len(class_names)))
    told = [side.probabilities(found, checkpoint_name) for side, found in zip(sides, predictions, strict=True)]
    pairs = [
        Pair(sides[0], side, predictions[0], of_side, told[0], told_of_side, comparison)
        for side, of_side, told_of_side, comparison in zip(
            sides[1:], predictions[1:], told[1:], comparisons, strict=True
        )
    ]

    # Figures and files
    where = (study or sides[0].runs[0]) / "comparison" / f"{split}-{checkpoint_name}"
    where.mkdir(parents=True, exist_ok=True)
    images = find_split(sides[0].config, first, console, settings.dataset)
    title = f"{dataset} ({split}, n = {len(first.labels):,})"
    results = []
    for pair in pairs:
        with console.working(f"Drawing {pair.stem}"):
            _draw(where, pair, class_names, f"{dataset} {split}", images)
        a, b = pair.a, pair.b
        subject = b.name if study and a.variant == "none" else f"{b.name} instead of {a.name}"
        result: dict[str, Any] = {
            "a": a.name,
            "b": b.name,
            "split": split,
            "checkpoint": checkpoint_name,
            "seeds": b.seeds,
            "left_out": left,
        }
        result |= _as_json(pair.comparison, class_names)
        result["verdict"] = verdict(pair.comparison, title, subject, same_skip=a.variant == b.variant)
        write_json(where / f"{pair.stem}.json", result)
        results.append(result)

    # What people read, the plain sentence last
    _show(console, f"{title}, {checkpoint_name}", pairs, class_names)
    console.line(f"Written to {where}")
    for line in in_words(left):
        console.line(line, style="yellow")
    for result in results:
        console.line(result["verdict"], style="bold")
    return {"comparison": str(where), "left_out": left, "pairs": [_brief(result) for result in results]}, True


def _brief(result: dict[str, Any]) -> dict[str, Any]:
    keys = ("a", "b", "num_samples", "identical", "top1_difference", "p", "p_holm", "models_differ", "over_seeds")
    return {key: result[key] for key in (*keys, "claimed", "verdict")}


def _p_alone(p: float) -> str:
    return p_text(p).removeprefix("p ").removeprefix("= ")


def _draw(where: Path, pair: Pair, class_names: Sequence[str], title: str, images: Split | None) -> None:
    """Write the difference of the confusion matrices, and the samples that only one side gets right."""
    a, b, comparison, first = pair.a, pair.b, pair.comparison, pair.of_a[0]
    seeds = f", sum of {len(b.seeds)} seeds" if len(b.seeds) > 1 else ""
    save_figure(
        confusion_difference_figure(
            comparison.confusion_a, comparison.confusion_b, class_names, f"{title}: {b.name} against {a.name}{seeds}"
        ),
        where / f"{pair.stem}.png",
    )
    for winner, rows, right, wrong in (
        (b, comparison.only_b, pair.chances_b, pair.chances_a),
        (a, comparison.only_a, pair.chances_a, pair.chances_b),
    ):
        gallery = where / f"{pair.stem}-only-{winner.stem}.png"
        if images is None:
            gallery.unlink(missing_ok=True)  # of earlier predictions
            continue
        chosen = clearest(rows, first.labels, right, wrong, MAX_GALLERY_IMAGES)
        captions = [
            f"{class_names[one.label]} {per_cent(one.chance, 0)} %\n"
            f"≠ {class_names[one.taken_for]} {per_cent(one.other_chance, 0)} %"
            for one in chosen
        ]
        every = " with every seed" if len(b.seeds) > 1 else ""
        heading = f"{title}: only {winner.name} is right{every}, {len(chosen)} of {len(rows):,}"
        shown = images_at(images, first, np.array([one.row for one in chosen], int))
        figure = image_grid_figure(shown, captions, heading)
        save_figure(figure, gallery)


def _show(console: Console, title: str, pairs: Sequence[Pair], class_names: Sequence[str]) -> None:
    """Print accuracies, differences, seeds and classes."""
    reference, comparisons = pairs[0].a, [pair.comparison for pair in pairs]
    accuracies = [(reference, comparisons[0].top1_a), *((pair.b, pair.comparison.top1_b) for pair in pairs)]
    rows = [
        [side.name, per_cent(float(np.mean(top1)), 2), f"{per_cent(min(top1), 2)} to {per_cent(max(top1), 2)}"]
        for side, top1 in accuracies
    ]
    count = len(reference.seeds)
    console.table(title, ("", "top-1 %", f"range over {count} seed(s)"), rows)

    corrected = f"p (Holm, {len(pairs)} pairs)" if len(pairs) > 1 else "p"
    topk = list(comparisons[0].differences)
    columns = ["", *(f"top-{k}, points" for k in topk), corrected, "agreement %", "kappa"]
    rows = [
        [
            pair.b.name,
            *(points(pair.comparison.differences[k]).replace(" points", "") for k in topk),
            _p_alone(pair.comparison.p_holm),
            per_cent(pair.comparison.agreement),
            f"{pair.comparison.kappa:.3f}",
        ]
        for pair in pairs
    ]
    against, last = f"Against {reference.name}", len(columns) - 1
    console.table(
        f"{against}, these models: 95 % intervals and p for other images (paired)",
        columns,
        rows,
        optional=(last, last - 1),
    )
    _show_seeds(console, against, corrected, pairs)
    gains = np.stack([one.recall_gains for one in comparisons], axis=1)
    order = np.arange(len(class_names)) if len(class_names) <= 25 else np.argsort(-np.abs(gains).max(axis=1))[:25]
    rows = [[class_names[c], *(signed(gain) for gain in gains[c])] for c in order]
    console.table("Recall per class, points gained", ["class", *(pair.b.name for pair in pairs)], rows)


def _show_seeds(console: Console, against: str, corrected: str, pairs: Sequence[Pair]) -> None:
    """Print what holds for other seeds, and each seed's difference."""
    rows = [
        [pair.b.name, points(method.interval()).replace(" points", ""), _p_alone(method.p_holm)]
        for pair in pairs
        if (method := pair.comparison.method)
    ]
    if rows:
        title = f"{against}, the method: 95 % intervals and p for other images and seeds (t, all sides' spread pooled)"
        console.table(title, ["", "top-1, points", corrected], rows)
    rows = []
    for pair in pairs:
        side, one = pair.b, pair.comparison
        for seed, a, b, test in zip(side.seeds, one.top1_a, one.top1_b, one.mcnemar, strict=True):
            rows.append([side.name, str(seed), signed(b - a, 2), f"{test.n01:,}", f"{test.n10:,}", _p_alone(test.p)])
    columns = ["", "seed", "top-1, points", "only this one right", "only the other right", "McNemar's p"]
    console.table(f"{against}, seed by seed (p not corrected)", columns, rows)


def _as_json(comparison: Comparison, class_names: Sequence[str]) -> dict[str, Any]:
    """Every figure of a comparison, ready for JSON: fractions, not per cent; differences are b less a."""
    return {
        "num_samples": comparison.num_samples,
        "identical": comparison.identical,
        "top1_a": comparison.top1_a,
        "top1_b": comparison.top1_b,
        "top1_difference": comparison.differences[1]._asdict(),
        "topk_difference": {str(k): value._asdict() for k, value in comparison.differences.items()},
        "mcnemar": [test._asdict() for test in comparison.mcnemar],
        "p": comparison.p,
        "p_holm": comparison.p_holm,
        "models_differ": comparison.models_differ,
        "over_seeds": comparison.method and comparison.method._asdict() | comparison.method.interval()._asdict(),
        "claimed": comparison.claimed,
        "kappa": comparison.kappa,
        "agreement": comparison.agreement,
        "recall_gains": dict(zip(class_names, comparison.recall_gains.tolist(), strict=True)),
    }
