"""Batches, learning rate and steps: the same on one process and on several."""

import math
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_skip.features.source import FeatureSource
from alexnet_skip.network.head import MaskBytes, use_masks
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.system.tensors import to_device
from alexnet_skip.training.finite_guard import FiniteGuard
from alexnet_skip.training.state import EpochProgress


def epoch_batches(
    positions: np.ndarray, num_samples: int, batch_size: int, seed: int, epoch: int, *, mirrored: bool
) -> Iterator[np.ndarray]:
    """Shuffled batches of rows for one epoch: a function of seed and epoch alone, so any epoch can be repeated.

    Args:
        positions: the samples (N,) to train on.
        num_samples: samples in the whole split; row ``i + num_samples`` is the mirrored view of sample i.
        mirrored: choose either view with equal probability.
    """
    rng = np.random.default_rng([seed, epoch])
    rows = rng.permutation(positions)
    if mirrored:
        rows = rows + num_samples * rng.integers(0, 2, len(rows))
    for start in range(0, len(rows), batch_size):
        # Sorted, so that the rows of a batch are read in the order in which they lie on disk.
        yield np.sort(rows[start : start + batch_size])


def process_seed(seed: int, process: int) -> int:
    """Seed of what a process draws for itself, from the run's; no process of any run shares it with another."""
    return int(np.random.SeedSequence([seed, process]).generate_state(1, np.uint64)[0])


def cosine_with_warmup(step: int, num_steps: int, warmup_fraction: float = 0.1) -> float:
    """Factor of the peak learning rate at a step: linear warm-up, then half a cosine down to zero."""
    warmup = max(1, round(num_steps * warmup_fraction))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def make_optimizer(
    settings: TrainSettings, model: nn.Module, num_steps: int, groups: Iterable[dict[str, Any]] | None = None
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    """The recipe's optimizer and learning-rate schedule.

    ``report``: Adam at a constant rate, as the source report. ``fast``: AdamW with warm-up and a cosine to zero.

    Args:
        groups: of the model's parameters with peak rates of their own; all have the settings' rate if None.
    """
    options = settings.training
    # Fused: one pass over the parameters instead of a dozen, and they are larger than the caches. It is also the form
    # that skips a step when a flag on the device says so (finite_guard).
    if settings.recipe == "report":
        adam = torch.optim.Adam(model.parameters(), lr=options.lr, weight_decay=options.weight_decay, fused=True)
        return adam, torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 1.0)
    parameters = model.parameters() if groups is None else groups
    adamw = torch.optim.AdamW(parameters, lr=options.lr, weight_decay=options.weight_decay, fused=True)
    return adamw, torch.optim.lr_scheduler.LambdaLR(adamw, lambda step: cosine_with_warmup(step, num_steps))


class Optimization:
    """Takes a model through the steps of an epoch; each process takes its share of every batch.

    Args:
        model, optimizer: as Accelerate has prepared them.
        source: the model's inputs by row.
        labels: class of every sample (num_samples,), on the device.
        class_weights: what a sample of each class (C,) counts in the loss; all alike if None.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, scheduler: torch.optim.lr_scheduler.LRScheduler,
        source: FeatureSource, labels: Tensor, accelerator: Accelerator, *, label_smoothing: float = 0.0,
        class_weights: np.ndarray | None = None,
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.scheduler = model, optimizer, scheduler
        self.source, self.labels, self.accelerator = source, labels, accelerator
        self._label_smoothing = label_smoothing
        self._class_weights = None if class_weights is None else to_device(class_weights, labels.device).float()
        self._layers = list(model.modules())
        self._share = slice(accelerator.process_index, None, accelerator.num_processes)

    def begin_epoch(self, seed: Sequence[int], num_steps: int, progress: EpochProgress | None = None) -> None:
        """To be called before the first step of an epoch, or the next one of an interrupted epoch.

        Args:
            seed: of this epoch's dropout masks, such as (seed, epoch).
            num_steps: of the whole epoch.
            progress: where an interrupted epoch stopped; kept up to date with every step.
        """
        self.model.train()
        self.progress = progress or EpochProgress()
        self.progress.totals = self.progress.totals.to(self.accelerator.device)
        self._seed, self._num_steps = tuple(seed), num_steps
        self._guard, self._lr = FiniteGuard(self.accelerator, self.optimizer), 0.0
        self._began = time.perf_counter() - self.progress.seconds

    def step(self, rows: np.ndarray) -> None:
        """Train on one global batch of rows, the same on every process.

        Raises:
            NonFiniteLossError: before the optimizer's step, if the loss or a gradient is not finite.
        """
        guard, progress, mine = self._guard, self.progress, rows[self._share]
        use_masks(self._layers, MaskBytes((*self._seed, progress.steps), len(rows), self._share))
        target = self.labels[to_device(mine % self.source.num_samples, self.labels.device)]
        logits = self.model(*self.source.fetch(mine))
        loss = self._summed_loss(logits, target)
        # The mean over the global batch: gradients are averaged over processes, whose shares may differ by one.
        guard.backward(loss, self.accelerator.num_processes / len(rows))
        self._lr = float(self.scheduler.get_last_lr()[0])
        guard.before_step(loss, self.model.parameters(), progress.steps, self._lr)
        if progress.steps == self._num_steps - 1 and self.accelerator.scaler is not None:
            # Without a bound it clips nothing: it only measures, after undoing the scaling of fp16.
            guard.grad_norm = self.accelerator.clip_grad_norm_(self.model.parameters(), math.inf)
        self.optimizer.step()
        self.scheduler.step()
        self.optimizer.zero_grad(set_to_none=True)
        # Summed on the device: reading a loss in every step would make the host wait for it.
        with torch.no_grad():
            progress.totals += torch.stack((loss.double(), (logits.argmax(1) == target).sum().double()))
        progress.steps += 1
        progress.images += len(rows)
        progress.seconds = time.perf_counter() - self._began
        guard.after_step(progress.steps)

    def _summed_loss(self, logits: Tensor, target: Tensor) -> Tensor:
        if self._class_weights is None:
            return F.cross_entropy(logits, target, label_smoothing=self._label_smoothing, reduction="sum")
        # Not cross_entropy's own weight: with label smoothing that pulls every sample towards the heavy classes.
        losses = F.cross_entropy(logits, target, label_smoothing=self._label_smoothing, reduction="none")
        return (losses * self._class_weights[target]).sum()

    def epoch_figures(self) -> dict[str, float]:
        """Figures of the epoch's steps so far, over all processes.

        Returns:
            ``train_loss`` and ``train_top1`` (means over all samples as trained: under dropout, the loss with class
            weights where there are any),
            ``lr`` and ``grad_norm`` of the last step, ``images_per_second``. Without ``grad_norm`` where that step's
            gradients were infinite and fp16's scaler has skipped it.

        Raises:
            NonFiniteLossError: if a step on a GPU was not taken, and nobody has looked yet.
        """
        self._guard.read()
        loss_sum, correct = self.accelerator.reduce(self.progress.totals, "sum").tolist()
        images, norm = self.progress.images, float(self._guard.grad_norm)
        return {
            "train_loss": loss_sum / images,
            "train_top1": correct / images,
            "lr": self._lr,
            **({"grad_norm": norm} if math.isfinite(norm) else {}),
            "images_per_second": images / (time.perf_counter() - self._began),
        }
