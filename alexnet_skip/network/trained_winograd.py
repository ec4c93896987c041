"""A convolution that learns, in the Winograd domain: forward and backward for a third of the multiplications."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from alexnet_skip.network.fp32_products import fp32_products
from alexnet_skip.network.single_threads import single_threads
from alexnet_skip.network.winograd import Domain

# Images at once on a thread, so that their tiles stay in its caches: with 128 it is no faster than plain convolutions.
PART = 8
PADDING = 1


def winograd_conv(layer: nn.Conv2d, x: Tensor) -> Tensor:
    """What a convolution of 3×3, stride 1 and padding 1 makes of (B, C, H, W), and its gradients: in fp32, on a CPU.

    The same bits every time, on the same number of threads.

    Raises:
        ValueError: for a convolution of another kind.
    """
    if (layer.kernel_size, layer.stride, layer.padding) != ((3, 3), (1, 1), (PADDING, PADDING)):
        raise ValueError(f"only 3×3 convolutions of stride 1 and padding 1, not {layer}")
    out: Tensor = _WinogradConv.apply(x, layer.weight, layer.bias)
    return out


class _WinogradConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        kernels = _domain().of_kernels(weight)

        @torch.no_grad()  # each thread has a mode of its own
        def outputs(part: Tensor) -> Tensor:
            return _domain().convolve(part, kernels, PADDING, bias)

        with fp32_products():
            return torch.cat(list(single_threads(torch.get_num_threads()).map(outputs, x.split(PART))))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        threads = torch.get_num_threads()
        # The gradient of the inputs is a convolution, too: from outputs to inputs, with the kernels turned round.
        turned = _domain().of_kernels(weight.flip(2, 3).transpose(0, 1)) if ctx.needs_input_grad[0] else None

        @torch.no_grad()
        def gradients(x: Tensor, gradient: Tensor) -> tuple[list[Tensor], Tensor]:
            of_inputs = []
            of_kernels = x.new_zeros(_domain().tile ** 2, *weight.shape[1::-1])
            for inputs, outputs in zip(x.split(PART), gradient.split(PART), strict=True):
                _domain().add_kernel_gradient(of_kernels, inputs, outputs, PADDING)
                if turned is not None:
                    of_inputs.append(_domain().convolve(outputs, turned, PADDING))
            return of_inputs, of_kernels

        with fp32_products():
            shares = single_threads(threads).map(gradients, x.tensor_split(threads), gradient.tensor_split(threads))
            of_inputs, of_kernels = zip(*shares, strict=True)
            for_kernels = _domain().to_kernels(torch.stack(of_kernels).sum(0))
        for_inputs = None if turned is None else torch.cat([part for share in of_inputs for part in share])
        return for_inputs, for_kernels, gradient.sum((0, 2, 3))


@cache
def _domain() -> Domain:
    return Domain(3)
