"""Nothing is spoilt by a loss or gradient that is not finite."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from tiny_run import ARGUMENTS, shrink
from torch import nn

import train
from alexnet_skip.features import source
from alexnet_skip.training import finite_guard
from alexnet_skip.training.finite_guard import FiniteGuard, NonFiniteLossError
from alexnet_skip.training.optimization import Optimization


class Rows:
    """Features of 40 samples, one of which is not finite."""

    num_samples = 40

    def __init__(self, bad: int | None, value: float) -> None:
        self.values = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))
        if bad is not None:
            self.values[bad] = value

    def fetch(self, rows):
        return self.values[torch.from_numpy(rows)], None


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 3)

    def forward(self, main, tap=None):
        return self.layer(main)


def train_rows(rows: Rows, steps: list[int]) -> nn.Module:
    """Train one epoch of ten batches of four, in order; counts finished steps."""
    torch.manual_seed(0)
    model = Linear()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    training = Optimization(model, optimizer, scheduler, rows, torch.arange(40) % 3, Accelerator(cpu=True))
    training.begin_epoch((0, 1), 10)
    try:
        for batch in np.arange(40).reshape(10, 4):
            training.step(batch)
            steps.append(len(batch))
        training.epoch_figures()
    finally:
        steps.append(-1)
        train_rows.model = model
    return model


def weights_after(num_steps: int) -> torch.Tensor:
    """Weights of a sound training that stops after so many steps."""
    rows, seen = Rows(None, 0.0), []

    class EnoughError(Exception):
        pass

    def fetch(indices):
        if len(seen) == num_steps:
            raise EnoughError
        seen.append(1)
        return rows.values[torch.from_numpy(indices)], None

    sound = type("Sound", (), {"num_samples": 40, "fetch": staticmethod(fetch)})()
    with pytest.raises(EnoughError):
        train_rows(sound, [])
    return train_rows.model.layer.weight.detach().clone()


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_on_a_cpu_the_step_is_not_taken(value):
    steps: list[int] = []
    with pytest.raises(NonFiniteLossError, match=r"step 6: .* rate 0\.01 and precision no; the step was not"):
        train_rows(Rows(21, value), steps)
    assert steps == [4] * 5 + [-1]
    assert torch.equal(train_rows.model.layer.weight, weights_after(5))


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_on_a_gpu_the_device_skips_all_steps_from_the_bad_one_on(value, monkeypatch):
    """The path of a GPU, on the CPU's fused optimizer, which obeys the same flag."""
    monkeypatch.setattr(FiniteGuard, "_reads_each_step", lambda guard: False)
    monkeypatch.setattr(finite_guard, "READ_STEPS", 8)
    steps: list[int] = []
    with pytest.raises(NonFiniteLossError, match=r"step 6: "):
        train_rows(Rows(21, value), steps)
    assert steps == [4] * 7 + [-1], "the flag is read after eight steps, and before the eighth is reported"
    assert torch.equal(train_rows.model.layer.weight, weights_after(5))


def test_a_flag_is_read_at_the_end_of_an_epoch(monkeypatch):
    monkeypatch.setattr(FiniteGuard, "_reads_each_step", lambda guard: False)
    with pytest.raises(NonFiniteLossError, match="step 10: "):
        train_rows(Rows(39, math.nan), [])


def on_card(processes: int, scale: float, others: tuple[int, ...] = ()) -> SimpleNamespace:
    """As much of an Accelerator as the guard looks at: fp16 on cards, of which others have seen a bad step."""
    return SimpleNamespace(
        device=SimpleNamespace(type="cuda"), scaler=SimpleNamespace(get_scale=lambda: scale), num_processes=processes,
        gather=lambda mine: torch.cat((mine, torch.tensor(others, dtype=mine.dtype))), mixed_precision="fp16",
    )  # fmt: skip


@pytest.fixture
def cards(monkeypatch):
    """Tensors for a card are made on the CPU."""
    full = torch.full
    monkeypatch.setattr(torch, "full", lambda *arguments, device=None, **options: full(*arguments, **options))


def test_with_fp16_a_bad_step_of_any_process_ends_all_and_the_scaler_alone_skips_steps(cards):
    optimizer = SimpleNamespace()
    guard = FiniteGuard(on_card(3, 2.0, others=(-1, 4)), optimizer)
    guard.before_step(torch.tensor(1.0), [], 4, 0.01)
    assert not vars(optimizer), "the scaler tells the optimizer which step to skip"
    with pytest.raises(NonFiniteLossError, match="step 5: "):
        guard.read()
    FiniteGuard(on_card(3, 2.0, others=(-1, -1)), optimizer).read()


def test_a_scale_of_one_is_the_last_that_mends_anything(cards):
    for scale in (1.0, 0.5):
        guard = FiniteGuard(on_card(1, scale), SimpleNamespace())
        guard.before_step(torch.tensor(1.0), [], 7, 0.01)
        if scale >= 1:
            guard.read()
        else:
            with pytest.raises(NonFiniteLossError, match=r"step 8: the gradients are infinite in fp16 .*down to 0\.5"):
                guard.read()


def test_watching_changes_nothing(monkeypatch):
    watched = train_rows(Rows(None, 0.0), []).layer.weight
    monkeypatch.setattr(FiniteGuard, "before_step", lambda *_: None)
    monkeypatch.setattr(FiniteGuard, "backward", lambda guard, loss, factor: (loss * factor).backward())
    assert torch.equal(train_rows(Rows(None, 0.0), []).layer.weight, watched)


def test_a_run_names_epoch_step_rate_and_precision_and_keeps_its_last_good_checkpoint(
    whole_run, tmp_path, monkeypatch, capsys
):
    shrink(monkeypatch.setattr)
    backward = FiniteGuard.backward
    places = ["--cache-dir", str(whole_run / "cache"), "--runs-dir", str(tmp_path / "runs"), "--name", "run"]
    calls = []

    def spoil(guard, loss, factor):
        calls.append(1)
        backward(guard, loss * math.nan if len(calls) == 8 else loss, factor)

    monkeypatch.setattr(FiniteGuard, "backward", spoil)
    assert train.main([*ARGUMENTS, *places, "--checkpoint-epochs", "1"]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "epoch 2, step 2: the loss or its gradient is not finite" in told
    assert "and precision no; the step was not taken. Try a lower learning rate (--lr)" in told
    assert f"the last good checkpoint is {tmp_path / 'runs/run/checkpoints/step-00000006'}" in told
    monkeypatch.setattr(FiniteGuard, "backward", backward)
    assert train.main(["--resume", "--runs-dir", str(tmp_path / "runs")]) == 0


def test_a_model_spoilt_by_the_last_step_is_noticed_in_validation(whole_run, tmp_path, monkeypatch, capsys):
    shrink(monkeypatch.setattr)
    predict = source.predict
    monkeypatch.setattr("alexnet_skip.training.inputs.predict", lambda *a, **k: predict(*a, **k) * np.float32(math.nan))
    places = ["--cache-dir", str(whole_run / "cache"), "--runs-dir", str(tmp_path / "runs")]
    assert train.main([*ARGUMENTS, *places]) == 2
    told = " ".join(capsys.readouterr().err.split())
    assert "epoch 1, validation: the model's outputs are not finite; try a lower learning rate (--lr); " in told
    assert "no checkpoint was saved" in told
