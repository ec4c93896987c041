"""Precision is decided from a description of the device, so every branch runs without a GPU."""

from contextlib import contextmanager

import pytest
import torch

from alexnet_skip.devices.precision import Device, choose_precision, describe
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.system.errors import UserError

CPU = Device("cpu", "CPU", False)
GTX = Device("cuda", "NVIDIA GeForce GTX 1660 SUPER", False)
RTX20 = Device("cuda", "NVIDIA GeForce RTX 2080 Ti", False)
H100 = Device("cuda", "NVIDIA H100 80GB HBM3", True)
ZEN5 = Device("cpu", "CPU", True)

T4 = Device("cuda", "Tesla T4", False)


def passes(_) -> None:
    return None


def fails(precision: str) -> str:
    return f"the output holds NaN or infinite values in {precision}"


def is_not_asked(_) -> str:
    raise AssertionError("the self-test decides nothing here")


@pytest.mark.parametrize(
    ("device", "self_test", "expected", "why"),
    [
        (CPU, is_not_asked, "no", "fp32 on CPU"),
        (ZEN5, passes, "bf16", "CPU has native bf16; the self-test passed"),
        (
            ZEN5,
            fails,
            "no",
            "fp32 on CPU, whose bf16 fails its self-test (the output holds NaN or infinite values in bf16)",
        ),
        (H100, is_not_asked, "bf16", "NVIDIA H100 80GB HBM3 has native bf16"),
        (T4, is_not_asked, "no", "fp32 on Tesla T4 without native bf16"),
        (GTX, is_not_asked, "no", "fp32 on NVIDIA GeForce GTX 1660 SUPER without native bf16"),
    ],
)
def test_auto_takes_what_is_safe_and_says_why(device, self_test, expected, why):
    precision = choose_precision("auto", device, self_test)
    assert precision.mixed_precision == expected
    assert why in precision.reason


def test_fp16_is_refused_where_the_self_test_fails_now():
    with pytest.raises(UserError, match=r"RTX 2080 Ti fails its self-test \(the output holds NaN"):
        choose_precision("fp16", RTX20, fails)
    forced = choose_precision("fp16", RTX20, fails, force=True)
    assert (forced.mixed_precision, forced.reason) == ("fp16", "forced by --force-precision")


@pytest.mark.parametrize("device", [GTX, RTX20, H100, T4], ids=lambda d: d.name)
@pytest.mark.parametrize(("asked", "launcher"), [("fp16", None), ("auto", "fp16")])
def test_fp16_is_taken_only_where_it_is_asked_for_and_the_self_test_passes(device, asked, launcher):
    precision = choose_precision(asked, device, passes, launcher=launcher)
    assert precision.mixed_precision == "fp16"
    assert "the self-test passed" in precision.reason


@pytest.mark.parametrize("force", [False, True])
def test_fp16_is_refused_on_a_cpu_whatever_is_forced(force):
    with pytest.raises(UserError, match="--mixed-precision is fp16, but the device is CPU"):
        choose_precision("fp16", CPU, is_not_asked, force=force)


def test_emulated_bf16_is_named_as_such():
    assert "Tesla T4 only emulates it" in choose_precision("bf16", T4, is_not_asked).reason
    assert "CPU only emulates it" in choose_precision("bf16", CPU, is_not_asked).reason
    assert choose_precision("bf16", ZEN5, is_not_asked).reason == "asked for"
    assert choose_precision("bf16", H100, is_not_asked).reason == "asked for"


def test_fp32_is_had_by_asking_where_bf16_would_be_taken():
    assert choose_precision("no", ZEN5, is_not_asked).mixed_precision == "no"


@pytest.mark.parametrize("there", [False, True])
def test_where_a_mac_trains_on_its_cpu_the_reason_says_that_the_gpu_beside_it_idles(monkeypatch, there):
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: there)
    reason = choose_precision("auto", describe(torch.device("cpu")), is_not_asked).reason
    assert reason == "fp32 on CPU" + " (Apple's GPU, mps, is not used)" * there


def test_of_two_different_cards_each_is_asked_for_its_own_bf16(monkeypatch):
    current = [0]

    @contextmanager
    def chosen(device):
        current[0] = device.index
        yield
        current[0] = 0

    monkeypatch.setattr(torch.cuda, "device", chosen)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: current[0] == 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"card {device.index}")
    found = [describe(torch.device("cuda", index)) for index in (0, 1)]
    assert found == [Device("cuda", "card 0", False), Device("cuda", "card 1", True)]


def test_forcing_what_is_not_asked_for_is_refused():
    with pytest.raises(UserError, match=r"^--force-precision is given"):
        parse_train(["--force-precision"])
