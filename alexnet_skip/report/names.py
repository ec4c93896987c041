"""What sides, images, stages and values are called on the page."""

from collections.abc import Sequence

from alexnet_skip.report.subject import Stage, Subject
from alexnet_skip.report.text import Text
from alexnet_skip.settings.shared import VARIANTS
from alexnet_skip.study.sides import Side


def side_name(side: Side, text: Text) -> str:
    """A side's name in the page's language: a form of the skip's, or the run's own."""
    return text(f"variant.{side.variant}") if side.name in VARIANTS.values() else side.name


def where(subject: Subject, text: Text) -> str:
    """Dataset, split, images and seeds that a figure is from."""
    images = f"{len(subject.stages[0].predictions[0][0].labels):,}"
    key = "where.seeds" if subject.seeds > 1 else "where.one"
    return text(key, dataset=subject.config.dataset.name, split=subject.split, images=images, seeds=subject.seeds)


def when(subject: Subject, stage: Stage, text: Text) -> str:
    """The epoch of a stage, or, where runs differ in it, which of their models it is."""
    epoch = subject.epoch(stage)
    return text(f"effect.{stage.checkpoint_name}") if epoch is None else text("effect.after", epoch=epoch)


def by_run(subject: Subject, values: Sequence[Sequence[str]], text: Text) -> str:
    """A value, by side and by run, that all have; or each value with the sides and runs that have it."""
    owners: dict[str, list[str]] = {}
    for side, of_side in zip(subject.sides, values, strict=True):
        alike = len(set(of_side)) == 1
        names = [side_name(side, text)] if alike else [run.name for run in side.runs]
        for name, value in zip(names, of_side[: len(names)], strict=True):
            owners.setdefault(value, []).append(name)
    if len(owners) == 1:
        return next(iter(owners))
    return "; ".join(f"{value or '–'} ({', '.join(names)})" for value, names in owners.items())
