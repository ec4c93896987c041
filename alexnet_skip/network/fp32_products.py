"""Matrix products in true fp32 on CPUs, by the faster of torch's two libraries."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

# Exact in fp32, a power of two in bf16: tells whether a product rounded its inputs.
PROBE = 1 + 2**-12


@contextmanager
def fp32_products() -> Iterator[None]:
    """Have torch's matrix products made in true fp32 on the CPU, the fastest way, whatever the caller's setting.

    At "medium" torch takes oneDNN's (over twice as fast as MKL's on AMD processors, measured), but where a processor
    multiplies bf16 natively it may round the inputs.
    """
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("highest" if _medium_rounds() else "medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


@cache
def _medium_rounds() -> bool:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    values = torch.full((2, 256, 256), PROBE)
    rounded = torch.stack([torch.bmm(values, values)[0], values[0] @ values[0]])
    torch.set_float32_matmul_precision(before)
    return bool((rounded / 256 - PROBE**2).abs().max() > 1e-5)
