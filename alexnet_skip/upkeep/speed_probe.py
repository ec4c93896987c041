"""About one second of the real work, to tell how long all of it takes."""

import time
from collections.abc import Callable

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast
from torch import Tensor, nn

from alexnet_skip.features.basis import Basis, make_head
from alexnet_skip.features.cache import compute_features
from alexnet_skip.features.lower import LowerLayers
from alexnet_skip.features.source import FeatureSource
from alexnet_skip.features.tuned import TunedNetwork
from alexnet_skip.images.split import Images as Pixels
from alexnet_skip.network.backbone import NUM_FEATURES, FrozenAlexNet
from alexnet_skip.network.upper import UpperConvolutions
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.training.optimization import make_optimizer
from alexnet_skip.upkeep.inventory import Images

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


def rate(work: Callable[[], int], device: torch.device, agree: Callable[[int], int] = lambda times: times) -> float:
    """Items a second: the work is done twice, to warm up and be timed, then as often as fits into ``PART_SECONDS``.

    Args:
        work: returns how many items it did.
        agree: how often all processes do it that wait for each other in it, from how often each would.
    """

    def timed(times: int) -> tuple[int, float]:
        began = time.perf_counter()
        done = sum(work() for _ in range(times))
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return done, max(time.perf_counter() - began, 1e-9)

    timed(1)
    done, seconds = timed(agree(max(1, int(PART_SECONDS / timed(1)[1]))))
    return done / seconds


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


def tuning_rate(settings: TrainSettings, backbone: FrozenAlexNet, images: Images, accelerator: Accelerator) -> float:
    """Images a second through a step of the second stage: the lower layers, then all that learns, forward and back.

    Images that are read from their files at every step are read here, too.
    """
    size = min(PROBE_IMAGES, settings.finetuning.finetune_batch_size, images.sizes["train"])
    upper, basis = UpperConvolutions(backbone, settings.finetuning.finetune), _basis(settings)
    source = LowerLayers(_some(images, size), backbone, upper.cut, accelerator.device)
    model = TunedNetwork(upper, make_head(settings.joined, images.num_classes, basis, settings.training.dropout), basis)
    return _step_rate(settings, model, lambda: source.fetch(np.arange(size)), accelerator)


def _some(images: Images, count: int) -> Pixels:
    """So many training images, from all over the split and as they lie there; made up where they are still to come."""
    if images.dataset is None:
        return np.random.default_rng(0).integers(0, 256, (count, *images.image_size, 3), dtype=np.uint8)
    rows = np.linspace(0, images.sizes["train"] - 1, count).astype(np.int64)
    return images.dataset.splits["train"].subset(rows).images


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

    def agree(times: int) -> int:
        return int(broadcast(torch.tensor(times, device=accelerator.device)))

    measured = rate(work, accelerator.device, agree)
    accelerator.free_memory()
    return measured
