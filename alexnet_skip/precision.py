"""Which precision is safe for training the head on this device, and why."""

import re
from dataclasses import dataclass
from typing import Literal

import torch

from alexnet_skip.errors import UserError

# Cards without tensor cores whose fp16 convolutions give NaN: matched by name, since RTX 20xx and T4 share their
# compute capability (7.5) and are fine. List: pytorch#58123, and the cards listed in ultralytics#17977.
NO_FP16 = re.compile(r"\b(GTX 16\d\d|1660|1650|1630|T400|T500|T550|T600|T1000|T1200|T2000|K40m)", re.IGNORECASE)

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
    """Describe a torch device."""
    if device.type == "cuda":
        # including_emulation=False: Turing cards answer True for a bf16 that is emulated and slow.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return Device("cuda", torch.cuda.get_device_name(device), native)
    return Device(device.type, device.type.upper(), False)


def choose_precision(requested: Literal["auto", "no", "fp16", "bf16"], device: Device) -> Precision:
    """Decide the precision of the head; the convolutions are always fp32.

    Raises:
        UserError: if fp16 is asked for on a device that is known to fail with it.
    """
    if requested == "auto":
        if device.kind == "cuda" and NO_FP16.search(device.name):
            return Precision("no", f"{device.name} gives NaN in fp16")
        if device.kind == "cuda" and device.native_bf16:
            return Precision("bf16", f"{device.name} has native bf16")
        if device.kind == "cuda":
            return Precision("no", f"{device.name} has no native bf16; --mixed-precision fp16 is possible")
        return Precision("no", f"fp32 on {device.name}")
    if requested == "fp16" and device.kind != "cuda":
        raise UserError(f"--mixed-precision is fp16, but the device is {device.name}; use auto, no or bf16 there")
    if requested == "fp16" and NO_FP16.search(device.name):
        raise UserError(f"--mixed-precision is fp16, but {device.name} gives NaN in fp16; use auto or no")
    return Precision(requested, "asked for")
