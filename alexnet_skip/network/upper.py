"""The upper convolutions, free to learn: what fine-tuning trains beside the skip connection and the head."""

import copy
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn

from alexnet_skip.network.backbone import CONVOLUTIONS, FrozenAlexNet
from alexnet_skip.network.layers import FIRST_UPPER, Layers, upper_layers
from alexnet_skip.network.trained_winograd import winograd_conv

# Indices in torchvision's `features` of the convolutions that may learn, the lowest first.
UPPER = tuple(index for index in CONVOLUTIONS if index >= FIRST_UPPER)


class UpperConvolutions(nn.Module):
    """Copies of the last convolutions of a backbone, to be trained; the backbone itself stays as it is.

    Args:
        num_layers: 1, 2 or 3: torchvision's layer 10; 8 and 10; 6, 8 and 10.
    """

    def __init__(self, backbone: FrozenAlexNet, num_layers: int) -> None:
        super().__init__()
        self.cut = UPPER[-num_layers]
        trained = {str(index): copy.deepcopy(backbone.features[str(index)]) for index in UPPER[-num_layers:]}
        # In plain memory order, unlike the backbone's: fused optimizers take a parameter and its moments number by
        # number as they lie, and moments from a checkpoint lie plainly.
        self.layers = nn.ModuleDict(trained).to(memory_format=torch.contiguous_format).requires_grad_(True)

    @property
    def kernels(self) -> dict[str, nn.Parameter]:
        """The convolutions' weights by their index in `features`, the lowest first."""
        return {name: layer.weight for name, layer in self.layers.items()}  # type: ignore[misc]

    @property
    def _winograd(self) -> Layers:
        """The convolutions as CPUs compute them in fp32: to rounding the same, and faster."""
        convolutions = {name: layer for name, layer in self.layers.items() if isinstance(layer, nn.Conv2d)}
        return {name: partial(winograd_conv, layer) for name, layer in convolutions.items()}

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Flat features and tap (B, 9216) of what the lower layers make (:meth:`FrozenAlexNet.lower`).

        In fp32, or in bf16 where that is the precision around; never in fp16, whose convolutions give NaN on GTX 16xx.
        """
        kind = x.device.type
        half = torch.is_autocast_enabled(kind) and torch.get_autocast_dtype(kind) == torch.float16
        with torch.autocast(kind, torch.get_autocast_dtype(kind), enabled=torch.is_autocast_enabled(kind) and not half):
            fast = kind == "cpu" and not torch.is_autocast_enabled(kind)
            layers = self._winograd if fast else self.layers
            main, tap = upper_layers(x.contiguous(memory_format=torch.channels_last), layers, self.cut)
        return main.flatten(1).float(), tap.flatten(1).float()


def reinitialise(upper: UpperConvolutions, seed: int) -> None:
    """Give the upper convolutions fresh values (PyTorch's own for convolutions), the same for a seed everywhere."""
    with torch.random.fork_rng(devices=[]):
        # Drawn on the CPU, wherever the layers are; torch.manual_seed would set back the generators of GPUs, too.
        torch.default_generator.manual_seed(seed)
        for layer in upper.layers.values():
            fresh = copy.deepcopy(layer).cpu()
            fresh.reset_parameters()  # type: ignore[operator]
            layer.load_state_dict(fresh.state_dict())


def layers_that_differ(backbone: FrozenAlexNet, other: FrozenAlexNet) -> tuple[int, ...]:
    """Indices of the upper convolutions whose values are not the same in two backbones."""
    mine, theirs = backbone.torchvision_state(), other.torchvision_state()
    names = {index: (f"{index}.weight", f"{index}.bias") for index in UPPER}
    return tuple(i for i, pair in names.items() if any(not torch.equal(mine[n].cpu(), theirs[n].cpu()) for n in pair))


def with_upper(backbone: FrozenAlexNet, trained: Mapping[str, Tensor]) -> FrozenAlexNet:
    """A frozen backbone that is the given one but for the layers in `trained` (``6.weight`` and so on)."""
    state = backbone.torchvision_state() | {name: value.detach().float() for name, value in trained.items()}
    return FrozenAlexNet({name: value.cpu() for name, value in state.items()})
