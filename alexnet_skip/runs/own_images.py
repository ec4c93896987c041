"""A run's images, wherever they lie now, and those of them that predictions were made on."""

import dataclasses
from contextlib import suppress
from functools import partial

import numpy as np

from alexnet_skip.images.dataset import Dataset, Split
from alexnet_skip.images.loading import load_images
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.settings.records import RunConfig
from alexnet_skip.settings.shared import DataSettings
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError


def split_of(predictions: Predictions, dataset: Dataset) -> Split | None:
    """The split that predictions were made on; None where the dataset does not hold it (any more)."""
    return next((split for split in dataset.splits.values() if split.digest == predictions.digest), None)


def settings_at(config: RunConfig, dataset: str | None, *, verify_images: bool = False) -> tuple[DataSettings, ...]:
    """What to ask for to have a run's images, or those of another place, as the run has read its own.

    Of another place all that lies there comes first, then what the run's limits leave of it, which makes it its own.
    """
    own = dataclasses.replace(config.data, verify_images=verify_images)
    if dataset is None:
        return (own,)
    there = dataclasses.replace(own, dataset=dataset, data_archive=None)
    whole = dataclasses.replace(there, limit_train=None, limit_test=None, train_on=None)
    return (whole, there) if own.limited else (whole,)


def load_images_of(
    config: RunConfig, dataset: str | None, console: Console, *, verify_images: bool = False, read_only: bool = False
) -> Dataset:
    """A run's images, or those of another place; its own there are read with its limits, which make them its own."""
    load = partial(
        load_images, cache_dir=config.cache_dir, val_fraction=config.settings.training.val_fraction,
        side=config.image_side, read_only=read_only,
    )  # fmt: skip
    plain, *limited = settings_at(config, dataset, verify_images=verify_images)
    loaded = load(plain, console)
    for settings in limited:
        with suppress(UserError):  # the limits don't fit: these are not the run's own
            found = load(settings, Console(quiet=True))
            loaded = found if found.splits["train"].digest == config.dataset.digest else loaded
    return loaded


def find_split(
    config: RunConfig, predictions: Predictions, console: Console, dataset: str | None = None
) -> Split | None:
    """:func:`split_of` a run's own images; None, and a line that says why, where they can't be had.

    Args:
        dataset: where they are, if not where the run says.

    Raises:
        UserError: if they are not in the dataset that is named.
    """
    try:
        split = split_of(predictions, load_images_of(config, dataset, console))
    except UserError as error:
        if dataset is not None:
            raise
        console.line(f"No gallery: {error}", style="yellow")
        return None
    if split is None and dataset is not None:
        raise UserError(
            f"--dataset {dataset} does not hold the images that were evaluated (SHA-256 {predictions.digest[:12]}); "
            "give the folder that they are in now, or leave --dataset out"
        )
    if split is None:
        console.line("No gallery: the images have changed since the evaluation, or were those of --dataset")
    return split


def images_at(split: Split, predictions: Predictions, rows: np.ndarray) -> np.ndarray:
    """Images uint8 (B, H, W, 3) of rows (B,) of predictions."""
    return split.images[np.searchsorted(split.index, predictions.index[rows])]
