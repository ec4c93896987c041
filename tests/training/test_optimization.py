"""Batches, training and prediction over rows."""

import math
from itertools import combinations, pairwise

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from alexnet_skip.features import source
from alexnet_skip.network.head import Dropout
from alexnet_skip.settings.train import TrainingSettings, TrainSettings
from alexnet_skip.training.optimization import (
    Optimization,
    cosine_with_warmup,
    epoch_batches,
    make_optimizer,
    process_seed,
)
from alexnet_skip.training.state import EpochProgress


class Rows:
    """A feature source of given values; both views are the same values, the mirrored one negated."""

    def __init__(self, values: np.ndarray) -> None:
        self.values = torch.from_numpy(np.concatenate((values, -values))).float()
        self.num_samples = len(values)

    def fetch(self, rows):
        return self.values[torch.from_numpy(rows)], None


class Linear(nn.Module):
    def __init__(self, width: int, p: float = 0.0) -> None:
        super().__init__()
        self.drop = Dropout(p)
        self.layer = nn.Linear(width, 3)

    def forward(self, main, tap=None):
        return self.layer(self.drop(main))


def test_an_epoch_takes_every_sample_once():
    positions = np.arange(5, 105)
    batches = list(epoch_batches(positions, 200, 32, 0, 1, mirrored=True))
    assert [len(b) for b in batches] == [32, 32, 32, 4]
    rows = np.concatenate(batches)
    assert sorted(rows % 200) == list(positions)
    assert 20 < (rows >= 200).sum() < 80


def test_batches_depend_on_seed_and_epoch_alone():
    def rows(seed, epoch):
        return np.concatenate(list(epoch_batches(np.arange(50), 50, 7, seed, epoch, mirrored=False)))

    assert np.array_equal(rows(0, 1), rows(0, 1))
    assert not np.array_equal(rows(0, 1), rows(0, 2))
    assert not np.array_equal(rows(0, 1), rows(1, 1))


def test_processes_draw_masks_of_their_own_and_the_same_again():
    """As on a GPU, where masks come from torch's generator."""

    def masks(seed, process):
        torch.manual_seed(process_seed(seed, process))
        return Dropout(0.5)(torch.ones(64, 64))

    drawn = [masks(seed, process) for seed in (0, 1, 4294967295) for process in range(3)]
    for first, second in combinations(drawn, 2):
        assert 0.4 < (first == second).float().mean() < 0.6
    assert torch.equal(masks(1, 2), drawn[5])


def test_the_cosine_schedule_warms_up_and_ends_near_zero():
    factors = [cosine_with_warmup(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == 1 == factors[9]
    assert factors[-1] < 0.001
    assert all(a >= b for a, b in pairwise(factors[10:]))


def test_the_cosine_is_pytorchs():
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=1.0)
    oracle = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=90)
    for step in range(10, 101):
        assert cosine_with_warmup(step, 100) == pytest.approx(oracle.get_last_lr()[0], abs=1e-12)
        optimizer.step()
        oracle.step()
    assert [cosine_with_warmup(step, 100) for step in range(10)] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert [cosine_with_warmup(step, 1) for step in (0, 1)] == [1, 1], "a run of one step has its peak rate"


@pytest.mark.parametrize(("recipe", "kind"), [("report", torch.optim.Adam), ("fast", torch.optim.AdamW)])
def test_the_recipes_optimizer_has_the_rate_and_decay_that_are_set_and_the_recipes_schedule(recipe, kind):
    settings = TrainSettings(recipe=recipe, training=TrainingSettings(lr=0.3, weight_decay=0.07))
    optimizer, scheduler = make_optimizer(settings, nn.Linear(2, 1), 20)
    assert type(optimizer) is kind
    (group,) = optimizer.param_groups
    assert (group["initial_lr"], group["weight_decay"], group["fused"]) == (0.3, 0.07, True)
    rates = []
    for _ in range(20):
        rates += scheduler.get_last_lr()
        optimizer.step()
        scheduler.step()
    factors = [1.0] * 20 if recipe == "report" else [cosine_with_warmup(step, 20) for step in range(20)]
    assert rates == pytest.approx([0.3 * factor for factor in factors])


def test_steps_are_those_of_plain_pytorch_and_figures_are_what_they_say(rng, monkeypatch):
    """Both views, uneven batches, smoothed labels, a rate that changes; torch's own loop is the oracle."""
    rows, labels = Rows(rng.normal(size=(9, 4))), torch.from_numpy(rng.integers(0, 3, 9))
    batches = [np.array([0, 3, 11, 16]), np.array([1, 9, 17]), np.array([2, 8])]
    ours, plain = Linear(4), Linear(4)
    plain.load_state_dict(ours.state_dict())
    optimizer, theirs = (torch.optim.SGD(model.parameters(), lr=0.5) for model in (ours, plain))
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 / (step + 1))
    training = Optimization(ours, optimizer, scheduler, rows, labels, Accelerator(cpu=True), label_smoothing=0.2)
    now = iter(range(100, 200))
    monkeypatch.setattr("alexnet_skip.training.optimization.time.perf_counter", lambda: float(next(now)))
    ours.eval()
    training.begin_epoch((0, 1), len(batches))
    assert ours.training
    loss_sum = correct = 0.0
    for step, batch in enumerate(batches):
        training.step(batch)
        theirs.param_groups[0]["lr"] = 0.5 / (step + 1)
        theirs.zero_grad()
        logits, target = plain(rows.values[torch.from_numpy(batch)]), labels[torch.from_numpy(batch % 9)]
        loss = nn.functional.cross_entropy(logits, target, label_smoothing=0.2)
        loss.backward()
        norm = torch.cat([p.grad.flatten() for p in plain.parameters()]).norm().item()
        theirs.step()
        loss_sum += loss.item() * len(batch)
        correct += (logits.argmax(1) == target).sum().item()
        torch.testing.assert_close(ours.state_dict(), plain.state_dict())
    figures = training.epoch_figures()
    assert figures == pytest.approx(
        {
            "train_loss": loss_sum / 9, "train_top1": correct / 9, "lr": 0.5 / 3, "grad_norm": norm,
            # The clock is looked at once at the beginning, after each of three steps, and now.
            "images_per_second": 9 / 4,
        }
    )  # fmt: skip
    assert (training.progress.steps, training.progress.images, training.progress.seconds) == (3, 9, 3.0)


