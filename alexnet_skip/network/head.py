"""What is trained: the skip connection, and the head on top of it."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_skip.network.backbone import NUM_FEATURES
from alexnet_skip.network.layers import FEATURE_SHAPE
from alexnet_skip.settings.shared import SkipMode


class MaskBytes:
    """Random bytes of one training step: the same for the whole batch on every process, which takes its own rows.

    Args:
        seed: whole numbers that name the step, such as seed, epoch and step.
        num_rows: rows of the global batch.
        share: the rows of it that this process has.
    """

    def __init__(self, seed: Sequence[int], num_rows: int, share: slice) -> None:
        self.num_rows = num_rows
        self.share = share
        # NumPy's fastest generator: 0.4 ms for what takes F.dropout 32 ms, which draws one by one (measured).
        self._bits = np.random.SFC64(np.random.SeedSequence(list(seed)))

    def draw(self, width: int) -> np.ndarray:
        """The next bytes (rows of the share, width), uint8."""
        count = self.num_rows * width
        words = self._bits.random_raw(-(-count // 8)).astype("<u8", copy=False)
        return words.view(np.uint8)[:count].reshape(self.num_rows, width)[self.share]


class Dropout(nn.Module):
    """Dropout (Srivastava et al. 2014) of rows (B, width), with masks from :class:`MaskBytes` on a CPU.

    Args:
        p: probability of a zero, from 0 to below 1; on a CPU it is met to within 1/512, since masks come from bytes.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.masks: MaskBytes | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Zero values of x at random and scale the others, while training."""
        if not self.training or self.p == 0:
            return x
        if self.masks is None or x.device.type != "cpu":
            return F.dropout(x, self.p, training=True)
        threshold = min(255, round(256 * self.p))
        # Compared in NumPy and converted as integers: torch takes ten times as long over bytes and bools (measured).
        keep = torch.from_numpy((self.masks.draw(x.shape[1]) >= threshold).view(np.uint8)).to(x.dtype)
        return x * keep.mul_(256 / (256 - threshold))


def use_masks(layers: Iterable[nn.Module], masks: MaskBytes) -> None:
    """Let every :class:`Dropout` among the layers draw from these bytes, in the order of their forward passes."""
    for layer in layers:
        if isinstance(layer, Dropout):
            layer.masks = masks


# Widths of the head's two hidden layers: the source report's.
HIDDEN_SIZES = (4096, 1024)


class SkipConnection(nn.Module):
    """Join the pooled tap of the fourth convolution to the backbone's output.

    ``none`` ignores the tap; ``identity`` adds it as it is (the source report's printed code); ``conv`` adds it through
    a trained 1×1 convolution, initialised as the identity (the report's text; 65,792 parameters); ``concat`` puts it
    beside the output. A 1×1 convolution commutes with average pooling, so the pooled tap is all that is needed.
    """

    def __init__(self, mode: SkipMode) -> None:
        super().__init__()
        self.mode = mode
        if mode == "conv":
            channels = FEATURE_SHAPE[0]
            self.projection = nn.Conv2d(channels, channels, kernel_size=1)
            nn.init.dirac_(self.projection.weight)
            nn.init.zeros_(self.projection.bias)  # type: ignore[arg-type]

    @property
    def num_features(self) -> int:
        """Width of the joined features: 9,216, or 18,432 for ``concat``."""
        return NUM_FEATURES * (2 if self.mode == "concat" else 1)

    def project(self, tap: Tensor) -> Tensor:
        """The trained 1×1 convolution of a flat tap, in the order of features; (B, 9216) to (B, 9216).

        As one matrix product, never a convolution in fp16, which gives NaN on GTX 16xx cards.
        """
        maps = tap.reshape(-1, FEATURE_SHAPE[0], FEATURE_SHAPE[1] * FEATURE_SHAPE[2]).transpose(1, 2)
        kernel, bias = self.projection.weight.flatten(1), self.projection.bias
        return F.linear(maps, kernel, bias).transpose(1, 2).flatten(1)

    def forward(self, main: Tensor, tap: Tensor | None = None) -> Tensor:
        """Join flat features (B, 9216) and tap (B, 9216) to (B, num_features)."""
        if self.mode == "none":
            return main
        if tap is None:
            raise ValueError(f"skip mode {self.mode} needs the tap")
        if self.mode == "concat":
            return torch.cat((main, tap), dim=1)
        return main + (self.project(tap) if self.mode == "conv" else tap)


class LinearRegressor(nn.Module):
    """The report's head: in_features → 4096 → 1024 → num_classes with ReLU between; outputs are class logits.

    Args:
        dropout: probabilities before the first, second and third linear layer.
    """

    def __init__(self, in_features: int, num_classes: int, dropout: tuple[float, float, float] = (0, 0, 0)) -> None:
        super().__init__()
        self.drop1, self.drop2, self.drop3 = (Dropout(p) for p in dropout)
        first, second = HIDDEN_SIZES
        self.fc1 = nn.Linear(in_features, first)
        self.fc2 = nn.Linear(first, second)
        self.fc3 = nn.Linear(second, num_classes)

    def forward_layers(self, x: Tensor) -> dict[str, Tensor]:
        """All layers' outputs by name: ``hidden1`` (B, 4096), ``hidden2`` (B, 1024), ``logits`` (B, num_classes)."""
        hidden1 = self.fc1(self.drop1(x)).relu_()
        hidden2 = self.fc2(self.drop2(hidden1)).relu_()
        logits = self.fc3(self.drop3(hidden2))
        return {"hidden1": hidden1, "hidden2": hidden2, "logits": logits}

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, num_classes) of features (B, in_features)."""
        return self.forward_layers(x)["logits"]


class SkipHead(nn.Module):
    """Everything that is trained: the skip connection and the head on top of it."""

    def __init__(self, mode: SkipMode, num_classes: int, dropout: tuple[float, float, float] = (0, 0, 0)) -> None:
        super().__init__()
        self.skip = SkipConnection(mode)
        self.head = LinearRegressor(self.skip.num_features, num_classes, dropout)

    def forward(self, main: Tensor, tap: Tensor | None = None) -> Tensor:
        """Logits of flat features (B, 9216) and, unless the mode is ``none``, flat tap (B, 9216)."""
        return self.head(self.skip(main, tap))
