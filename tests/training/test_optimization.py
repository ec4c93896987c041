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
from alexnet_skip.training.optimization import Optimization, cosine_with_warmup, epoch_batches, process_seed
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
