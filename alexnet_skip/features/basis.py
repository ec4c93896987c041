"""The PCA basis that the head's first layer may work in, and the fold that takes it out again exactly.

For a fixed feature map x, z = (x − mean) P is linear, so a layer W z + b is the layer (W Pᵀ) x + (b − W Pᵀ mean) on
the features themselves: the same predictions, a fraction of the work, better conditioned. P holds the leading principal
axes, each scaled: to the optimizer and to weight decay a larger coordinate is a cheaper one.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_skip.network.backbone import NUM_FEATURES
from alexnet_skip.network.factored import FactoredLinear
from alexnet_skip.network.head import LinearRegressor, SkipConnection, SkipHead
from alexnet_skip.network.layers import FEATURE_SHAPE
from alexnet_skip.network.uninitialised import Uninitialised
from alexnet_skip.settings.shared import SkipMode
from alexnet_skip.system.errors import UserError

# Passes of subspace iteration before the last: coordinates need no more accuracy than training can tell.
ITERATIONS = 2
# Coordinates are scaled by this power of their standard deviation: the leading ones count for more (measured).
EMPHASIS = 0.6
# Of what conv's 1×1 convolution may learn beside the identity; with 256 it could learn any kernel.
RANK = 16
# A kernel's strengths below this part of it are rounding.
KERNEL_EPS = 1e-5

# Variance below this part of the mean square is rounding: features are kept in fp16, whose step is 2⁻¹⁰ of a number.
SAME_VARIANCE = 2.0**-22


def joined_in_basis(mode: SkipMode) -> SkipConnection:
    """What the coordinates are of: the joined features, and for ``conv`` those that its convolution begins with."""
    return SkipConnection("identity" if mode == "conv" else mode)


@dataclass(frozen=True)
class Basis:
    """Mean (D,) and projection (D, K): the leading principal axes of a sample of features, scaled."""

    mean: Tensor
    projection: Tensor

    def transform(self, features: Tensor) -> Tensor:
        """Coordinates (B, K) of features (B, D)."""
        return torch.addmm(-(self.mean @ self.projection), features, self.projection)

    def fold(self, linear: nn.Linear) -> FactoredLinear:
        """The layer on D features that equals ``linear`` on K coordinates."""
        with torch.no_grad():
            # In float64: the mean is large beside the coordinates, so this sum cancels.
            origin = self.mean.double().cpu() @ self.projection.double().cpu()
            bias = linear.bias.double().cpu() - linear.weight.double().cpu() @ origin
            return FactoredLinear(linear.weight.detach().float().cpu().clone(), self.projection.cpu(), bias.float())

    def unfold(self, linear: nn.Linear) -> nn.Linear:
        """The layer on K coordinates that ``linear`` on D features is the fold of.

        Raises:
            ValueError: if it is the fold of none in this basis.
        """
        if not isinstance(linear, FactoredLinear) or not torch.equal(linear.projection, self.projection.cpu()):
            raise ValueError("its first layer was not trained in this PCA basis")
        unfolded = nn.Linear(linear.factor.shape[1], linear.out_features)
        with torch.no_grad():
            origin = self.mean.double().cpu() @ self.projection.double().cpu()
            unfolded.weight.copy_(linear.factor)
            unfolded.bias.copy_(linear.bias.double() + linear.factor.double() @ origin)
        return unfolded


def fit_basis(parts: Callable[[], Iterable[Tensor]], num_components: int, seed: int) -> Basis:
    """Fit the leading principal axes by randomised subspace iteration (Halko et al. 2011), a part of rows at a time.

    Two maps side by side (``concat``) count for as much in total: the tap's variance is six times that of the
    backbone's output, and would have the axes to itself. The coordinates of the sample have mean 0, and their mean
    square over all axes is 1. Deterministic by seed. No more axes are returned than N − 1 or D.

    Not by PCA's Krylov iteration, which is for few and accurate axes: for 1,024 axes of 8,000 rows, with as many passes
    over them, it took 5.5 times as much processor time and captured 78.0 % of the variance instead of 80.7 (measured).

    Args:
        parts: gives the features (N, D) in parts of rows, from the first row at every call.

    Raises:
        UserError: if the features of all rows are the same.
    """
    count = 0
    total = squares = torch.zeros((), dtype=torch.float64)
    for x in parts():
        count += len(x)
        total, squares = total + x.sum(0, dtype=torch.float64), squares + x.square().sum(0, dtype=torch.float64)
    mean = total / count
    variance = (squares / count - mean.square()).clamp_min(0)
    if float(variance.sum()) <= SAME_VARIANCE * float(squares.sum()) / count:
        raise UserError(
            f"all {count:,} images that the PCA basis is fitted on have the same features; give images that differ, or "
            "--pca-basis 0"
        )
    weight = torch.ones_like(mean)
    for one_map, values in zip(weight.split(NUM_FEATURES), variance.split(NUM_FEATURES), strict=True):
        one_map /= values.mean().sqrt().clamp_min(torch.finfo(torch.float32).tiny)
    mean, weight = mean.float(), weight.float()
    size = min(num_components, count - 1, len(mean))
    axes = torch.randn(len(mean), size, generator=torch.Generator().manual_seed(seed))
    for _ in range(ITERATIONS):
        image = torch.zeros_like(axes)
        for x in parts():
            centred = (x - mean) * weight
            image.addmm_(centred.T, centred @ axes)
        axes = torch.linalg.qr(image).Q
    gram = torch.zeros(size, size)
    for x in parts():
        coordinates = ((x - mean) * weight) @ axes
        gram.addmm_(coordinates.T, coordinates)
    squared, rotation = (found.flip(-1) for found in torch.linalg.eigh(gram.double()))  # largest first
    axes @= rotation.float()
    deviation = (squared.clamp_min(0) / (count - 1)).sqrt().float()
    # Axes without variance keep a scale above zero, so that no coordinate is lost.
    scale = deviation.clamp_min(1e-3 * float(deviation[0])) ** EMPHASIS
    scale /= (scale * deviation).square().mean().sqrt()
    return Basis(mean, weight[:, None] * axes * scale)


class CorrectionInBasis(nn.Module):
    """What ``conv``'s trained 1×1 convolution adds to the identity, in coordinates: a correction of low rank.

    The convolution's kernel is I + up down (as LoRA has it: Hu et al. 2021), which begins as the identity. The tap is
    brought from 256 channels to the rank, and only that is projected: in every step a fraction of the products that
    a projection of 9,216 values takes, to the same accuracy (docs/skip.md).
    """

    axes: Tensor
    bias_projection: Tensor

    def __init__(self, basis: Basis, rank: int) -> None:
        super().__init__()
        channels = FEATURE_SHAPE[0]
        # (K, 36, 256): channels last, as they are multiplied.
        axes = basis.projection.T.unflatten(1, (channels, -1)).transpose(1, 2).contiguous()
        self.register_buffer("axes", axes, persistent=False)
        # (K, 256). The convolution's bias is the same at every place.
        self.register_buffer("bias_projection", axes.sum(1), persistent=False)
        self.down = nn.Parameter(torch.randn(rank, channels) / channels**0.5)
        self.up = nn.Parameter(torch.zeros(channels, rank))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, tap: Tensor) -> Tensor:
        """Coordinates (B, K) that a flat tap (B, 9216) adds."""
        # The places by number: of no rows at all, a process's share of a short batch, they could not be worked out.
        maps = tap.reshape(-1, FEATURE_SHAPE[0], self.axes.shape[1]).transpose(1, 2).contiguous()
        axes = (self.axes @ self.up).flatten(1)
        return F.linear(F.linear(maps, self.down).flatten(1), axes, F.linear(self.bias, self.bias_projection))

    def fold(self, skip: SkipConnection) -> None:
        """Write the whole kernel and the bias into a published skip connection."""
        with torch.no_grad():
            kernel = torch.eye(len(self.up)) + self.up.cpu() @ self.down.cpu()
            skip.projection.weight.copy_(kernel[:, :, None, None])
            skip.projection.bias.copy_(self.bias)  # type: ignore[union-attr]

    @classmethod
    def unfold(cls, skip: SkipConnection, basis: Basis) -> "CorrectionInBasis":
        """What :meth:`fold` undoes, of the rank that the kernel has: at least :data:`RANK`."""
        learnt = skip.projection.weight.detach().flatten(1).double().cpu() - torch.eye(FEATURE_SHAPE[0])
        u, strengths, axes = torch.linalg.svd(learnt)
        rank = max(RANK, int((strengths > KERNEL_EPS * (1 + strengths[0])).sum()))
        found = cls(basis, rank)
        with torch.no_grad():
            # The whole strength is up's, which begins as zero: down has rows of length 1, as it begins.
            found.up.copy_(u[:, :rank] * strengths[:rank])
            found.down.copy_(axes[:rank])
            found.bias.copy_(skip.projection.bias)  # type: ignore[arg-type]
        return found


class SkipHeadInBasis(nn.Module):
    """:class:`SkipHead` whose first layer works on principal coordinates of the joined features.

    The joined features of ``conv`` are those of ``identity`` to begin with; what its convolution learns is added.

    Args:
        rank: of what ``conv`` may learn.
    """

    def __init__(
        self, mode: SkipMode, num_classes: int, basis: Basis, dropout: tuple[float, float, float] = (0, 0, 0),
        rank: int = RANK,
    ) -> None:  # fmt: skip
        super().__init__()
        self.mode = mode
        if mode == "conv":
            self.skip = CorrectionInBasis(basis, rank)
        self.head = LinearRegressor(basis.projection.shape[1], num_classes, dropout)

    def forward(self, coordinates: Tensor, tap: Tensor | None = None) -> Tensor:
        """Logits of coordinates (B, K) and, for ``conv``, the flat tap (B, 9216)."""
        if self.mode == "conv":
            if tap is None:
                raise ValueError("skip mode conv needs the tap")
            coordinates = coordinates + self.skip(tap)
        return self.head(coordinates)

    def fold(self, basis: Basis) -> SkipHead:
        """The same function on the features themselves: the published form."""
        with Uninitialised():
            folded = SkipHead(self.mode, self.head.fc3.out_features)
            folded.head.fc1 = nn.Identity()  # type: ignore[assignment]
        if self.mode == "conv":
            self.skip.fold(folded.skip)
        folded.head.fc1 = basis.fold(self.head.fc1)
        folded.head.fc2.load_state_dict(self.head.fc2.state_dict())
        folded.head.fc3.load_state_dict(self.head.fc3.state_dict())
        return folded.eval()


def unfolded(published: SkipHead, basis: Basis) -> SkipHeadInBasis:
    """A published head in the basis that it was trained in: what :meth:`SkipHeadInBasis.fold` undoes.

    Raises:
        ValueError: if it was not trained in this basis.
    """
    head = SkipHeadInBasis(published.skip.mode, published.head.fc3.out_features, basis)
    if head.mode == "conv":
        head.skip = CorrectionInBasis.unfold(published.skip, basis)
    head.head.fc1 = basis.unfold(published.head.fc1)
    head.head.fc2.load_state_dict(published.head.fc2.state_dict())
    head.head.fc3.load_state_dict(published.head.fc3.state_dict())
    return head


def rank_of(state: Mapping[str, Tensor]) -> int:
    """The rank of what ``conv`` may learn, in the state of a :class:`SkipHeadInBasis`; :data:`RANK` in any other."""
    return len(state["skip.down"]) if "skip.down" in state else RANK


def make_head(
    mode: SkipMode, num_classes: int, basis: Basis | None, dropout: tuple[float, float, float] = (0, 0, 0),
    rank: int = RANK,
) -> SkipHead | SkipHeadInBasis:  # fmt: skip
    """A fresh head on features, or on their coordinates in a basis."""
    if basis is None:
        return SkipHead(mode, num_classes, dropout)
    return SkipHeadInBasis(mode, num_classes, basis, dropout, rank)
