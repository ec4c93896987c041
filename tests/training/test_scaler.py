"""Training with fp16's loss scaler: the path of a GPU, on the CPU with a scaler of its own."""

import gc
import json
import math
import os
import signal
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from fp16_stand_in import with_fp16
from tiny_run import ARGUMENTS, copy_features, outcome, shrink
from torch import Tensor, nn

import train
from alexnet_skip.devices import launch
from alexnet_skip.training import trainer as module
from alexnet_skip.training.finite_guard import LEAST_SCALE, READ_STEPS, FiniteGuard, NonFiniteLossError
from alexnet_skip.training.optimization import Optimization


class Overflow(torch.autograd.Function):
    """Leaves values as they are and makes their gradients infinite."""

    @staticmethod
    def forward(context, values):
        return values.clone()

    @staticmethod
    def backward(context, gradient):
        return torch.full_like(gradient, math.inf)


class Linear(nn.Module):
    """Overflows, as fp16 may, in the steps that it is told to."""

    def __init__(self, overflows: set[int]) -> None:
        super().__init__()
        self.layer, self.overflows, self.steps = nn.Linear(4, 3), overflows, 0

    def forward(self, main: Tensor, tap: Tensor | None = None) -> Tensor:
        self.steps += 1
        logits = self.layer(main)
        return Overflow.apply(logits) if self.steps in self.overflows else logits


class Rows:
    num_samples = 40

    def __init__(self) -> None:
        self.values = torch.randn(40, 4, generator=torch.Generator().manual_seed(0))

    def fetch(self, rows):
        return self.values[torch.from_numpy(rows)], None


def train_epochs(overflows=frozenset(), epochs: int = 1, *, scaler: bool = True):
    """Epochs of ten batches of four, in order; the model, the scale at the end, and the figures of the last epoch."""
    torch.manual_seed(0)
    accelerator = with_fp16(Accelerator(cpu=True)) if scaler else Accelerator(cpu=True)
    model = Linear(set(overflows))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01, fused=True)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    prepared, optimizer = accelerator.prepare(model, optimizer)
    training = Optimization(prepared, optimizer, scheduler, Rows(), torch.arange(40) % 3, accelerator)
    figures = {}
    for epoch in range(epochs):
        training.begin_epoch((0, epoch), 10)
        for batch in np.arange(40).reshape(10, 4):
            training.step(batch)
        figures = training.epoch_figures()
    return model, accelerator.scaler.get_scale() if scaler else None, figures


def test_fp16_gives_the_weights_and_the_gradient_norm_of_fp32_to_its_rounding():
    plain, _, expected = train_epochs(scaler=False)
    scaled, scale, figures = train_epochs()
    assert scale == 65_536
    assert not torch.equal(scaled.layer.weight, plain.layer.weight)
    torch.testing.assert_close(scaled.layer.weight, plain.layer.weight, rtol=1e-2, atol=1e-3)
    assert figures["grad_norm"] == pytest.approx(expected["grad_norm"], rel=1e-2)


def test_an_overflow_halves_the_scale_and_only_that_step_is_not_taken():
    model, scale, figures = train_epochs({4})
    assert scale == 32_768
    assert figures["grad_norm"] > 0
    assert model.layer.weight.isfinite().all()
    assert not torch.equal(model.layer.weight, train_epochs()[0].layer.weight)


def test_of_an_epoch_whose_last_step_overflows_no_gradient_norm_is_told():
    _, _, figures = train_epochs({10})
    assert "grad_norm" not in figures
    json.dumps(figures, allow_nan=False)


@pytest.mark.parametrize("on_gpu", [False, True])
def test_gradients_that_stay_infinite_end_the_training_by_name_before_the_scale_is_zero(monkeypatch, on_gpu):
    if on_gpu:
        monkeypatch.setattr(FiniteGuard, "_reads_each_step", lambda guard: False)
    seen = []
    step = Optimization.step
    monkeypatch.setattr(Optimization, "step", lambda *a: [step(*a), seen.append(1)])
    with pytest.raises(NonFiniteLossError, match=r"gradients are infinite in fp16 .* Try --mixed-precision no"):
        train_epochs(range(100), epochs=20)
    first_below = math.log2(65_536 / LEAST_SCALE) + 1
    assert first_below - 1 <= len(seen) < first_below + READ_STEPS


