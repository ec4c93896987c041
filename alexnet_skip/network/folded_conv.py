"""A bilinear resize and the convolution behind it as one linear map: the same numbers for a fraction of the work."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIZE = 32  # CIFAR's images
RESIZED = 224
KERNEL, STRIDE, PADDING = 11, 4, 2  # AlexNet's first convolution, 224 → 55
OUT_SIZE = 55
# 224 / 32 = 7 resized pixels stand for each pixel, so 7 outputs apart the convolution (7 × 4 = 28 resized pixels) meets
# the same weights again, 4 pixels further on: 7 phases, 8 blocks of them, of which output 55 is beyond the edge.
PHASES, BLOCKS, BLOCK_STRIDE = 7, 8, 4
BLOCK_SPAN = 7  # pixels that one block's outputs depend on, the first of them just before the block
PHASE_SPAN = 4  # pixels that one output depends on


class FoldedResizeConv(nn.Module):
    """`conv(interpolate(x, 224, mode="bilinear"))` of 32×32 images, with AlexNet's first convolution.

    Along each axis an output of the convolution sees 11 resized pixels, but these come from 4 real ones at most.
    Folding the resize into the weights leaves a quarter of the multiplications and never makes the 224×224 image. The
    outputs of one block of columns become channels: in channels_last memory they lie exactly where the columns belong.
    Outputs at the border see the convolution's zero padding and have weights of their own.

    Args:
        weight: (C, 3, 11, 11) of the convolution (stride 4, padding 2).
        bias: (C,).
    """

    phase_weights: Tensor
    phase_bias: Tensor
    bias: Tensor
    top: Tensor
    bottom: Tensor
    left: Tensor
    right: Tensor

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        weight = weight.double()  # folded in double precision, so that only the use of the weights rounds
        resize = _resize_seen_by_conv()  # (55, 11, 32)
        block = resize[PHASES : 2 * PHASES, :, BLOCK_STRIDE - 1 : BLOCK_STRIDE - 1 + BLOCK_SPAN]  # one without border
        self.first_rows = [
            min(int(phase.any(dim=0).nonzero()[0]), BLOCK_SPAN - PHASE_SPAN) for phase in block
        ]  # where the pixels of each phase of rows begin within its block
        rows = torch.stack([p[:, r : r + PHASE_SPAN] for p, r in zip(block, self.first_rows, strict=True)])
        # o, c: channels out and in; p, q: phases of rows and columns; h, v: the kernel's; s, t: pixels
        phases = torch.einsum("ochv,phs,qvt->pqocst", weight, rows, block).flatten(1, 2)
        first, last = resize[0, :, :2], resize[-1, :, -2:]
        folded = {
            "top": torch.einsum("ochv,hs->ocsv", weight, first),
            "bottom": torch.einsum("ochv,hs->ocsv", weight, last),
            "left": torch.einsum("ochv,vt->ocht", weight, first),
            "right": torch.einsum("ochv,vt->ocht", weight, last),
        }
        # Not persistent: they follow from the weights, which a state_dict has already.
        # (7, 7·C, 3, 4, 7) → (7, 4·7·3, 7·C): in the order in which channels_last pixels lie
        phases = phases.float().permute(0, 3, 4, 2, 1).flatten(1, 3).contiguous()
        self.register_buffer("phase_weights", phases, persistent=False)
        self.register_buffer("phase_bias", bias.repeat(PHASES), persistent=False)
        self.register_buffer("bias", bias, persistent=False)
        for name, value in folded.items():
            self.register_buffer(name, _channels_last(value.float()), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Compute the convolution of the resized images.

        Args:
            x: normalised images, (B, 3, 32, 32).

        Returns:
            (B, C, 56, 56), channels_last. Row and column 55 are beyond the edge and mean nothing: slice them off, or
            pool (3, stride 2), which never reads them.
        """
        padded = F.pad(x, (1, 2, 1, 2), mode="replicate")  # as interpolation does at the edge
        num_images, channels = len(x), len(self.bias)
        blocks = padded.unfold(2, BLOCK_SPAN, BLOCK_STRIDE).unfold(3, BLOCK_SPAN, BLOCK_STRIDE)
        blocks = blocks.permute(0, 2, 3, 4, 5, 1).contiguous()  # (B, 8, 8, 7 rows, 7 columns, 3)
        out = x.new_empty(num_images, BLOCKS, PHASES, BLOCKS * PHASES, channels)
        for phase, (row, weight) in enumerate(zip(self.first_rows, self.phase_weights, strict=True)):
            seen = blocks[:, :, :, row : row + PHASE_SPAN].reshape(-1, len(weight))
            y = torch.addmm(self.phase_bias, seen, weight)  # faster than as a convolution of three channels
            out[:, :, phase] = y.view(num_images, BLOCKS, BLOCKS * PHASES, channels)
        out = out.flatten(1, 2).permute(0, 3, 1, 2)
        out[:, :, 0, :OUT_SIZE] = self._row(x[:, :, :2], self.top)
        out[:, :, OUT_SIZE - 1, :OUT_SIZE] = self._row(x[:, :, -2:], self.bottom)
        out[:, :, :OUT_SIZE, 0] = self._column(x[..., :2], self.left)
        out[:, :, :OUT_SIZE, OUT_SIZE - 1] = self._column(x[..., -2:], self.right)
        return out

    def _row(self, x: Tensor, weight: Tensor) -> Tensor:
        """An output row from two rows of pixels, columns resized the plain way; returns (B, C, 55)."""
        columns = F.interpolate(x, (2, RESIZED), mode="bilinear")
        return F.conv2d(columns, weight, self.bias, stride=STRIDE, padding=(0, PADDING)).squeeze(2)

    def _column(self, x: Tensor, weight: Tensor) -> Tensor:
        rows = F.interpolate(x, (RESIZED, 2), mode="bilinear")
        return F.conv2d(rows, weight, self.bias, stride=STRIDE, padding=(PADDING, 0)).squeeze(3)


def _resize_seen_by_conv() -> Tensor:
    """How much of each pixel is in what an output sees, along one axis: (55 outputs, 11 of the kernel, 32 pixels).

    Read off PyTorch's own interpolation of the unit images, so that it cannot differ from it; padding is zero.
    """
    units = torch.eye(SIZE, dtype=torch.float64)[None]
    resize = F.interpolate(units, RESIZED, mode="linear")[0].T  # (224, 32)
    padded = F.pad(resize, (0, 0, PADDING, PADDING))
    return padded.unfold(0, KERNEL, STRIDE).permute(0, 2, 1)


def _channels_last(x: Tensor) -> Tensor:
    return x.contiguous(memory_format=torch.channels_last)
