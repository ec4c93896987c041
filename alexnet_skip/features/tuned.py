"""What fine-tuning trains: upper convolutions, skip connection and head as one module."""

from typing import Any, Literal

import torch
from torch import Tensor, nn

from alexnet_skip.features.basis import Basis, SkipHeadInBasis, joined_in_basis
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.upper import UpperConvolutions

# Ways from the upper convolutions to the head.
Way = Literal["main", "tap"]


class TunedNetwork(nn.Module):
    """Upper convolutions, skip connection and head: from what the lower layers make of images to logits.

    The head goes on in the PCA basis that it was trained in: the basis stays as it is while the features move, and is
    folded out in the end as exactly as before.

    Args:
        trained: on features, or on their coordinates in a basis.
        basis: that basis, or None.
    """

    projection: Tensor
    offset: Tensor

    def __init__(self, upper: UpperConvolutions, trained: SkipHead | SkipHeadInBasis, basis: Basis | None) -> None:
        super().__init__()
        self.upper, self.trained = upper, trained
        self.mode = trained.skip.mode if isinstance(trained, SkipHead) else trained.mode
        self._in_basis = basis is not None
        if basis is not None:
            self._joined, self._keep_tap = joined_in_basis(self.mode), self.mode == "conv"
            self.register_buffer("projection", basis.projection, persistent=False)
            self.register_buffer("offset", -(basis.mean @ basis.projection), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, C) of inputs of the first of the upper convolutions (:meth:`FrozenAlexNet.lower`)."""
        return self.head(*self.upper(x))

    def head(self, main: Tensor, tap: Tensor) -> Tensor:
        """Logits (B, C) of flat features and tap (B, 9216)."""
        if not self._in_basis:
            return self.trained(main, tap)
        coordinates = torch.addmm(self.offset, self._joined(main, tap), self.projection)
        return self.trained(coordinates, tap if self._keep_tap else None)

    def logits_through(self, x: Tensor, way: Way) -> Tensor:
        """The same logits as :meth:`forward`, whose gradient reaches the convolutions on one of the two ways only."""
        main, tap = self.upper(x)
        return self.head(main.detach(), tap) if way == "tap" else self.head(main, tap.detach())

    def parameter_groups(self, rate: float, upper_rate: float, layer_decay: float) -> list[dict[str, Any]]:
        """Groups for an optimizer: skip and head at one rate, convolutions at another that decays downwards.

        Args:
            upper_rate: of the last convolution.
            layer_decay: part of the rate that each one further down has of the one above it.
        """
        groups: list[dict[str, Any]] = [{"params": list(self.trained.parameters()), "lr": rate}]
        for depth, layer in enumerate(reversed(list(self.upper.layers.values()))):
            groups.append({"params": list(layer.parameters()), "lr": upper_rate * layer_decay**depth})
        return groups
