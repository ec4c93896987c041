"""What AlexNet does between its first convolution and its features: the layers that stay, and those that may learn."""

from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

FEATURE_SHAPE = (256, 6, 6)
# The fourth convolution (the source report labels it "Conv5"; the fifth has index 10).
TAP_LAYER = 8
# The lowest of the convolutions that fine-tuning may train.
FIRST_UPPER = 6

# Convolutions by their index in torchvision's `features`.
Layers = Mapping[str, Callable[[Tensor], Tensor]] | nn.ModuleDict


def lower_layers(x: Tensor, layers: Layers, cut: int) -> Tensor:
    """From the output of the first convolution (B, 64, 55, 55) to the input of the one with index ``cut``.

    That of the last, 10, is given before its ReLU, since the skip taps it there.
    """
    # ReLU after max-pooling: they commute exactly, and it then works on a quarter of the values.
    x = F.max_pool2d(x, 3, 2).relu_()
    x = F.max_pool2d(layers["3"](x), 3, 2).relu_()
    if cut > 6:
        x = layers["6"](x).relu_()
    return layers["8"](x) if cut > TAP_LAYER else x


def upper_layers(x: Tensor, layers: Layers, cut: int) -> tuple[Tensor, Tensor]:
    """From the input of the convolution with index ``cut`` to main and tap (B, 256, 6, 6)."""
    if cut <= 6:
        x = layers["6"](x).relu_()
    if cut <= TAP_LAYER:
        x = layers["8"](x)
    # Pooled before its ReLU, which is never in place: that would rewrite what the skip taps.
    tap = F.adaptive_avg_pool2d(x, FEATURE_SHAPE[1:])
    main = F.max_pool2d(layers["10"](x.relu()), 3, 2).relu_()
    # Back to the common memory layout, so that flattening gives torchvision's order of features.
    return main.contiguous(), tap.contiguous()
