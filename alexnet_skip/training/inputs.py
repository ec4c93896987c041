"""From settings to what the head trains on: dataset, features or principal coordinates, model, optimizer."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import nn

from alexnet_skip.features.basis import Basis, SkipHeadInBasis
from alexnet_skip.features.coordinates import CoordinateSource, open_basis
from alexnet_skip.features.source import FeatureSource, FrozenFeatures, predict
from alexnet_skip.images.dataset import Dataset
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.head import Joined, SkipHead
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.statistics import metrics
from alexnet_skip.system.console import Console
from alexnet_skip.training.epoch import cosine_with_warmup
from alexnet_skip.training.finite_guard import NonFiniteLossError
from alexnet_skip.training.log import Stopwatch


def make_optimizer(
    settings: TrainSettings, model: nn.Module, num_steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The recipe's optimizer and learning-rate schedule.

    ``report``: Adam at a constant rate, as the source report. ``fast``: AdamW with warm-up and a cosine to zero.
    """
    options = settings.training
    # Fused: one pass over the parameters instead of a dozen, and they are larger than the caches. It is also the form
    # that skips a step when a flag on the device says so (finite_guard).
    if settings.recipe == "report":
        adam = torch.optim.Adam(model.parameters(), lr=options.lr, weight_decay=options.weight_decay, fused=True)
        return adam, torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1.0)
    adamw = torch.optim.AdamW(model.parameters(), lr=options.lr, weight_decay=options.weight_decay, fused=True)
    return adamw, torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: cosine_with_warmup(step, num_steps))


@dataclass(frozen=True)
class Inputs:
    """What the head trains on and is validated on.

    Attributes:
        source: the model's inputs by row of the train split.
        validation: inputs and labels of the held-out samples, and their positions in them; None without any.
        basis: the PCA basis that the first layer works in, or None.
    """

    source: FeatureSource
    validation: tuple[FeatureSource, np.ndarray, np.ndarray] | None
    mode: Joined
    basis: Basis | None

    def make_model(self, num_classes: int, dropout: tuple[float, float, float]) -> nn.Module:
        """A fresh model for these inputs."""
        if self.basis is None:
            return SkipHead(self.mode, num_classes, dropout)
        return SkipHeadInBasis(self.mode, num_classes, self.basis, dropout)

    def published_form(self, state: dict[str, Any], num_classes: int) -> SkipHead:
        """The trained model on the features themselves, from its state."""
        model = self.make_model(num_classes, (0, 0, 0))
        model.load_state_dict(state)
        if isinstance(model, SkipHeadInBasis) and self.basis is not None:
            return model.fold(self.basis)
        assert isinstance(model, SkipHead)
        return model.eval()

    def validate(self, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        """``val_loss``, ``val_top1`` and ``val_top3`` on the held-out samples; nothing without any."""
        if self.validation is None:
            return {}
        source, labels, positions = self.validation
        logits = predict(model, source, positions, accelerator)
        if not np.isfinite(logits).all():
            raise NonFiniteLossError("validation: the model's outputs are not finite; try a lower --lr")
        targets = labels[positions]
        return {
            "val_loss": metrics.negative_log_likelihood(metrics.softmax(logits), targets),
            "val_top1": metrics.topk_accuracy(logits, targets, 1),
            "val_top3": metrics.topk_accuracy(logits, targets, min(3, logits.shape[1])),
        }


def open_inputs(
    settings: TrainSettings,
    dataset: Dataset,
    positions: np.ndarray,
    val_positions: np.ndarray,
    backbone: FrozenAlexNet,
    weights_digest: str,
    accelerator: Accelerator,
    console: Console,
    watch: Stopwatch,
) -> Inputs:
    """Extract what the cache lacks, fit the PCA basis if the settings ask for one, and bring both together."""
    mode, options = settings.joined, settings.training
    cache_dir = settings.cache.cache_dir if settings.cache.cache else None
    frozen, tap = FrozenFeatures(backbone, weights_digest, cache_dir, accelerator, console), mode != "none"
    with watch.phase("extract"):
        train_features = frozen.open(dataset, "train", tap=tap, mirrored=options.hflip)
        val_features = frozen.open(dataset, "val", tap=tap) if "val" in dataset.splits else None
    source: FeatureSource = train_features
    val_source: FeatureSource | None = val_features
    basis = None
    if options.pca_basis:
        with watch.phase("basis"):
            basis, source = open_basis(
                train_features, positions, mode, options.pca_basis, accelerator, console, mirrored=options.hflip
            )
            if val_features is not None:
                val_source = CoordinateSource(val_features, mode, basis)
    if val_source is not None:
        labels = dataset.splits["val"].labels
        return Inputs(source, (val_source, labels, np.arange(len(labels))), mode, basis)
    held_out = (source, dataset.splits["train"].labels, val_positions) if len(val_positions) else None
    return Inputs(source, held_out, mode, basis)