def test_a_loss_that_is_not_finite_is_no_overflow(monkeypatch):
    monkeypatch.setattr(Rows, "fetch", lambda rows, indices: (rows.values[indices] * math.nan, None))
    with pytest.raises(NonFiniteLossError, match="step 1: the loss or its gradient is not finite"):
        train_epochs()


# Without the skip, whose convolution's product takes seconds in a CPU's fp16.
ALONE = [word for word in ARGUMENTS if word != "--skip"]


@pytest.fixture(scope="module")
def places(whole_run, tmp_path_factory) -> list[str]:
    """Where all runs here keep their features, and themselves."""
    folder = copy_features(whole_run, tmp_path_factory.mktemp("scaler"))
    return ["--cache-dir", str(folder / "cache"), "--runs-dir", str(folder / "runs")]


@pytest.fixture
def scalers(monkeypatch) -> list[float]:
    """Training as on a GPU in fp16: Accelerate brings a scaler. The scale at each step is noted."""
    shrink(monkeypatch.setattr)
    start, step, scales = launch.start, Optimization.step, []

    def with_scaler(*arguments, **options):
        AcceleratorState._reset_state(True)  # of a run before, which must not know of another precision
        accelerator, precision = start(*arguments, **options)
        return with_fp16(accelerator), precision

    def noted(training, rows):
        step(training, rows)
        scales.append(training.accelerator.scaler.get_scale())

    monkeypatch.setattr(launch, "start", with_scaler)
    monkeypatch.setattr(Optimization, "step", noted)
    return scales


def overflow_in(monkeypatch, *steps: int) -> None:
    backward, calls = FiniteGuard.backward, []

    def spoilt(guard, loss, factor):
        calls.append(1)
        backward(guard, Overflow.apply(loss) if len(calls) in steps else loss, factor)

    monkeypatch.setattr(FiniteGuard, "backward", spoilt)


def test_every_run_of_a_study_begins_with_a_scaler_of_its_own_and_without_what_the_run_before_held(
    scalers, monkeypatch, places
):
    overflow_in(monkeypatch, 2, 3)
    step, held, alive = Optimization.step, [], []

    def looked_at(training, rows):
        if len(scalers) == 12:
            alive.extend(part for part in held if part() is not None)
        held.append(weakref.ref(training.optimizer))
        step(training, rows)

    monkeypatch.setattr(Optimization, "step", looked_at)
    study = ["--study", "--study-variants", "none", "--seeds", "0", "1", "--epochs", "2", "--snapshot-epochs", "1", "2"]
    gc.disable()  # what only Python's own collection would free, which comes when it comes
    try:
        assert train.main([*ALONE, *study, *places, "--name", "study"]) == 0
    finally:
        gc.enable()
    assert len(held) == 24
    assert not alive
    assert scalers[:12] == [65_536, 32_768] + [16_384] * 10
    assert scalers[12:] == [65_536] * 12


def test_a_run_with_overflows_is_recorded_and_goes_on_to_the_same_end(scalers, monkeypatch, places):
    overflow_in(monkeypatch, 6, 9, 18, 24, 27, 36)  # steps 6, 9 and 18 of each run; 6 and 18 are an epoch's last
    runs = Path(places[-1])
    assert train.main([*ALONE, *places, "--name", "whole"]) == 0
    whole = outcome(runs / "whole")
    assert [line["grad_norm"] is None for line in whole["metrics"]] == [True, False, True]
    assert [event[0] for event in whole["scalars"]["3 optimizer/gradient norm"]] == [2]

    after_step = module.Trainer._after_step

    def stop_in_the_second_epoch(trainer):
        if len(scalers) == 18 + 10:
            os.kill(os.getpid(), signal.SIGTERM)
        after_step(trainer)

    with monkeypatch.context() as patch:
        patch.setattr(module.Trainer, "_after_step", stop_in_the_second_epoch)
        assert train.main([*ALONE, *places, "--name", "stopped"]) == 143
    assert train.main(["--resume", "stopped", *places]) == 0
    assert outcome(runs / "stopped") == whole
    assert scalers[18:] == scalers[:18]
