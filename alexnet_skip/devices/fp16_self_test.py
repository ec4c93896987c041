"""Find out on the device itself whether fp16 trains the head as fp32 does."""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from alexnet_skip.network.head import SkipHead

# fp16 keeps 11 bits; sums over 9,216 inputs in fp32 accumulators come within a few parts in a thousand of fp32's.
TOLERANCE = 0.05

# Far below GradScaler's 65,536 to begin with: overflow is what the scaler mends by itself, and not what is tested.
LOSS_SCALE = 1024.0


def fp16_self_test(
    device: torch.device, batch_size: int, make_model: Callable[[], nn.Module] = lambda: SkipHead("conv", 10)
) -> str | None:
    """Run one step forward and back in fp16 and in fp32 and compare.

    Args:
        batch_size: the real one: on GTX 16xx fp16 convolutions pass small batches and fail from 7 on
            (ultralytics#17977).
        make_model: the widest head by default.

    Returns:
        What is wrong, or None if outputs and gradients are finite and agree.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        model = make_model().to(device)
        main, tap = torch.randn(2, batch_size, 9216, device=device).unbind()
        target = torch.randint(0, 10, (batch_size,), device=device)
    try:
        exact = _step(model, main.relu(), tap, target, half=False)
        half = _step(model, main.relu(), tap, target, half=True)
    except RuntimeError as error:  # a kernel that this device lacks, or too little memory
        return str(error).splitlines()[0]
    for name, expected in exact.items():
        found = half[name]
        if not found.isfinite().all():
            return f"{name} holds NaN or infinite values"
        difference = float((found - expected).norm() / expected.norm())
        if difference > TOLERANCE:
            return f"{name} differs from fp32 by {100 * difference:.0f} %"
    return None


def _step(model: nn.Module, main: Tensor, tap: Tensor, target: Tensor, *, half: bool) -> dict[str, Tensor]:
    """The outputs and all gradients of one step, fp32."""
    model.zero_grad()
    with torch.autocast(main.device.type, dtype=torch.float16, enabled=half):
        logits = model(main, tap)
        loss = nn.functional.cross_entropy(logits, target)
    (loss * LOSS_SCALE).backward()
    gradients = {f"the gradient of {n}": p.grad / LOSS_SCALE for n, p in model.named_parameters() if p.grad is not None}
    return {"the output": logits.detach().float()} | gradients
