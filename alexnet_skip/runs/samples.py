"""The images behind predictions, for galleries: loaded again from where the run had them, without any model."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from alexnet_skip.images.dataset import Dataset, Split
from alexnet_skip.runs.opened import own_images
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.inputs import load_images


def split_of(predictions: Predictions, dataset: Dataset) -> Split | None:
    """The split that predictions were made on; None where the dataset does not hold it (any more)."""
    return next((split for split in dataset.splits.values() if split.digest == predictions.digest), None)


def find_split(config: Mapping[str, Any], predictions: Predictions, console: Console) -> Split | None:
    """:func:`split_of` a run's own dataset; None, and a line that says why, where it can't be had."""
    try:
        split = split_of(predictions, load_images(own_images(dict(config)), console))
    except UserError as error:
        console.line(f"No gallery: {error}", style="yellow")
        return None
    if split is None:
        console.line("No gallery: the images have changed since the evaluation, or were those of --dataset")
    return split


def images_at(split: Split, predictions: Predictions, rows: np.ndarray) -> np.ndarray:
    """Images uint8 (B, H, W, 3) of rows (B,) of predictions."""
    return split.images[np.searchsorted(split.index, predictions.index[rows])]
