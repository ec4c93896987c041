"""Matrix products and convolutions in true fp32, on CPUs by the faster of torch's two libraries."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

import torch

# Exact in fp32, a power of two in bf16: tells whether a product rounded its inputs.
PROBE = 1 + 2**-12
# Of all backends together; not in every torch that is allowed.
GENERIC = "fp32_precision"


@contextmanager
def fp32_products(device_type: str = "cpu") -> Iterator[None]:
    """Have torch compute in true fp32 on a type of device, the fastest way, whatever the caller's setting.

    On CPUs at "medium" torch takes oneDNN's products (over twice as fast as MKL's on AMD processors, measured), but
    where a processor multiplies bf16 natively it may round the inputs. GPUs since NVIDIA's Ampere round the inputs of
    convolutions to the 10 bits of TF32 unless told not to, and those of products where "high" or "medium" is set.
    """
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    everything = getattr(torch.backends, GENERIC, None)
    fastest = "medium" if device_type == "cpu" and not _medium_rounds() else "highest"
    torch.set_float32_matmul_precision(fastest)
    torch.backends.cudnn.allow_tf32 = False
    if everything is not None:  # what convolutions take where nothing is said of them themselves
        setattr(torch.backends, GENERIC, "ieee")
    try:
        yield
    finally:
        if everything is not None:
            setattr(torch.backends, GENERIC, everything)
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)


@cache
def _medium_rounds() -> bool:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    values = torch.full((2, 256, 256), PROBE)
    rounded = torch.stack([torch.bmm(values, values)[0], values[0] @ values[0]])
    torch.set_float32_matmul_precision(before)
    return bool((rounded / 256 - PROBE**2).abs().max() > 1e-5)
