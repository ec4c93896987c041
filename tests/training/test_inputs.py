"""What the head trains on and is validated on."""

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from sklearn.metrics import log_loss, top_k_accuracy_score
from torch import nn

from alexnet_skip.features.basis import Basis, fit_basis
from alexnet_skip.network.backbone import NUM_FEATURES
from alexnet_skip.training.finite_guard import NonFiniteLossError
from alexnet_skip.training.inputs import MAX_TRAIN_SAMPLE, HeldOut, Inputs, choose_train_sample


class Rows:
    """Features of given values."""

    def __init__(self, values: torch.Tensor) -> None:
        self.values, self.num_samples = values, len(values)

    def fetch(self, rows):
        return self.values[torch.from_numpy(rows)], None


class _First(nn.Module):
    """The features themselves as logits, of which training drops half."""

    def forward(self, main, tap=None):
        return nn.functional.dropout(main, 0.5, self.training)


def inputs(held_out=None, basis=None, mode="none", num_classes=5) -> Inputs:
    rows = Rows(torch.zeros(1, 1))
    return Inputs(rows, torch.zeros(1, dtype=torch.int64), held_out, mode, num_classes, basis)


def loss_of(logits: np.ndarray, targets: np.ndarray) -> float:
    """The cross-entropy as scikit-learn computes it."""
    probabilities = torch.from_numpy(logits).double().softmax(1).numpy()
    return log_loss(targets, probabilities, labels=range(logits.shape[1]))


def test_validation_measures_the_held_out_samples_and_no_others(rng):
    """Of 40 rows, twelve in an order of their own; scikit-learn is the oracle."""
    logits = rng.normal(size=(40, 5))
    logits[13] = np.nan  # not held out: whoever looks at it is told
    positions = rng.permutation(np.delete(np.arange(40), 13))[:12]
    targets = np.concatenate((np.arange(5), rng.integers(0, 5, 7)))
    held_out = HeldOut(Rows(torch.from_numpy(logits)), positions, targets)
    figures = inputs(held_out).validate(_First(), Accelerator(cpu=True))
    chosen = logits[positions].astype(np.float32)
    assert figures["val_loss"] == pytest.approx(loss_of(chosen, targets))
    assert figures["val_top1"] == pytest.approx(top_k_accuracy_score(targets, chosen, k=1, labels=range(5)))
    assert figures["val_top3"] == pytest.approx(top_k_accuracy_score(targets, chosen, k=3, labels=range(5)))


def test_images_trained_on_are_measured_in_the_same_way_in_a_model_that_drops_nothing_out(rng):
    logits = rng.normal(size=(40, 5)).astype(np.float32)
    labels, sample = rng.integers(0, 5, 40), np.array([3, 8, 9, 30])
    held_out = HeldOut(Rows(torch.zeros(2, 5)), np.arange(2), np.arange(2))
    made = Inputs(Rows(torch.from_numpy(logits)), torch.from_numpy(labels), held_out, "none", 5, None, sample)
    figures = made.validate(_First().train(), Accelerator(cpu=True))
    assert figures["train_eval_loss"] == pytest.approx(loss_of(logits[sample], labels[sample]))
    assert figures["train_eval_top1"] == (logits[sample].argmax(1) == labels[sample]).mean()


def test_the_measured_training_images_are_some_of_them_in_proportion_and_the_same_in_every_run(rng):
    labels = np.repeat(np.arange(4), (100, 200, 300, 400))
    positions = np.delete(np.arange(1000), np.arange(0, 1000, 10))
    sample = choose_train_sample(labels, positions, 100)
    assert len(set(sample)) == 100
    assert set(sample) <= set(positions)
    # Balanced, a model that always says the largest class would seem better on val than on what it learned from.
    assert np.bincount(labels[sample]).tolist() == [10, 20, 30, 40]
    np.testing.assert_array_equal(choose_train_sample(labels, positions, 100), sample)
    assert len(choose_train_sample(labels, positions, 10_000)) == len(positions)
    many = np.zeros(9000, int)
    assert len(choose_train_sample(many, np.arange(9000), 5000)) == MAX_TRAIN_SAMPLE


@pytest.mark.parametrize(("classes", "topk"), [(2, {"val_top1"}), (3, {"val_top1", "val_top3"})])
def test_top3_is_measured_only_where_there_are_three_classes(classes, topk):
    held_out = HeldOut(Rows(torch.zeros(4, classes)), np.arange(4), np.zeros(4, dtype=int))
    figures = inputs(held_out, num_classes=classes).validate(_First(), Accelerator(cpu=True))
    assert set(figures) == {"val_loss", *topk}


def test_outputs_that_are_not_finite_are_refused():
    held_out = HeldOut(Rows(torch.full((3, 5), float("nan"))), np.arange(3), np.arange(3))
    with pytest.raises(NonFiniteLossError, match="validation: the model's outputs are not finite"):
        inputs(held_out).validate(_First(), Accelerator(cpu=True))


def test_without_held_out_samples_nothing_is_measured():
    assert inputs().validate(_First(), Accelerator(cpu=True)) == {}


@pytest.mark.parametrize("mode", ["none", "conv", "concat"])
def test_the_published_form_takes_features_and_says_what_the_trained_one_says_of_their_coordinates(mode, monkeypatch):
    monkeypatch.setattr("alexnet_skip.network.head.HIDDEN_SIZES", (16, 8))
    torch.manual_seed(0)
    main, tap = torch.randn(2, 30, NUM_FEATURES).unbind()
    joined = {"none": main, "conv": main + tap, "concat": torch.cat((main, tap), 1)}[mode]
    basis = fit_basis(lambda: [joined], 7, seed=0)
    made = inputs(basis=basis, mode=mode)
    trained = made.make_model().eval()
    if mode == "conv":
        nn.init.normal_(trained.skip.up, std=0.1)
    published = made.published_form(trained.state_dict())
    assert not published.training
    with torch.no_grad():
        coordinates = basis.transform(joined)
        torch.testing.assert_close(published(main, tap), trained(coordinates, tap), rtol=1e-3, atol=1e-3)


def test_making_the_published_form_draws_no_random_number():
    made = inputs()
    state = made.make_model().state_dict()
    before = torch.get_rng_state()
    made.published_form(state)
    assert torch.equal(torch.get_rng_state(), before)


def test_the_checksum_tells_another_basis_by_any_of_its_numbers_and_is_the_same_for_the_same():
    mean, projection = torch.arange(4.0), torch.arange(8.0).reshape(4, 2)
    more = torch.eye(4)[0]
    bases = (None, Basis(mean, projection), Basis(mean + more, projection), Basis(mean, projection + more[:, None]))
    checksums = [inputs(basis=basis).fixed_checksum for basis in bases]
    assert len(set(checksums)) == len(bases)
    assert checksums[0] == 0
    # Whatever order its numbers lie in: a basis from the cache and one just made are laid out differently.
    assert inputs(basis=Basis(mean.clone(), projection.T.contiguous().T)).fixed_checksum == checksums[1]
