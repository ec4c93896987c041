"""Frozen AlexNet: uint8 images in, the features of its last pooling layer and the skip's tap out."""

import hashlib
from collections.abc import Callable, Mapping
from functools import cached_property

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_skip.network.folded_conv import SIZE as FOLDED_SIZE
from alexnet_skip.network.folded_conv import FoldedResizeConv
from alexnet_skip.network.fp32_products import fp32_products
from alexnet_skip.network.layers import FIRST_UPPER, Layers, lower_layers, upper_layers
from alexnet_skip.network.single_threads import single_threads
from alexnet_skip.network.uninitialised import Uninitialised
from alexnet_skip.network.winograd import WinogradConv

# timm's names and values (timm/data/constants.py), also torchvision's for IMAGENET1K_V1.
IMAGENET_DEFAULT_MEAN = (0.485, 0.456, 0.406)

IMAGENET_DEFAULT_STD = (0.229, 0.224, 0.225)

IMAGE_SIZE = 224
NUM_FEATURES = 9216
# torchvision's AlexNet: index in `features`, channels in and out, kernel, stride, padding.
CONVOLUTIONS = {
    0: (3, 64, 11, 4, 2),
    3: (64, 192, 5, 1, 2),
    6: (192, 384, 3, 1, 1),
    8: (384, 256, 3, 1, 1),
    10: (256, 256, 3, 1, 1),
}

# The keys and shapes of `features.state_dict()`, in its order.
STATE_SHAPES: dict[str, tuple[int, ...]] = {
    f"{index}.{name}": (outputs, inputs, kernel, kernel) if name == "weight" else (outputs,)
    for index, (inputs, outputs, kernel, _, _) in CONVOLUTIONS.items()
    for name in ("weight", "bias")
}

# Images in one forward pass on a CPU, where each pass has one thread and several run side by side. Fixed, so that an
# image's features depend neither on how callers batch nor on the number of threads; 4 keeps activations in the caches.
CPU_BATCH = 4

CPU_IMPLEMENTATION = "CPU: first convolution folded with the resize, Winograd of 4×4 outputs, version 1"