def test_an_epoch_that_goes_on_counts_the_seconds_that_it_has_taken_before(monkeypatch):
    now = iter([50.0, 52.0])
    monkeypatch.setattr("alexnet_skip.training.optimization.time.perf_counter", lambda: next(now))
    model, rows = Linear(4), Rows(np.ones((4, 4)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    training = Optimization(model, optimizer, scheduler, rows, torch.zeros(4).long(), Accelerator(cpu=True))
    training.begin_epoch((0, 1), 2, EpochProgress(steps=1, images=2, seconds=7.0))
    training.step(np.array([0, 1]))
    assert (training.progress.steps, training.progress.images, training.progress.seconds) == (2, 4, 9.0)


def test_dropouts_masks_are_a_function_of_seed_epoch_and_step():
    class Noted(Linear):
        def forward(self, main, tap=None):
            dropped = self.drop(torch.ones_like(main))
            masks.append((dropped > 0).flatten().tolist())
            return self.layer(dropped)

    def of(seed: int, epoch: int, steps: int) -> list:
        masks.clear()
        training.begin_epoch((seed, epoch), steps)
        for _ in range(steps):
            training.step(np.arange(30))
        return list(masks)

    masks: list = []
    model, rows = Noted(4, p=0.5), Rows(np.ones((30, 4)))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    training = Optimization(model, optimizer, scheduler, rows, torch.zeros(30).long(), Accelerator(cpu=True))
    first = of(0, 1, 3)
    assert of(0, 1, 3) == first
    different = [*first, *of(0, 2, 1), *of(1, 1, 1)]
    assert all(a != b for a, b in combinations(different, 2))


def train(source, labels, lr=0.1, epochs=1, batch_size=10):
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=True)
    model = Linear(4)
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
    figures = {}
    for epoch in range(epochs):
        batches = list(epoch_batches(np.arange(len(labels)), len(labels), batch_size, 0, epoch, mirrored=False))
        training = Optimization(model, optimizer, scheduler, source, labels, accelerator)
        training.begin_epoch((0, epoch), len(batches))
        for rows in batches:
            training.step(rows)
        figures = training.epoch_figures()
    return model, figures, accelerator


def test_training_learns_and_the_same_seed_gives_the_same_weights(rng):
    values = rng.normal(size=(45, 4))
    labels = torch.from_numpy(values[:, :3].argmax(1))
    model, figures, _ = train(Rows(values), labels, epochs=60)
    again, _, _ = train(Rows(values), labels, epochs=60)
    assert figures["train_top1"] > 0.9
    assert figures["grad_norm"] > 0
    assert torch.equal(model.layer.weight, again.layer.weight)


def test_an_epoch_taken_up_in_the_middle_ends_like_a_whole_one(rng):
    """The steps before come from another call; figures cover the whole epoch, weights are the same to the bit."""
    values = rng.normal(size=(45, 4))
    source, labels, accelerator = Rows(values), torch.from_numpy(values[:, :3].argmax(1)), Accelerator(cpu=True)
    ends = []
    for parts in ([5], [2, 3]):
        torch.manual_seed(0)
        model, progress, figures = Linear(4, p=0.3), EpochProgress(), {}
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1.0)
        for steps in parts:
            batches = list(epoch_batches(np.arange(45), 45, 10, 0, 1, mirrored=False))
            training = Optimization(model, optimizer, scheduler, source, labels, accelerator, label_smoothing=0.1)
            training.begin_epoch((0, 1), len(batches), progress)
            for rows in batches[progress.steps :][:steps]:
                training.step(rows)
            figures = training.epoch_figures()
        assert (progress.steps, progress.images) == (5, 45)
        ends.append((model.layer.weight.tolist(), figures["train_loss"], figures["train_top1"]))
    assert ends[0] == ends[1]


@pytest.mark.parametrize("block", [1, 4, 100])
def test_predict_keeps_order_and_length(rng, monkeypatch, block):
    monkeypatch.setattr(source, "PREDICT_ROWS", block)
    rows, model = Rows(rng.normal(size=(10, 4))), Linear(4)
    positions = np.array([7, 1, 1, 9, 0])
    logits = source.predict(model, rows, positions, Accelerator(cpu=True))
    with torch.no_grad():
        expected = model(rows.values[positions]).numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-6, atol=1e-6)


def test_tta_averages_both_views(rng):
    rows, model = Rows(rng.normal(size=(10, 4))), Linear(4)
    logits = source.predict(model, rows, np.arange(10), Accelerator(cpu=True), tta=True)
    # The mirrored view here is the negated one, so that only the bias is left.
    np.testing.assert_allclose(logits, np.tile(model.layer.bias.detach().numpy(), (10, 1)), atol=1e-6)
    assert math.isfinite(logits.sum())
