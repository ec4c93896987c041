"""``load_predictions()``: what an evaluation has kept of every image, as arrays."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np

from alexnet_skip.network.prediction import probabilities
from alexnet_skip.runs.folders import find_run, published_folder, published_name
from alexnet_skip.runs.predictions import kept_predictions
from alexnet_skip.settings.command_line import require, require_checkpoint
from alexnet_skip.settings.records import read_model_config
from alexnet_skip.system.console import Console

SPLITS = ("test", "val", "train")


class LoadedPredictions(NamedTuple):
    """Predictions of N images.

    Attributes:
        probabilities: (N, C), as the model predicts them: at its temperature where it has one.
        labels: true classes (N,), numbers into ``classes``.
        classes: C names.
        files: of the images (N,), within the dataset's folder; none where they are not of a folder, or the evaluation
            is from before they were kept.
    """

    probabilities: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    files: tuple[str, ...]


def load_predictions(
    run: str | os.PathLike[str] | None = None,
    *,
    split: str = "test",
    checkpoint: str = "best",
    tta: bool = False,
    runs_dir: str | os.PathLike[str] = "runs",
) -> LoadedPredictions:
    """Load the predictions of a run that has been evaluated, by ``evaluate.py`` or ``run.evaluate()``.

    Args:
        run: name, path or :class:`~alexnet_skip.api.run.Run`; the newest if None.
        split: ``test`` (for a dataset that has none ``val``, which stands in for it), ``val`` or ``train``.
        checkpoint: ``best``, ``last`` or ``epoch-N``.

    Raises:
        UserError: if there is no such split, checkpoint, run or evaluation, it is damaged, or of another model than the
            run has now.
    """
    require(split in SPLITS, "split", split, "test, val or train")
    require_checkpoint(checkpoint)
    folder = find_run(Path(runs_dir), None if run is None else os.fspath(run), Console().line)
    config = read_model_config(published_folder(folder, checkpoint))
    _, kept = kept_predictions(folder, split, published_name(checkpoint), tta=tta)
    chances = probabilities(kept.logits, config.temperature)
    return LoadedPredictions(chances, kept.labels, kept.class_names or config.class_names, kept.files)
