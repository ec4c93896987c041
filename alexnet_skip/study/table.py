"""evaluate.py --table: the source report's table, low and high epoch without and with the skip, with ours beside it."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from alexnet_skip.plots.confusion import MAX_SHOWN_CLASSES, confusion_table_figure
from alexnet_skip.plots.style import save_figure
from alexnet_skip.runs.folders import published_name
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.settings.shared import VARIANTS
from alexnet_skip.statistics.metrics import topk_accuracy, usual_topk
from alexnet_skip.statistics.paired import mcnemar_exact, two_proportion_test
from alexnet_skip.study import source_report
from alexnet_skip.study.sides import (
    Side,
    find_study,
    in_words,
    left_out,
    read_sides,
    sides_of_runs,
    sides_of_study,
)
from alexnet_skip.study.table_files import Column, as_csv, as_markdown, listed_pairs
from alexnet_skip.study.verdict import sum_of_confusions
from alexnet_skip.system.console import Console, per_cent
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import write_csv, write_text


def report_table(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Print and write the report's table from a study or from four runs; returns the figures and paths."""
    # Ours: the low and the high epoch of each form of the skip
    console = Console(settings.quiet)
    names = settings.table or ()
    study = find_study(settings.runs_dir, names, console.line)
    if study:
        if settings.checkpoint != EvaluateSettings.checkpoint:
            raise UserError(
                f"--checkpoint is {settings.checkpoint}, which has no effect with --table of a study: {study} is shown "
                "at both of its snapshots; leave --checkpoint out, or name four runs"
            )
        sides = sides_of_study(study)
        epochs: Sequence[int] = sides[0].config.settings.run.snapshot_epochs
        split, low = read_sides(sides, settings.split, f"epoch-{epochs[0]}")
        _, high = read_sides(sides, split, f"epoch-{epochs[1]}")
        stem = split
    else:
        checkpoint_name = "last" if settings.checkpoint == "best" else published_name(settings.checkpoint)
        runs = _four_runs(sides_of_runs(settings.runs_dir, names))
        split, predictions = read_sides(runs, settings.split, checkpoint_name)
        sides, low, high = runs[:2], predictions[2:], predictions[:2]
        epochs = [side.config.settings.last_epoch for side in (runs[2], runs[0])]
        stem = f"{split}-{checkpoint_name}-with-{'+'.join(side.stem for side in runs[1:])}"
    left = left_out(study, sides)
    class_names = sides[0].config.dataset.class_names
    ours = [column_of(side, *of_side) for side, *of_side in zip(sides, low, high, strict=True)]

    # The report's, where the classes are its classes
    columns, facts = ours, ["These are not the report's ten classes: its figures are left out."]
    if tuple(class_names) == source_report.CLASS_NAMES:
        columns, facts = beside_the_report(ours), report_facts()

    # As text, data and picture
    count, seeds = len(low[0][0].labels), len(sides[0].seeds)
    measured = " / ".join(f"top-{k} %" for k in ours[0].topk)
    title = f"{sides[0].config.dataset.name} ({split}, n = {count:,}), {measured}"
    title += f", mean of {seeds} seeds (range of top-1); matrices added up" if seeds > 1 else ""
    rows = [f"Low epoch ({epochs[0]})", f"High epoch ({epochs[1]})"]
    cells = [[_text(column, row) for column in columns] for row in (0, 1)]
    where = (study or sides[0].runs[0]) / "table"
    where.mkdir(parents=True, exist_ok=True)
    pairs = listed_pairs(columns)
    if len(class_names) > MAX_SHOWN_CLASSES:
        facts.append(
            f"Of {len(class_names):,} classes the files list the {len(pairs)} most confused pairs, all columns added "
            "up; evaluate.py --redraw writes an evaluation's whole matrix (confusion_matrix.csv)."
        )
    facts += in_words(left)
    write_text(where / f"{stem}.md", as_markdown(title, rows, columns, cells, facts, class_names, pairs))
    write_csv(where / f"{stem}.csv", as_csv(epochs, columns, class_names, pairs))
    confusions = [[column.confusions[row] for column in columns] for row in (0, 1)]
    captions = [[f"{measured}: {cell}" for cell in of_row] for of_row in cells]
    with console.working("Drawing"):
        figure = confusion_table_figure(confusions, captions, rows, [c.name for c in columns], class_names, title)
        save_figure(figure, where / f"{stem}.png")
    console.table(title, ["", *(c.name for c in columns)], [[r, *c] for r, c in zip(rows, cells, strict=True)])
    for line in facts:
        console.line(line)
    console.line(f"Written to {where / stem}.md, .csv and .png")
    figures = {column.name: {f"top{k}": values for k, values in column.topk.items()} for column in columns}
    about = {"table": str(where / f"{stem}.md"), "split": split, "num_samples": count, "left_out": left}
    return about | {"columns": figures}, True


