"""Precisions are tried on the CPU with models that are sound, and with such as do wrong in half precision only."""

import pytest
import torch
from torch import nn

from alexnet_skip.devices import self_test as trial
from alexnet_skip.devices.self_test import bf16_self_test, fp16_self_test, multiplies_bf16, self_test, too_slow_in_bf16
from alexnet_skip.network.head import LinearRegressor

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def small_head(monkeypatch):
    monkeypatch.setattr("alexnet_skip.network.head.HIDDEN_SIZES", (64, 32))


@pytest.mark.parametrize("passed", [lambda: fp16_self_test(CPU, 16), bf16_self_test], ids=["fp16", "bf16"])
def test_the_self_test_passes_where_it_is_sound_and_draws_no_random_numbers(passed):
    before = torch.get_rng_state()
    assert passed() is None
    assert torch.equal(before, torch.get_rng_state())


class Faulty(nn.Module):
    """Sound in fp32; in fp16 it does what the GTX 16xx do: something wrong from a certain batch size on."""

    def __init__(self, fault: float, classes: int = 10) -> None:
        super().__init__()
        self.layer = nn.Linear(9216, classes)
        self.fault = fault

    def forward(self, main, tap):
        logits = self.layer(main)
        wrong = logits.dtype == torch.float16 and len(main) >= 7
        return logits * self.fault if wrong else logits


@pytest.mark.parametrize(("fault", "told"), [(float("nan"), "holds NaN"), (1.5, "differs from fp32 by 50 %")])
def test_the_self_test_finds_a_fault_that_shows_only_at_the_real_batch_size(fault, told):
    assert fp16_self_test(CPU, 6, lambda: Faulty(fault)) is None
    assert told in fp16_self_test(CPU, 7, lambda: Faulty(fault))


@pytest.mark.parametrize("classes", [3, 100])
def test_the_self_test_takes_a_model_of_any_number_of_classes(classes):
    gradients = []

    def made() -> Faulty:
        model = Faulty(1.0, classes)
        model.layer.bias.register_hook(gradients.append)
        return model

    assert fp16_self_test(CPU, 64, made) is None
    # Only for classes that are right somewhere has the loss a gradient below zero.
    assert (gradients[0][10:] < 0).any() == (classes > 10)


class FaultyInBf16(LinearRegressor):
    """Sound in fp32; in bf16 its outputs are off by a factor."""

    def __init__(self, fault: float) -> None:
        super().__init__(64, 10)
        self.fault = fault

    def forward(self, x):
        logits = super().forward(x)
        return logits * self.fault if logits.dtype == torch.bfloat16 else logits


@pytest.mark.parametrize(
    ("fault", "told"), [(float("inf"), "holds NaN"), (1.3, "the output differs from fp32 by 30 %")]
)
def test_a_bf16_that_is_wrong_is_found(fault, told):
    assert bf16_self_test(lambda: FaultyInBf16(1.0)) is None
    assert told in bf16_self_test(lambda: FaultyInBf16(fault))


@pytest.mark.parametrize(
    ("ratio", "told"), [(0.5, "0.5 times the speed"), (1.1, "1.1 times"), (1.3, None), (2.5, None)]
)
def test_bf16_is_worth_it_where_it_is_faster_by_more_than_chance(monkeypatch, ratio, told):
    def seconds(x, weight):
        assert torch.get_float32_matmul_precision() == "medium"  # fp32 as it is trained: no slower rival
        assert x.dtype == weight.dtype
        return 1.0 if x.dtype == torch.bfloat16 else ratio

    monkeypatch.setattr(trial, "_seconds", seconds)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("high")
    try:
        failure = too_slow_in_bf16((2, 3, 4))
        assert failure is None if told is None else told in failure
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)


def test_what_is_timed_is_a_product():
    assert 0 < trial._seconds(torch.ones(2, 3), torch.ones(4, 3)) < 1


def test_a_processor_is_tried_for_speed_first_and_then_for_a_step(monkeypatch):
    monkeypatch.setattr(trial, "_seconds", lambda x, _: 1.0 if x.dtype == torch.bfloat16 else 0.2)
    assert self_test(CPU, 8, "bf16") == "it has 0.2 times the speed of fp32"
    monkeypatch.setattr(trial, "_seconds", lambda x, _: 1.0 if x.dtype == torch.bfloat16 else 2.0)
    assert self_test(CPU, 8, "bf16") is None
    monkeypatch.setattr(trial, "bf16_self_test", lambda: "the output holds NaN or infinite values")
    assert self_test(CPU, 8, "bf16") == "the output holds NaN or infinite values"
    monkeypatch.setattr(trial, "fp16_self_test", lambda device, batch_size: f"{device} {batch_size}")
    assert self_test(CPU, 8, "fp16") == "cpu 8"


@pytest.mark.parametrize(
    ("found", "native"),
    [
        ({"avx512_bf16": True}, True),
        ({"amx_bf16": True, "avx512_bf16": False}, True),
        ({"architecture": "aarch64", "bf16": True}, True),
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, False),
        ({}, False),
    ],
)
def test_a_processor_says_whether_it_multiplies_bf16(monkeypatch, found, native):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found, raising=False)
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    assert multiplies_bf16() is native
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx512_core_bf16")
    assert multiplies_bf16() is native
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", "avx512_core_vnni")
    assert multiplies_bf16() is False


def test_an_older_torch_does_not_know_and_stays_with_fp32(monkeypatch):
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert multiplies_bf16() is False
