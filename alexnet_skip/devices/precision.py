"""Which precision is safe for training the head on this device, and why."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch

from alexnet_skip.devices.self_test import MixedPrecision, multiplies_bf16
from alexnet_skip.system.errors import UserError


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
        # including_emulation=False: Turing cards answer True for a bf16 that is emulated and slow. The current card is
        # asked, which need not be this one.
        with torch.cuda.device(device):
            native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Device("cuda", torch.cuda.get_device_name(device), native)
    # It lacks the fp64 that losses are summed in, and nothing has been held against the CPU's results there.
    idle = " (Apple's GPU, mps, is not used)" if torch.backends.mps.is_available() else ""
    return Device(device.type, device.type.upper() + idle, multiplies_bf16())


def choose_precision(
    requested: Literal["auto", "no", "fp16", "bf16"],
    device: Device,
    self_test: Callable[[MixedPrecision], str | None],
    *,
    force: bool = False,
    launcher: str | None = None,
) -> Precision:
    """Decide the precision of the head; the convolutions are always fp32, since GTX 16xx cards give NaN in fp16.

    fp16 is taken only where it was asked for, by the user or of the launcher: no card's speed with it was measured.

    Args:
        self_test: tries a precision on the device; what is wrong, or None. Called only where the answer decides.
        force: use fp16 although the self-test speaks against it.
        launcher: the precision that `accelerate launch` was given: taken by ``auto`` where the device can, and said
            where anything else overrules it.

    Raises:
        UserError: if fp16 is asked for on a device that is no GPU, or that fails its self-test.
    """
    if requested == "auto":
        return _for_launcher(launcher, device, self_test) if launcher else _automatic(device, self_test)
    decided = _asked_for(requested, device, self_test, force=force)
    if launcher in (None, "", "no", requested):
        return decided
    return Precision(requested, f"{decided.reason}; --mixed-precision overrules the launcher's {launcher}")


def _for_launcher(wish: str, device: Device, self_test: Callable[[MixedPrecision], str | None]) -> Precision:
    """What the launcher was asked for, where the device can."""
    if wish == "bf16":
        reason = _asked_for("bf16", device, self_test, force=False).reason
        return Precision("bf16", reason.replace("asked for", "the launcher asked for it"))
    obstacle = f"{device.name} is no GPU" if device.kind != "cuda" else self_test("fp16")
    if not obstacle:
        return Precision("fp16", "the launcher asked for it; the self-test passed")
    instead = _automatic(device, self_test)
    return Precision(instead.mixed_precision, f"{instead.reason}; the launcher's fp16 is not possible: {obstacle}")


def _asked_for(
    requested: MixedPrecision, device: Device, self_test: Callable[[MixedPrecision], str | None], *, force: bool
) -> Precision:
    if requested == "bf16" and not device.native_bf16:
        return Precision("bf16", f"asked for; {device.name} only emulates it, which is slow")
    if requested != "fp16":
        return Precision(requested, "asked for")
    if device.kind != "cuda":
        raise UserError(f"--mixed-precision is fp16, but the device is {device.name}; use auto, no or bf16 there")
    if force:
        return Precision("fp16", "forced by --force-precision")
    if failure := self_test("fp16"):
        raise UserError(
            f"--mixed-precision is fp16, but {device.name} fails its self-test ({failure}); use auto or no, or insist "
            "with --force-precision"
        )
    return Precision("fp16", "asked for; the self-test passed")


def _automatic(device: Device, self_test: Callable[[MixedPrecision], str | None]) -> Precision:
    if not device.native_bf16:
        without = " without native bf16; --mixed-precision fp16 is tried before it is used"
        return Precision("no", f"fp32 on {device.name}{without if device.kind == 'cuda' else ''}")
    # GPUs that have it gain by it. Of processors one is known to, so that each has to show it.
    if device.kind == "cuda":
        return Precision("bf16", f"{device.name} has native bf16")
    if failure := self_test("bf16"):
        return Precision("no", f"fp32 on {device.name}, whose bf16 fails its self-test ({failure})")
    return Precision("bf16", f"{device.name} has native bf16; the self-test passed")
