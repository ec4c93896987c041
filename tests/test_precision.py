"""Precision is decided from a description of the device, so every branch runs without a GPU."""

import pytest

from alexnet_skip.errors import UserError
from alexnet_skip.precision import Device, choose_precision

CPU = Device("cpu", "CPU", False)
GTX = Device("cuda", "NVIDIA GeForce GTX 1660 SUPER", False)
RTX20 = Device("cuda", "NVIDIA GeForce RTX 2080 Ti", False)
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", True)


@pytest.mark.parametrize(
    ("device", "expected"),
    [(CPU, "no"), (GTX, "no"), (RTX20, "no"), (H100, "bf16")],
    ids=lambda v: getattr(v, "name", v),
)
def test_auto_takes_what_is_safe(device, expected):
    precision = choose_precision("auto", device)
    assert precision.mixed_precision == expected
    assert device.name in precision.reason


@pytest.mark.parametrize("name", ["GTX 1660 SUPER", "GTX 1650", "GTX 1630", "T1000", "T600 Laptop GPU"])
def test_fp16_is_refused_on_cards_that_give_nan(name):
    with pytest.raises(UserError, match="NaN"):
        choose_precision("fp16", Device("cuda", name, False))


def test_fp16_is_refused_on_a_cpu():
    with pytest.raises(UserError, match="--mixed-precision is fp16"):
        choose_precision("fp16", CPU)


@pytest.mark.parametrize("device", [RTX20, H100, Device("cuda", "Tesla T4", False)], ids=lambda d: d.name)
def test_fp16_is_possible_on_other_cards(device):
    assert choose_precision("fp16", device).mixed_precision == "fp16"
