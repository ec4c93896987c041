"""About one second of the real work, to tell how long all of it takes."""

import time
from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from alexnet_skip.features.basis import Basis, make_head
from alexnet_skip.features.cache import compute_features
from alexnet_skip.features.lower import LowerLayers
from alexnet_skip.features.source import FeatureSource
from alexnet_skip.features.tuned import TunedNetwork
from alexnet_skip.network.backbone import NUM_FEATURES, FrozenAlexNet
from alexnet_skip.network.upper import UpperConvolutions
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.training.optimization import make_optimizer

PART_SECONDS = 0.4
PROBE_IMAGES = 128


class NoFeatures:
    """A source of random inputs, for a model that is only timed.

    Args:
        widths: of the inputs; None where there is none.
    """

    def __init__(self, num_samples: int, widths: tuple[int, int | None], device: torch.device) -> None:
        self.num_samples = num_samples
        self.widths = widths
        self.device = device

    def fetch(self, rows: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """Random inputs of rows (B,)."""
        first, second = (None if width is None else torch.rand(len(rows), width) for width in self.widths)
        assert first is not None
        return first.to(self.device), None if second is None else second.to(self.device)


def rate(work: Callable[[], int], device: torch.device) -> float:
    """Items a second: the work is done once to warm up, then again and again until ``PART_SECONDS`` have passed.

    Args:
        work: returns how many items it did.
    """
    work()
    began, done = time.perf_counter(), 0
    while not done or time.perf_counter() - began < PART_SECONDS:
        done += work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return done / (time.perf_counter() - began)


def extraction_rate(backbone: FrozenAlexNet, image_size: tuple[int, int], device: torch.device) -> float:
    """Images a second through the frozen convolutions, on one process."""
    images = np.random.default_rng(0).integers(0, 256, (PROBE_IMAGES, *image_size, 3), dtype=np.uint8)
    return rate(lambda: len(compute_features(backbone, images, ["main", "tap"])["main"]), device)


def multiplication_rate(device: torch.device) -> float:
    """Floating-point operations a second of large matrix products, on one process."""
    side = 2048
    a, b = torch.rand(2, side, side, device=device)
    out = torch.empty(side, side, device=device)

    def work() -> int:
        torch.mm(a, b, out=out)
        return 2 * side**3

    return rate(work, device)


def training_rate(settings: TrainSettings, num_classes: int, accelerator: Accelerator) -> float:
    """Images a second through the head, forward, backward and step, on one process."""
    options, mode, device = settings.training, settings.joined, accelerator.device
    basis, widths = _basis(settings), (NUM_FEATURES, None if mode == "none" else NUM_FEATURES)
    if basis is not None:
        widths = (basis.projection.shape[1], NUM_FEATURES if mode == "conv" else None)
    source: FeatureSource = NoFeatures(options.batch_size, widths, device)
    model = make_head(mode, num_classes, basis, options.dropout)
    inputs = source.fetch(np.arange(-(-options.batch_size // accelerator.num_processes)))
    return _step_rate(settings, model, lambda: inputs, accelerator)


def tuning_rate(
    settings: TrainSettings, backbone: FrozenAlexNet, image_size: tuple[int, int], num_classes: int,
    accelerator: Accelerator,
) -> float:  # fmt: skip
    """Images a second through a step of the second stage: the lower layers, then all that learns, forward and back."""
    size = min(PROBE_IMAGES, settings.finetuning.finetune_batch_size)
    images = np.random.default_rng(0).integers(0, 256, (size, *image_size, 3), dtype=np.uint8)
    upper, basis = UpperConvolutions(backbone, settings.finetuning.finetune), _basis(settings)
    source = LowerLayers(images, backbone, upper.cut, accelerator.device)
    model = TunedNetwork(upper, make_head(settings.joined, num_classes, basis, settings.training.dropout), basis)
    return _step_rate(settings, model, lambda: source.fetch(np.arange(size)), accelerator)


def _basis(settings: TrainSettings) -> Basis | None:
    """One of the right size, where the settings have any."""
    width = NUM_FEATURES * (2 if settings.joined == "concat" else 1)
    columns = min(settings.training.pca_basis, width)
    return Basis(torch.zeros(width), torch.zeros(width, columns)) if columns else None


def _step_rate(
    settings: TrainSettings, model: nn.Module, fetch: Callable[[], tuple[Tensor | None, ...]], accelerator: Accelerator
) -> float:
    """Images a second through steps of the recipe's optimizer."""
    optimizer, _ = make_optimizer(settings, model, 100)
    prepared, optimizer = accelerator.prepare(model, optimizer)

    def work() -> int:
        optimizer.zero_grad(set_to_none=True)
        logits = prepared(*fetch())
        target = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        accelerator.backward(torch.nn.functional.cross_entropy(logits, target))
        optimizer.step()
        return len(logits)

    return rate(work, accelerator.device)
