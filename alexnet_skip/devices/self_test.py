"""Try a precision on this device before it is used: is it sound, and on a processor, is it worth it?"""

import os
import time
from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from alexnet_skip.network.head import LinearRegressor, SkipHead

MixedPrecision = Literal["no", "fp16", "bf16"]

# fp16 keeps 11 bits; sums over 9,216 inputs in fp32 accumulators come within a few parts in a thousand of fp32's. bf16
# keeps 8, and what it rounds to the other side of a ReLU changes the gradients below it by 5 to 7 % (measured).
TOLERANCE = {torch.float16: 0.05, torch.bfloat16: 0.15}
# Far below GradScaler's 65,536 to begin with: overflow is what the scaler mends by itself, and not what is tested.
LOSS_SCALE = 1024.0

# What torch.cpu.get_capabilities() calls the instructions: of x86 (Zen 4 and 5, Cooper Lake; Sapphire Rapids), of Arm.
NATIVE_BF16 = ("avx512_bf16", "amx_bf16", "bf16")
# oneDNN, which multiplies, goes no further than this variable allows: the names of what has no bf16.
MOST_ALLOWED = "ONEDNN_MAX_CPU_ISA"
WITHOUT_BF16 = frozenset(("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI"))
# A product of (rows, inputs) with (inputs, outputs): some milliseconds on one core.
PRODUCT = (256, 1024, 1024)
# Above what chance does to the shortest of a few products. Emulated, on a processor with AVX2, bf16 had from a sixtieth
# down to a two hundredth of fp32's speed (measured).
WORTH_IT = 1.2


def self_test(device: torch.device, batch_size: int, precision: MixedPrecision) -> str | None:
    """What speaks against a precision on this device, or None."""
    if precision == "fp16":
        return fp16_self_test(device, batch_size)
    return too_slow_in_bf16(PRODUCT) or bf16_self_test()


def multiplies_bf16() -> bool:
    """Whether this processor multiplies bf16 natively, and oneDNN may; False where torch is too old to know."""
    found: Mapping[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    allowed = os.environ.get(MOST_ALLOWED, "").upper() not in WITHOUT_BF16
    return allowed and any(found.get(name) for name in NATIVE_BF16)


def too_slow_in_bf16(product: tuple[int, int, int]) -> str | None:
    """Time a matrix product in fp32 and in bf16, as the head's layers make them; what is wrong, or None.

    Args:
        product: its rows, inputs and outputs.
    """
    rows, inputs, outputs = product
    x, weight = torch.ones(rows, inputs), torch.ones(outputs, inputs)
    as_it_was = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")  # as the head is trained in fp32
    try:
        seconds = {dtype: _seconds(x.to(dtype), weight.to(dtype)) for dtype in (torch.float32, torch.bfloat16)}
    finally:
        torch.set_float32_matmul_precision(as_it_was)
    ratio = seconds[torch.float32] / seconds[torch.bfloat16]
    return None if ratio >= WORTH_IT else f"it has {ratio:.2g} times the speed of fp32"


def _seconds(x: Tensor, weight: Tensor) -> float:
    """The shortest of a few products: the first prepares, and others may be disturbed."""
    seconds = []
    for _ in range(4):
        began = time.perf_counter()
        F.linear(x, weight)
        seconds.append(time.perf_counter() - began)
    return min(seconds)


def bf16_self_test(make_model: Callable[[], nn.Module] = lambda: LinearRegressor(64, 10)) -> str | None:
    """Run one step of 64 rows forward and back in bf16 and in fp32 on the CPU and compare.

    Args:
        make_model: takes rows (64, 64); by default the head on few features, about a tenth of a second.

    Returns:
        What is wrong, or None if outputs and gradients are finite and agree.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = make_model()
        inputs, draws = (torch.randn(64, 64),), torch.randint(0, 2**31, (64,))
    return _difference(model, inputs, draws, torch.bfloat16)


def fp16_self_test(
    device: torch.device, batch_size: int, make_model: Callable[[], nn.Module] = lambda: SkipHead("conv", 10)
) -> str | None:
    """Run one step forward and back in fp16 and in fp32 and compare.

    Args:
        batch_size: the real one: on GTX 16xx fp16 convolutions pass small batches and fail from 7 on
            (ultralytics#17977).
        make_model: the widest head by default; of ten classes, since the images are not read yet.

    Returns:
        What is wrong, or None if outputs and gradients are finite and agree.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        model = make_model().to(device)
        main, tap = torch.randn(2, batch_size, 9216, device=device).unbind()
        draws = torch.randint(0, 2**31, (batch_size,), device=device)
    return _difference(model, (main.relu(), tap), draws, torch.float16)


def _difference(model: nn.Module, inputs: tuple[Tensor, ...], draws: Tensor, dtype: torch.dtype) -> str | None:
    """What of a step is not as in fp32, or None."""
    try:
        exact = _step(model, inputs, draws, None)
        half = _step(model, inputs, draws, dtype)
    except RuntimeError as error:  # a kernel that this device lacks, or too little memory
        return str(error).splitlines()[0]
    for name, expected in exact.items():
        found = half[name]
        if not found.isfinite().all():
            return f"{name} holds NaN or infinite values"
        difference = float((found - expected).norm() / expected.norm())
        if difference > TOLERANCE[dtype]:
            return f"{name} differs from fp32 by {100 * difference:.0f} %"
    return None


def _step(model: nn.Module, inputs: tuple[Tensor, ...], draws: Tensor, dtype: torch.dtype | None) -> dict[str, Tensor]:
    """The outputs and all gradients of one step, fp32, with classes drawn from however many the model has."""
    model.zero_grad()
    with torch.autocast(draws.device.type, dtype=dtype, enabled=dtype is not None):
        logits = model(*inputs)
        loss = F.cross_entropy(logits, draws % logits.shape[1])
    (loss * LOSS_SCALE).backward()
    gradients = {f"the gradient of {n}": p.grad / LOSS_SCALE for n, p in model.named_parameters() if p.grad is not None}
    return {"the output": logits.detach().float()} | gradients
