"""One epoch of training, and prediction: loops over rows of features, the same on one process and on several."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from alexnet_skip.features.source import FeatureSource
from alexnet_skip.network.head import MaskBytes, use_masks
from alexnet_skip.system.tensors import to_device
from alexnet_skip.training.finite_guard import FiniteGuard


@dataclass
class EpochProgress:
    """How far an epoch has come: what an interrupted one goes on from.

    Attributes:
        steps: steps done.
        images: images of all processes that these steps took.
        totals: summed loss and correct predictions (2,) of this process's images, float64 on the device.
        seconds: time spent.
    """

    steps: int = 0
    images: int = 0
    totals: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    seconds: float = 0.0


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


def cosine_with_warmup(step: int, num_steps: int, warmup_fraction: float = 0.1) -> float:
    """Factor of the peak learning rate at a step: linear warm-up, then half a cosine down to zero."""
    warmup = max(1, round(num_steps * warmup_fraction))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, num_steps - warmup)))


def train_one_epoch(
    model: nn.Module,
    source: FeatureSource,
    labels: Tensor,
    batches: Iterator[np.ndarray],
    optimizer: torch.optim.Optimizer,
    scheduler: torch.optim.lr_scheduler.LRScheduler,
    accelerator: Accelerator,
    *,
    seed: Sequence[int],
    label_smoothing: float,
    advance: Callable[[int], None],
    progress: EpochProgress | None = None,
) -> dict[str, float]:
    """Train on every batch once; each process takes its share of every batch.

    Args:
        labels: class of every sample (num_samples,), on the device.
        batches: rows of each global batch that is left to do, the same on every process.
        seed: of this epoch's dropout masks, such as (seed, epoch).
        advance: called with the number of images after each step.
        progress: where an interrupted epoch stopped; kept up to date, also while ``advance`` is called.

    Returns:
        ``train_loss`` and ``train_top1`` (means over all samples as trained, so under dropout),
        ``lr`` and ``grad_norm`` of the last step, ``images_per_second``.

    Raises:
        NonFiniteLossError: before the optimizer's step, if a loss or gradient is not finite.
    """
    model.train()
    loss_function = nn.CrossEntropyLoss(label_smoothing=label_smoothing, reduction="sum")
    progress = progress or EpochProgress()
    progress.totals = progress.totals.to(accelerator.device)
    guard = FiniteGuard(accelerator, optimizer)
    began, lr = time.perf_counter() - progress.seconds, 0.0
    layers, share = list(model.modules()), slice(accelerator.process_index, None, accelerator.num_processes)
    pending = next(batches, None)
    while pending is not None:
        rows, pending = pending, next(batches, None)
        mine = rows[share]
        use_masks(layers, MaskBytes((*seed, progress.steps), len(rows), share))
        target = labels[to_device(mine % source.num_samples, labels.device)]
        logits = model(*source.fetch(mine))
        loss = loss_function(logits, target)
        # The mean over the global batch: gradients are averaged over processes, whose shares may differ by one.
        guard.backward(loss, accelerator.num_processes / len(rows))
        lr = float(scheduler.get_last_lr()[0])
        guard.before_step(loss, model.parameters(), progress.steps, lr)
        if pending is None and accelerator.scaler is not None:
            # Without a bound it clips nothing: it only measures, after undoing the scaling of fp16.
            guard.grad_norm = accelerator.clip_grad_norm_(model.parameters(), math.inf)
        optimizer.step()
        scheduler.step()
        optimizer.zero_grad(set_to_none=True)
        # Summed on the device: reading a loss in every step would make the host wait for it.
        with torch.no_grad():
            progress.totals += torch.stack((loss.double(), (logits.argmax(1) == target).sum().double()))
        progress.steps += 1
        progress.images += len(rows)
        progress.seconds = time.perf_counter() - began
        guard.after_step(progress.steps)
        advance(len(rows))
    guard.read()
    loss_sum, correct = accelerator.reduce(progress.totals, "sum").tolist()
    return {
        "train_loss": loss_sum / progress.images,
        "train_top1": correct / progress.images,
        "lr": lr,
        "grad_norm": float(guard.grad_norm),
        "images_per_second": progress.images / (time.perf_counter() - began),
    }
