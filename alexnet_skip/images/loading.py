"""The images that a command line asks for, limited as it says; a fallback is shown where nobody can miss it."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from alexnet_skip.images.dataset import load_dataset
from alexnet_skip.images.split import Dataset, LazySplits, Split
from alexnet_skip.images.splits import limit_positions
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.system.console import Console

BUILT_IN_NOTE = """CIFAR-10 is not here and could not be downloaded, so this run uses the BUILT-IN SAMPLE
"shapes" (6,000 drawn images of 10 shapes). Its figures say nothing about CIFAR-10.

To use CIFAR-10, do one of these:
  --data-archive cifar-10-python.tar.gz   (from https://www.cs.toronto.edu/~kriz/cifar.html)
  --data-dir FOLDER                       that holds cifar-10-batches-py
  --dataset FOLDER                        with FOLDER/train/<class>/*.png or .jpg

Reason: """


def load_images(
    settings: DataSettings, console: Console, cache_dir: Path | None = None, *, read_only: bool = False
) -> Dataset:
    """Load the dataset that the settings ask for, limited as they say; a fallback is shown where nobody can miss it.

    The splits of a folder are opened when they are asked for.

    Args:
        cache_dir: where it is kept what is known of a folder of images, beside the features.
        read_only: download nothing and keep nothing.
    """
    dataset = load_dataset(
        settings.dataset,
        data_dir=settings.data_dir,
        data_archive=settings.data_archive,
        skip_unreadable=settings.skip_unreadable,
        cache_dir=cache_dir,
        verify_images=settings.verify_images,
        read_only=read_only,
        console=console,
    )
    if dataset.fallback_reason:
        console.panel("This is not CIFAR-10", BUILT_IN_NOTE + dataset.fallback_reason)
    if dataset.left_out:
        console.line(f"{dataset.name}, {dataset.left_out}")
    limits = {"train": settings.limit_train, "test": settings.limit_test}

    def open_limited(name: str) -> Split:
        split, limit = dataset.splits[name], limits.get(name)
        if split.skipped:
            console.line(f"{len(split.skipped)} unreadable file(s) left out: {', '.join(split.skipped)}")
        if limit is None or limit >= len(split.labels):
            return split
        return split.subset(limit_positions(split.labels, limit))

    return replace(dataset, splits=LazySplits({name: partial(open_limited, name) for name in dataset.splits}))
