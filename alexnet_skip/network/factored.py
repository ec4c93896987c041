"""A linear layer kept as two factors: what a first layer trained on principal coordinates is on the features."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class FactoredLinear(nn.Linear):
    """A linear layer whose weight is ``factor @ projection.T``, never multiplied out: fewer values and less work.

    Args:
        factor: (out_features, K).
        projection: (in_features, K), which many layers may share.
        bias: (out_features,).
    """

    def __init__(self, factor: Tensor, projection: Tensor, bias: Tensor) -> None:
        nn.Module.__init__(self)  # nn.Linear's own would make the weight
        self.out_features, self.in_features = len(factor), len(projection)
        self.factor, self.bias = nn.Parameter(factor), nn.Parameter(bias)
        self.projection = nn.Parameter(projection, requires_grad=False)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The weight (out_features, in_features), multiplied out."""
        return self.factor @ self.projection.T

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_features) to (B, out_features)."""
        return F.linear(x @ self.projection, self.factor, self.bias)

    @classmethod
    def empty(cls, out_features: int, in_features: int, num_components: int) -> "FactoredLinear":
        """A layer with values that mean nothing, to be loaded into."""
        shapes = ((out_features, num_components), (in_features, num_components), (out_features,))
        return cls(*(torch.empty(shape) for shape in shapes))
