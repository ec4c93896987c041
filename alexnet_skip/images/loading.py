"""The images that a command line asks for, limited as it says; a fallback is shown where nobody can miss it."""

from alexnet_skip.images.dataset import Dataset, load_dataset
from alexnet_skip.images.splits import limit_positions
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.system.console import Console

BUILT_IN_NOTE = """CIFAR-10 is not here and could not be downloaded, so this run uses the BUILT-IN SAMPLE
"shapes" (6,000 drawn images of 10 shapes). Its figures say nothing about CIFAR-10.

To use CIFAR-10, do one of these:
  --data-archive cifar-10-python.tar.gz   (from https://www.cs.toronto.edu/~kriz/cifar.html)
  --data-url URL                          of another server that has this file
  --data-dir FOLDER                       that holds cifar-10-batches-py
  --dataset FOLDER                        with FOLDER/train/<class>/*.png or .jpg

Reason: """


def load_images(settings: DataSettings, console: Console, *, download: bool = True) -> Dataset:
    """Load the dataset that the settings ask for, limited as they say; a fallback is shown where nobody can miss it."""
    dataset = load_dataset(
        settings.dataset,
        data_dir=settings.data_dir,
        data_archive=settings.data_archive,
        data_url=settings.data_url,
        skip_unreadable=settings.skip_unreadable,
        download=download,
        console=console,
    )
    if dataset.fallback_reason:
        console.panel("This is not CIFAR-10", BUILT_IN_NOTE + dataset.fallback_reason)
    if dataset.skipped:
        console.line(f"{len(dataset.skipped)} unreadable file(s) left out: {', '.join(dataset.skipped)}")
    if dataset.left_out:
        console.line(f"{dataset.name}, {dataset.left_out}")
    limits = {"train": settings.limit_train, "test": settings.limit_test}
    for name, limit in limits.items():
        if limit is not None and name in dataset.splits and limit < len(dataset.splits[name].labels):
            split = dataset.splits[name]
            dataset.splits[name] = split.subset(limit_positions(split.labels, limit))
    return dataset