class FrozenAlexNet(nn.Module):
    """The convolutions of torchvision's AlexNet, frozen: never trained, always in eval mode.

    Its weights are fixed when it is built: `folded_conv` is derived from them, and loading others would not reach it.

    Args:
        state: ``{0,3,6,8,10}.{weight,bias}`` as in ``torchvision.models.alexnet().features.state_dict()``.

    Raises:
        ValueError: if a tensor is missing, unknown, or has another shape.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, state: Mapping[str, Tensor]) -> None:
        super().__init__()
        check_state(state)
        with Uninitialised():
            layers = {str(index): nn.Conv2d(*form) for index, form in CONVOLUTIONS.items()}
        self.features = nn.ModuleDict(layers)
        self.features.load_state_dict(dict(state))
        self.folded_conv = FoldedResizeConv(state["0.weight"], state["0.bias"])
        self.features.to(memory_format=torch.channels_last)  # twice as fast as contiguous on CPUs, faster on GPUs
        self.register_buffer("mean", torch.tensor(IMAGENET_DEFAULT_MEAN).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(IMAGENET_DEFAULT_STD).view(3, 1, 1) * 255, persistent=False)
        self.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> "FrozenAlexNet":
        """Stay in eval mode: ``model.train()`` of a whole network must not reach the backbone."""
        return super().train(False)

    def torchvision_state(self) -> dict[str, Tensor]:
        """The weights under torchvision's names, contiguous."""
        return {name: value.contiguous() for name, value in self.features.state_dict().items()}

    def normalise(self, images: Tensor) -> Tensor:
        """Turn uint8 images (B, H, W, 3) into normalised fp32 (B, 3, H, W).

        Done before the resize: both are affine and bilinear weights sum to one, so they commute, and a small image
        costs 1/49.
        """
        return (images.permute(0, 3, 1, 2).float() - self.mean) / self.std

    def first_convolution(self, pixels: Tensor) -> Tensor:
        """Resize normalised images to 224×224 (bilinear) and convolve them; returns (B, 64, 55 or 56, 55 or 56).

        Where there is a 56th row and column, they mean nothing, and the max-pooling that follows does not read them.
        """
        if pixels.shape[2:] == (FOLDED_SIZE, FOLDED_SIZE):
            return self.folded_conv(pixels)
        if pixels.shape[2:] != (IMAGE_SIZE, IMAGE_SIZE):
            # Antialiasing only acts when an image is made smaller.
            shrinks = max(pixels.shape[2:]) > IMAGE_SIZE
            pixels = F.interpolate(pixels, (IMAGE_SIZE, IMAGE_SIZE), mode="bilinear", antialias=shrinks)
        return self.features["0"](pixels.contiguous(memory_format=torch.channels_last))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the features of uint8 images (B, H, W, 3).

        Returns:
            ``main`` (B, 256, 6, 6), the output of ``features``, and ``tap`` (B, 256, 6, 6), the output of
            ``features[8]`` before its ReLU, average-pooled to 6×6; fp32.
        """
        main, tap = self._by_parts(images, self._forward)
        return main, tap

    def lower(self, images: Tensor, cut: int, *, bf16: bool = False) -> Tensor:
        """Compute what the layers below a convolution make of uint8 images (B, H, W, 3): its input.

        Args:
            cut: index of the convolution in `features`: one of the last three, 6, 8 or 10.
            bf16: compute in bf16 by plain convolutions, where the device multiplies it natively; fp32 otherwise.

        Returns:
            (B, 192, 13, 13) for 6, (B, 384, 13, 13) for 8; (B, 256, 13, 13) for 10, before the ReLU since the skip taps
            it there. Without gradient.
        """

        def work(part: Tensor) -> tuple[Tensor]:
            return (self._lower(part, cut, bf16),)

        (values,) = self._by_parts(images, work)
        return values

    def _by_parts(self, images: Tensor, work: Callable[[Tensor], tuple[Tensor, ...]]) -> tuple[Tensor, ...]:
        """The work on all images; on a CPU in small parts, several at a time."""
        if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[3] != 3:
            raise ValueError(f"images must be uint8 (B, H, W, 3), got {images.dtype} {tuple(images.shape)}")
        if images.device.type != "cpu":
            with fp32_products(images.device.type):
                return work(images)
        _ = self.winograd  # made here, once, not by several threads at a time
        with fp32_products():
            parts = list(single_threads(torch.get_num_threads()).map(work, images.split(CPU_BATCH)))
        return tuple(torch.cat(values) for values in zip(*parts, strict=True))

    @torch.no_grad()
    def _forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        # Never in mixed precision, whoever calls: fp16 convolutions give NaN on GTX 16xx cards.
        with torch.autocast(images.device.type, enabled=False):
            layers = self.winograd if images.device.type == "cpu" else self.features
            return self.convolutions(self.first_convolution(self.normalise(images)), layers)

    @torch.no_grad()
    def _lower(self, images: Tensor, cut: int, bf16: bool) -> Tensor:
        with torch.autocast(images.device.type, torch.bfloat16, enabled=bf16):
            fast = images.device.type == "cpu" and not bf16
            x = self.first_convolution(self.normalise(images))
            return lower_layers(x, self.winograd if fast else self.features, cut).float()

    @cached_property
    def weights_digest(self) -> str:
        """:func:`weights_digest` of these very weights: what their features are kept under."""
        return weights_digest(self.torchvision_state())

    @cached_property
    def winograd(self) -> dict[str, Callable[[Tensor], Tensor]]:
        """The convolutions of stride 1 as CPUs compute them: to rounding the same as `features`, and faster."""
        state = self.torchvision_state()
        return {
            str(index): WinogradConv(state[f"{index}.weight"], state[f"{index}.bias"], padding)
            for index, (_, _, _, stride, padding) in CONVOLUTIONS.items()
            if stride == 1
        }

    def convolutions(self, x: Tensor, layers: Layers) -> tuple[Tensor, Tensor]:
        """Everything behind the first convolution (B, 64, 55, 55), by `layers`; returns what :meth:`forward` does."""
        return upper_layers(lower_layers(x, layers, FIRST_UPPER), layers, FIRST_UPPER)


def implementation(device: torch.device) -> str:
    """What computes the features on a device.

    Another one gives other last bits, of which fp16 keeps some (Winograd against plain convolutions: 0.6 % of the
    values, measured): whoever changes how features are computed changes the version.
    """
    if device.type == "cpu":
        return CPU_IMPLEMENTATION
    return f"{device.type}: first convolution folded with the resize, plain convolutions, fp32, version 1"


def check_state(state: Mapping[str, Tensor]) -> None:
    """Refuse weights that are not AlexNet's convolutions.

    Raises:
        ValueError: naming the first tensor that is missing, unknown, of another shape, or not finite.
    """
    for name, shape in STATE_SHAPES.items():
        if name not in state:
            raise ValueError(f"features.{name} is missing; found {', '.join(sorted(state)[:12]) or 'nothing'}")
        if tuple(state[name].shape) != shape:
            raise ValueError(f"features.{name} has shape {tuple(state[name].shape)}, expected {shape}")
        if not torch.isfinite(state[name]).all():
            raise ValueError(f"features.{name} holds values that are not finite")
    unknown = sorted(set(state) - set(STATE_SHAPES))
    if unknown:
        raise ValueError(f"features.{unknown[0]} is not a layer of AlexNet's features")


def weights_digest(state: Mapping[str, Tensor]) -> str:
    """SHA-256 of weights: key, shape and little-endian fp32 bytes of each tensor, in the order of STATE_SHAPES."""
    digest = hashlib.sha256()
    for key in STATE_SHAPES:
        array = state[key].cpu().numpy().astype("<f4", copy=False)
        digest.update(f"{key} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
