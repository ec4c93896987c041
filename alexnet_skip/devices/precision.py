"""Which precision is safe for training the head on this device, and why."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from alexnet_skip.network.head import SkipHead
from alexnet_skip.system.errors import UserError

MixedPrecision = Literal["no", "fp16", "bf16"]


@dataclass(frozen=True)
class Device:
    """What a decision about precision needs to know of a device."""

    kind: str
    name: str
    native_bf16: bool


@dataclass(frozen=True)
class Precision:
    """A decision and its reason."""

    mixed_precision: MixedPrecision
    reason: str


def describe(device: torch.device) -> Device:
    """Describe a torch device; of a CPU beside Apple's GPU it is said that that one idles."""
    if device.type == "cuda":
        # including_emulation=False: Turing cards answer True for a bf16 that is emulated and slow.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Device("cuda", torch.cuda.get_device_name(device), native)
    # It lacks the fp64 that losses are summed in, and nothing has been held against the CPU's results there.
    idle = " (Apple's GPU, mps, is not used)" if torch.backends.mps.is_available() else ""
    return Device(device.type, device.type.upper() + idle, False)


def choose_precision(
    requested: Literal["auto", "no", "fp16", "bf16"],
    device: Device,
    self_test: Callable[[], str | None],
    *,
    force: bool = False,
    launcher: str | None = None,
) -> Precision:
    """Decide the precision of the head; the convolutions are always fp32, since GTX 16xx cards give NaN in fp16.

    fp16 is taken only where it was asked for, by the user or of the launcher: no card's speed with it was measured.

    Args:
        self_test: tries fp16 on the device; what is wrong, or None. Called only where the answer decides.
        force: use fp16 although the self-test speaks against it.
        launcher: the precision that `accelerate launch` was given: taken by ``auto`` where the device can, and said
            where anything else overrules it.

    Raises:
        UserError: if fp16 is asked for on a device that is no GPU, or that fails its self-test.
    """
    if requested == "auto":
        return _for_launcher(launcher, device, self_test) if launcher else _automatic(device)
    decided = _asked_for(requested, device, self_test, force=force)
    if launcher in (None, "", "no", requested):
        return decided
    return Precision(requested, f"{decided.reason}; --mixed-precision overrules the launcher's {launcher}")


def _for_launcher(wish: str, device: Device, self_test: Callable[[], str | None]) -> Precision:
    """What the launcher was asked for, where the device can."""
    if wish == "bf16":
        reason = _asked_for("bf16", device, self_test, force=False).reason
        return Precision("bf16", reason.replace("asked for", "the launcher asked for it"))
    obstacle = f"{device.name} is no GPU" if device.kind != "cuda" else self_test()
    if not obstacle:
        return Precision("fp16", "the launcher asked for it; the self-test passed")
    instead = _automatic(device)
    return Precision(instead.mixed_precision, f"{instead.reason}; the launcher's fp16 is not possible: {obstacle}")


def _asked_for(
    requested: MixedPrecision, device: Device, self_test: Callable[[], str | None], *, force: bool
) -> Precision:
    if requested == "bf16" and device.kind == "cuda" and not device.native_bf16:
        return Precision("bf16", f"asked for; {device.name} only emulates it, which is slow")
    if requested != "fp16":
        return Precision(requested, "asked for")
    if device.kind != "cuda":
        raise UserError(f"--mixed-precision is fp16, but the device is {device.name}; use auto, no or bf16 there")
    if force:
        return Precision("fp16", "forced by --force-precision")
    if failure := self_test():
        raise UserError(
            f"--mixed-precision is fp16, but {device.name} fails its self-test ({failure}); use auto or no, or insist "
            "with --force-precision"
        )
    return Precision("fp16", "asked for; the self-test passed")


def _automatic(device: Device) -> Precision:
    if device.native_bf16:
        return Precision("bf16", f"{device.name} has native bf16")
    without = " without native bf16; --mixed-precision fp16 is tried before it is used"
    return Precision("no", f"fp32 on {device.name}{without if device.kind == 'cuda' else ''}")


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
        make_model: the widest head by default; of ten classes, since the images are not read yet.

    Returns:
        What is wrong, or None if outputs and gradients are finite and agree.
    """
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)
        model = make_model().to(device)
        main, tap = torch.randn(2, batch_size, 9216, device=device).unbind()
        draws = torch.randint(0, 2**31, (batch_size,), device=device)
    try:
        exact = _step(model, main.relu(), tap, draws, half=False)
        half = _step(model, main.relu(), tap, draws, half=True)
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


def _step(model: nn.Module, main: Tensor, tap: Tensor, draws: Tensor, *, half: bool) -> dict[str, Tensor]:
    """The outputs and all gradients of one step, fp32, with classes drawn from however many the model has."""
    model.zero_grad()
    with torch.autocast(main.device.type, dtype=torch.float16, enabled=half):
        logits = model(main, tap)
        loss = nn.functional.cross_entropy(logits, draws % logits.shape[1])
    (loss * LOSS_SCALE).backward()
    gradients = {f"the gradient of {n}": p.grad / LOSS_SCALE for n, p in model.named_parameters() if p.grad is not None}
    return {"the output": logits.detach().float()} | gradients
