"""What the head trains on and is validated on: features, or their principal coordinates."""

import zlib
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from alexnet_skip.features.basis import Basis, SkipHeadInBasis, make_head, rank_of
from alexnet_skip.features.coordinates import CoordinateSource, open_basis
from alexnet_skip.features.source import FeatureSource, FrozenFeatures, predict
from alexnet_skip.images.splits import proportional_positions
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.head import SkipHead
from alexnet_skip.settings.shared import SkipMode
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.statistics import metrics
from alexnet_skip.training.finite_guard import NonFiniteLossError
from alexnet_skip.training.log import Stopwatch
from alexnet_skip.training.session import Session

# Of the images to train on, at most so many are measured as the held-out ones are: the standard error of a top-1 of
# 85 % is then 0.8 points, and more would cost time in every epoch.
MAX_TRAIN_SAMPLE = 2000


@dataclass(frozen=True)
class HeldOut:
    """Samples that the epoch is chosen on.

    Attributes:
        source: the model's inputs by row of their stored split.
        positions: of the samples (M,) in it.
        targets: their classes (M,).
    """

    source: FeatureSource
    positions: np.ndarray
    targets: np.ndarray


@dataclass(frozen=True)
class Inputs:
    """What the head trains on and is validated on.

    Attributes:
        source: the model's inputs by row of the train split.
        labels: class of every sample of that split, on the device.
        held_out: None where nothing is.
        basis: the PCA basis that the first layer works in, or None.
        train_sample: of the images to train on, the positions (M,) in the train split of those that are measured as the
            held-out ones are.
    """

    source: FeatureSource
    labels: Tensor
    held_out: HeldOut | None
    mode: SkipMode
    num_classes: int
    basis: Basis | None
    train_sample: np.ndarray = field(default_factory=lambda: np.arange(0))

    def make_model(self, dropout: tuple[float, float, float] = (0, 0, 0)) -> nn.Module:
        """A fresh model for these inputs."""
        return self.make_head(dropout)

    def make_head(self, dropout: tuple[float, float, float] = (0, 0, 0)) -> SkipHead | SkipHeadInBasis:
        """A fresh skip connection and head, on features or on their coordinates."""
        return make_head(self.mode, self.num_classes, self.basis, dropout)

    def parameter_groups(self, model: nn.Module, rate: float) -> list[dict[str, Any]] | None:
        """Groups of the model's parameters with learning rates of their own; None where all have the stage's."""
        return None

    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Draw what of the inputs is another in every epoch: nothing of features."""

    def published_backbone(self, state: dict[str, Any], backbone: FrozenAlexNet) -> FrozenAlexNet:
        """The convolutions that are published with a trained state: the run's own, where they are not trained."""
        return backbone

    def published_form(self, state: dict[str, Any]) -> SkipHead:
        """The trained model on the features themselves, from its state."""
        # Initialising the model to be filled draws random numbers: keeping a snapshot must not change the training.
        with torch.random.fork_rng(devices=[]):
            head = make_head(self.mode, self.num_classes, self.basis, rank=rank_of(state))
            head.load_state_dict(state)
            if isinstance(head, SkipHead):
                return head.eval()
            assert self.basis is not None
            return head.fold(self.basis)

    @cached_property
    def fixed_checksum(self) -> int:
        """CRC-32 of what the weights mean nothing without and no checkpoint holds: the PCA basis."""
        checksum = 0
        for tensor in (self.basis.mean, self.basis.projection) if self.basis else ():
            checksum = zlib.crc32(np.ascontiguousarray(tensor.cpu().numpy()).data, checksum)
        return checksum

    def predict_held_out(self, model: nn.Module, accelerator: Accelerator) -> np.ndarray | None:
        """Logits (M, num_classes) of the held-out samples, on every process; None without any."""
        if self.held_out is None:
            return None
        return _finite_logits(model, self.held_out.source, self.held_out.positions, accelerator)

    def validate(self, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        """Plain cross-entropy and accuracy of a model as it is published, on images held out and on some trained on.

        Returns:
            ``val_loss`` and ``val_topK`` (:func:`metrics.usual_topk`); beside them ``train_eval_loss`` and
            ``train_eval_top1`` of :attr:`train_sample`. Nothing where nothing is held out.

        Raises:
            NonFiniteLossError: if the model's outputs are not finite.
        """
        logits, sample = self.predict_held_out(model, accelerator), self.train_sample
        if logits is None or self.held_out is None:
            return {}
        targets = self.held_out.targets
        figures = {
            "val_loss": metrics.negative_log_likelihood(metrics.softmax(logits), targets),
            **{f"val_top{k}": metrics.topk_accuracy(logits, targets, k) for k in metrics.usual_topk(self.num_classes)},
        }
        if len(sample):
            logits = _finite_logits(model, self.source, sample, accelerator)
            targets = self.labels.cpu().numpy()[sample]
            figures["train_eval_loss"] = metrics.negative_log_likelihood(metrics.softmax(logits), targets)
            figures["train_eval_top1"] = metrics.topk_accuracy(logits, targets, 1)
        return figures


def _finite_logits(
    model: nn.Module, source: FeatureSource, positions: np.ndarray, accelerator: Accelerator
) -> np.ndarray:
    logits = predict(model, source, positions, accelerator)
    if not np.isfinite(logits).all():
        raise NonFiniteLossError("validation: the model's outputs are not finite; try a lower learning rate")
    return logits


def open_inputs(settings: TrainSettings, session: Session, watch: Stopwatch) -> Inputs:
    """Extract what the cache lacks, fit the PCA basis if the settings ask for one, and bring both together."""
    mode, options, dataset = settings.joined, settings.training, session.dataset
    cache_dir = settings.cache.cache_dir if settings.cache.cache else None
    frozen = FrozenFeatures(session.backbone, cache_dir, session.accelerator, session.console)
    tap = mode != "none"
    with watch.phase("extract"):
        train_features = frozen.open(dataset, "train", tap=tap, mirrored=options.hflip)
        val_features = frozen.open(dataset, "val", tap=tap) if "val" in dataset.splits else None
    source: FeatureSource = train_features
    val_source: FeatureSource | None = val_features
    basis = None
    if options.pca_basis:
        with watch.phase("basis"):
            basis, source = open_basis(
                train_features, session.positions, mode, options.pca_basis, session.accelerator, session.console,
                mirrored=options.hflip,
            )  # fmt: skip
            if val_features is not None:
                val_source = CoordinateSource(val_features, mode, basis)
    train_labels = dataset.splits["train"].labels
    held_out = None
    if val_source is not None:
        labels = dataset.splits["val"].labels
        held_out = HeldOut(val_source, np.arange(len(labels)), labels)
    elif len(session.val_positions):
        held_out = HeldOut(source, session.val_positions, train_labels[session.val_positions])
    on_device = torch.from_numpy(train_labels).to(session.accelerator.device)
    sample = choose_train_sample(train_labels, session.positions, session.num_val)
    return Inputs(source, on_device, held_out, mode, session.num_classes, basis, sample)


def choose_train_sample(labels: np.ndarray, positions: np.ndarray, num_val: int) -> np.ndarray:
    """Of the positions (N,) to train on, those (M,) that are measured beside the held-out images: as many as these, at
    most :data:`MAX_TRAIN_SAMPLE`, each class in proportion, as it is held out.

    Drawn by the split's rule, which knows no seed: the same images in every run.
    """
    count = min(num_val, MAX_TRAIN_SAMPLE, len(positions))
    return positions[proportional_positions(labels[positions], count)]
