"""The images that a command line asks for, limited as it says; a fallback is shown where nobody can miss it."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.split import Dataset, LazySplits, Split
from alexnet_skip.images.splits import limit_positions, train_val_positions
from alexnet_skip.plots.style import missing_letters
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.system.console import Console

# Of those that no font has; a Korean word or two tell which script it is.
MAX_LETTERS = 12

BUILT_IN_NOTE = """CIFAR-10 is not here and could not be downloaded, so this run uses the BUILT-IN SAMPLE
"shapes" (6,000 drawn images of 10 shapes). Its figures say nothing about CIFAR-10.

To use CIFAR-10, do one of these:
  --data-archive cifar-10-python.tar.gz   (from https://www.cs.toronto.edu/~kriz/cifar.html)
  --data-url URL                          of another server that has this file
  --data-dir FOLDER                       that holds cifar-10-batches-py
  --dataset FOLDER                        with FOLDER/train/<class>/*.png or .jpg

Reason: """


def tell_missing_fonts(names: Sequence[str], console: Console) -> None:
    """Say in one line that pictures can't show some letters of class names, and which font to install."""
    if missing := missing_letters(names):
        shown = missing if len(missing) <= MAX_LETTERS else f"{missing[:MAX_LETTERS]}…"
        console.line(
            f"Pictures will show boxes for {shown} in class names: no font here has them. Install Noto Sans CJK KR "
            "(Debian, Ubuntu: sudo apt install fonts-noto-cjk; Windows: Malgun Gothic; macOS: Apple SD Gothic Neo), or "
            "for another script its Noto Sans, and run again", style="yellow",
        )  # fmt: skip


def load_images(
    settings: DataSettings, console: Console, cache_dir: Path | None = None, *, val_fraction: float = 0.0,
    side: int | None = None, read_only: bool = False,
) -> Dataset:  # fmt: skip
    """Load the dataset that the settings ask for, limited as they say; a fallback is shown where nobody can miss it.

    The splits of a folder are opened when they are asked for.

    Args:
        cache_dir: where it is kept what is known of a folder of images, beside the features.
        val_fraction: what is held out of train before ``train_on`` limits the rest, and is a split of its own then.
        side: as :func:`load_dataset` takes it.
        read_only: download and unpack nothing, and keep nothing.
    """
    with console.working("Reading the images"):
        dataset = load_dataset(
            settings.dataset,
            data_dir=settings.data_dir,
            data_archive=settings.data_archive,
            data_url=settings.data_url,
            skip_unreadable=settings.skip_unreadable,
            cache_dir=cache_dir,
            verify_images=settings.verify_images,
            side=side,
            read_only=read_only,
            console=console,
        )
    if dataset.fallback_reason:
        console.panel("This is not CIFAR-10", BUILT_IN_NOTE + dataset.fallback_reason)
    if dataset.left_out:
        console.line(f"{dataset.name}, {dataset.left_out}")
    tell_missing_fonts(dataset.class_names, console)
    limits = {"train": settings.limit_train, "test": settings.limit_test}

    def open_limited(name: str) -> Split:
        split, limit = dataset.splits[name], limits.get(name)
        if split.skipped:
            console.line(f"{len(split.skipped)} unreadable file(s) left out: {', '.join(split.skipped)}")
        if limit is None or limit >= len(split.labels):
            return split
        return split.subset(limit_positions(split.labels, limit))

    splits = LazySplits({name: partial(open_limited, name) for name in dataset.splits})
    if settings.train_on is not None:
        splits = _trained_on_few(splits, settings.train_on, val_fraction, dataset.class_names)
    return replace(dataset, splits=splits)


def _trained_on_few(splits: LazySplits, count: int, val_fraction: float, class_names: Sequence[str]) -> LazySplits:
    """Splits whose train holds so many of the samples that are not held out, and val those that are."""
    own = "val" in splits

    def open_part(held_out: bool) -> Split:
        train = splits["train"]
        positions, others = train_val_positions(train.labels, 0.0 if own else val_fraction, class_names)
        return train.subset(others if held_out else positions[limit_positions(train.labels[positions], count)])

    openers = {name: partial(splits.__getitem__, name) for name in splits} | {"train": partial(open_part, False)}
    return LazySplits(openers if own or not val_fraction else openers | {"val": partial(open_part, True)})
