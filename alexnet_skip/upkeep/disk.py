"""How much disk a training would take: models and checkpoints of its runs, and coordinates beside the features."""

from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.upkeep import memory
from alexnet_skip.upkeep.remaining import Remaining

# Parameter, AdamW's two moments, and the copy of the best epoch: fp32 each.
COPIES_IN_CHECKPOINT = 4


def runs_bytes(remaining: Remaining, num_classes: int) -> int:
    """What the models and checkpoints of runs take at the most, where no models share a file."""
    models = sum(_models_bytes(run.settings, num_classes) for run in remaining.runs)
    checkpoints = [_checkpoints_bytes(run.settings, num_classes) for run in remaining.runs]
    # A run that is finished keeps its own only where it was asked to.
    kept = any(run.settings.checkpoints.checkpoint_epochs for run in remaining.runs)
    return models + (sum(checkpoints) if kept else max(checkpoints, default=0))


def _models_bytes(settings: TrainSettings, num_classes: int) -> int:
    models = 2 + len(settings.run.snapshot_epochs)
    return models * memory.published_bytes(settings.joined, num_classes, settings.training.pca_basis)


def _checkpoints_bytes(settings: TrainSettings, num_classes: int) -> int:
    options = settings.checkpoints
    # The newest, the best, and the one that is written before an old one is removed.
    kept = options.keep_checkpoints + 2 if options.checkpoint_minutes or options.checkpoint_epochs else 0
    return kept * checkpoint_bytes(settings, num_classes)


def checkpoint_bytes(settings: TrainSettings, num_classes: int) -> int:
    """What one checkpoint of a run takes, of its second stage where it has one."""
    head = memory.head_values(settings.joined, num_classes, settings.training.pca_basis)
    return COPIES_IN_CHECKPOINT * 4 * (head + memory.tuned_values(settings))
