"""Where a run stands: the best epoch so far, and a state that a checkpoint brings back whole."""

import pytest
import torch

from alexnet_skip.training.state import EpochProgress, RunState


def figures(top1, loss):
    return {"val_top1": top1, "val_loss": loss}


@pytest.mark.parametrize(
    ("epochs", "best"),
    [
        ([(0.5, 1.0), (0.6, 2.0), (0.55, 0.1)], 2),  # top-1 counts first
        ([(0.5, 1.0), (0.5, 0.9), (0.5, 0.95)], 2),  # then the loss
        ([(0.5, 1.0), (0.5, 1.0)], 1),  # of equal ones the first
        ([(0.0, 5.0)], 1),
    ],
)
def test_the_best_epoch_is_kept_with_its_figures_and_a_copy_of_its_weights(epochs, best):
    state, weights = RunState(), {"w": torch.zeros(1)}
    for number, (top1, loss) in enumerate(epochs, 1):
        assert state.epoch == number
        weights["w"].fill_(number)
        state.progress.steps = 7
        state.finish_epoch(figures(top1, loss), weights)
        assert state.progress.steps == 0
        assert state.figures == figures(top1, loss)
    assert (state.best_epoch, state.best_figures) == (best, figures(*epochs[best - 1]))
    assert state.best_score == (epochs[best - 1][0], -epochs[best - 1][1])
    assert state.best_state["w"].item() == best, "a copy: training goes on in place"


def test_where_nothing_is_held_out_the_last_epoch_is_the_best():
    state = RunState()
    for number in (1, 2, 3):
        state.finish_epoch({"train_loss": 1.0}, {"w": torch.tensor(number)})
    assert (state.best_epoch, state.best_state["w"].item()) == (3, 3)


def test_a_state_survives_its_dictionary():
    state = RunState(progress=EpochProgress(3, 40, torch.ones(2), 1.5), history=[{"epoch": 1}])
    state.finish_epoch(figures(0.5, 1.0), {"w": torch.ones(1)})
    state.progress = EpochProgress(2, 30, torch.ones(2).double(), 2.5)
    again = RunState.from_dict(state.as_dict())
    assert vars(again) | {"progress": vars(again.progress)} == state.as_dict()
    assert isinstance(again.progress, EpochProgress)
    with pytest.raises(KeyError):
        RunState.from_dict({})
    with pytest.raises(TypeError):
        RunState.from_dict(state.as_dict() | {"of another version": 1})


def test_an_epoch_begins_with_sums_of_nothing_in_double_precision():
    assert EpochProgress().totals.tolist() == [0, 0]
    assert EpochProgress().totals.dtype == torch.float64