def _four_runs(sides: list[Side]) -> list[Side]:
    """Without and with the skip, the two of many epochs and then the two of few.

    Raises:
        UserError: if they are not such four.
    """
    by_skip = [[side for side in sides if (side.variant != "none") == skip] for skip in (False, True)]
    lengths = [sorted({side.config.settings.last_epoch for side in group}) for group in by_skip]
    if [len(group) for group in by_skip] != [2, 2] or len(lengths[0]) != 2 or lengths[0] != lengths[1]:
        raise UserError(
            f"--table {' '.join(side.name for side in sides)}: name a study, or four runs: two without and two with "
            "the skip, one of each with few and one with many --epochs (the same two numbers)"
        )
    ordered = [sorted(group, key=lambda side: side.config.settings.last_epoch) for group in by_skip]
    return [group[place] for place in (1, 0) for group in ordered]


def column_of(side: Side, low: Sequence[Predictions], high: Sequence[Predictions]) -> Column:
    """A side's column, from its predictions at the low and the high epoch, by seed."""

    def accuracies(k: int) -> tuple[list[float], list[float]]:
        low_values, high_values = ([topk_accuracy(p.logits, p.labels, k) for p in side] for side in (low, high))
        return low_values, high_values

    classes = low[0].logits.shape[1]
    confusions = (sum_of_confusions(low, classes), sum_of_confusions(high, classes))
    return Column(VARIANTS[side.variant], {k: accuracies(k) for k in usual_topk(classes)}, confusions)


def beside_the_report(ours: Sequence[Column]) -> list[Column]:
    """Our columns, each group after the report's."""
    columns = []
    for skip in (False, True):
        low, high = (source_report.CELLS[epoch, skip] for epoch in ("low", "high"))
        name = "report, skip" if skip else "report, no skip"
        topk = {1: ([low.top1], [high.top1]), 3: ([low.top3], [high.top3])}
        columns.append(Column(name, topk, (low.confusion, high.confusion)))
        columns += [column for column in ours if (column.name != VARIANTS["none"]) == skip]
    return columns


def _text(column: Column, row: int) -> str:
    """One cell: "83.45 / 96.83", with the range of top-1 over several seeds below it."""
    top1 = column.topk[1][row]
    text = " / ".join(per_cent(float(np.mean(values[row])), 2) for values in column.topk.values())
    return text if len(top1) == 1 else f"{text}\n{per_cent(min(top1), 2)}–{per_cent(max(top1), 2)}"


def report_figures() -> dict[str, Any]:
    """What the report's own numbers allow to say, computed from them."""
    (without, *_), (with_skip, *_) = (source_report.CELLS["high", skip] for skip in (False, True))
    a, b = (source_report.CELLS["high", skip].confusion for skip in (False, True))
    n = int(a.sum())
    apart = int(np.trace(b) - np.trace(a))
    test = two_proportion_test(int(np.trace(a)), n, int(np.trace(b)), n)
    discordant, p = least_paired_p(a, b)
    low_a, low_b = (source_report.CELLS["low", skip].confusion for skip in (False, True))
    return {
        "same_low_cells": np.array_equal(low_a, low_b), "without": without, "with": with_skip, "apart": apart, "n": n,
        "p": test.p, "discordant": discordant, "paired_p": p,
    }  # fmt: skip


def report_facts() -> list[str]:
    """:func:`report_figures` in two sentences."""
    told = report_figures()
    same = "the same matrix to the digit" if told["same_low_cells"] else "different matrices"
    return [
        f"The report's low-epoch cells hold {same}. Its high-epoch cells, {per_cent(told['without'], 2)} and "
        f"{per_cent(told['with'], 2)} %, are {told['apart']} of {told['n']:,} images apart: p = {told['p']:.2f} (two "
        "proportions).",
        f"Its matrices imply at least {told['discordant']} images that only one of the two gets right, so a paired "
        f"test could not have given less than p = {told['paired_p']:.2f} (McNemar): no difference can be claimed.",
    ]


def least_paired_p(confusion_a: np.ndarray, confusion_b: np.ndarray) -> tuple[int, float]:
    """The fewest discordant samples that two confusion matrices of the same samples allow, and McNemar's p then.

    In each class, at least as many samples are right with one only as their hits differ. With the net difference given,
    more discordant samples only make p larger.
    """
    change = np.diag(confusion_b) - np.diag(confusion_a)
    only_b, only_a = int(change[change > 0].sum()), int(-change[change < 0].sum())
    right_a, right_b = np.repeat([False, True], [only_b, only_a]), np.repeat([True, False], [only_b, only_a])
    return only_a + only_b, mcnemar_exact(right_a, right_b).p if only_a + only_b else 1.0
