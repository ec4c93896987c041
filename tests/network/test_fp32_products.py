"""Products in true fp32, whatever the caller's setting, which comes back."""

import pytest
import torch

from alexnet_skip.network import fp32_products as module
from alexnet_skip.network.fp32_products import fp32_products


@pytest.mark.parametrize("setting", ["highest", "high", "medium"])
def test_products_are_fp32_and_the_callers_setting_comes_back(setting: str) -> None:
    before = torch.get_float32_matmul_precision()
    try:
        torch.set_float32_matmul_precision(setting)
        x = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
        with fp32_products():
            assert (torch.bmm(x, x) - torch.bmm(x.double(), x.double())).abs().max() <= 1e-4
        assert torch.get_float32_matmul_precision() == setting
    finally:
        torch.set_float32_matmul_precision(before)


@pytest.mark.skipif(not hasattr(torch.backends, "fp32_precision"), reason="this torch has no setting of all backends")
@pytest.mark.parametrize("kind", ["cpu", "cuda"])
def test_a_setting_of_all_backends_does_not_reach_the_products_and_comes_back(kind: str) -> None:
    before = torch.backends.fp32_precision
    torch.backends.fp32_precision = "tf32"
    try:
        with fp32_products(kind):
            assert torch.backends.cudnn.conv.fp32_precision in ("ieee", "none")  # none: as all backends
            assert torch.backends.fp32_precision == "ieee"
        assert torch.backends.fp32_precision == "tf32"
    finally:
        torch.backends.fp32_precision = before


def test_where_medium_rounds_products_are_made_at_the_highest_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_medium_rounds", lambda: True)
    before = torch.get_float32_matmul_precision()
    with fp32_products():
        assert torch.get_float32_matmul_precision() == "highest"
    assert torch.get_float32_matmul_precision() == before


def test_the_probe_sees_inputs_that_are_rounded_to_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    def rounding(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return torch.matmul(a.bfloat16().float(), b.bfloat16().float())

    monkeypatch.setattr(torch, "bmm", rounding)
    assert module._medium_rounds.__wrapped__()
