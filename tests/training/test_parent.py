"""A run that begins with the published model of another stands behind its own first stage, with that model the best."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.train import TrainingSettings, TrainSettings
from alexnet_skip.system.errors import UserError
from alexnet_skip.training import parent

JUDGED = {"val_top1": 0.75, "val_loss": 1.5, "train_loss": 2.0}
FOLDER = Path("runs/parent")


@pytest.fixture
def begin(monkeypatch):
    """Begins with a model of these figures, published after an epoch, by other weights or of another digest."""

    def state_of_parent(
        figures=JUDGED, epoch: int | None = 2, basis=None, digest="m" * 64, weights="w" * 64, started_with="m" * 64
    ):
        published = SimpleNamespace(trained=nn.Linear(3, 2), backbone=SimpleNamespace(weights_digest=weights))
        monkeypatch.setattr(parent, "published_folder", lambda run, checkpoint: run / checkpoint)
        monkeypatch.setattr(
            parent, "published_digest", lambda run, checkpoint: {FOLDER: {"best": digest}}[run][checkpoint]
        )
        about = SimpleNamespace(metrics=figures, epoch=epoch)
        monkeypatch.setattr(parent, "load_published", lambda where: {FOLDER / "best": (published, about)}[where])
        trainer = SimpleNamespace(
            settings=TrainSettings(
                training=TrainingSettings(epochs=5), finetuning=FinetuneSettings(finetune=1, finetune_from=str(FOLDER))
            ),
            session=SimpleNamespace(
                backbone=SimpleNamespace(weights_digest="w" * 64),
                accelerator=SimpleNamespace(device=torch.device("meta")),
            ),
            config=SimpleNamespace(parent_sha256=started_with),
            inputs=SimpleNamespace(basis=basis),
        )
        return parent.state_of_parent(trainer), published.trained

    return state_of_parent


def test_it_stands_behind_its_first_stage_with_the_parents_model_and_figures_the_best_so_far(begin):
    state, trained = begin()
    assert (state.epoch, state.best_epoch, state.best_score) == (6, 2, (0.75, -1.5))
    assert state.best_figures == state.figures == JUDGED
    assert {name: value.shape for name, value in state.best_state.items()} == {"weight": (2, 3), "bias": (2,)}
    assert {value.device.type for value in state.best_state.values()} == {"meta"}, "where it is trained on"
    assert trained.weight.device.type == "cpu"


def test_where_nothing_was_held_out_its_last_epoch_is_the_best_and_any_later_one_is_better(begin):
    state, _ = begin(figures={"train_loss": 2.0}, epoch=None)
    assert (state.best_epoch, state.best_score) == (5, (5.0, 0.0))
    state.finish_epoch({"train_loss": 3.0}, {"weight": torch.ones(1)})
    assert state.best_epoch == 6


@pytest.mark.parametrize(("top1", "loss", "best"), [(0.8, 9.0, 6), (0.75, 1.4, 6), (0.75, 1.5, 2), (0.7, 0.1, 2)])
def test_an_epoch_of_its_own_is_the_best_only_if_it_is_better_than_the_parents(begin, top1, loss, best):
    state, _ = begin()
    state.finish_epoch({"val_top1": top1, "val_loss": loss}, {"weight": torch.ones(1)})
    assert (state.best_epoch, "bias" in state.best_state) == (best, best == 2)


@pytest.mark.parametrize(
    ("about", "told"),
    [
        ({"digest": "0" * 64}, "its model is another one than this run was started with"),
        ({"weights": "0" * 64}, r"not those of --weights imagenet \(SHA-256 000000000000 and wwwwwwwwwwww\)"),
        ({"basis": "a basis"}, "no basis of ours; bring its feature cache back, or train the run again"),
    ],
)
def test_another_model_other_weights_and_another_basis_are_refused(begin, monkeypatch, about, told):
    def unfolded(trained, basis):
        raise ValueError(f"no {basis.removeprefix('a ')} of ours")

    monkeypatch.setattr(parent, "unfolded", unfolded)
    with pytest.raises(UserError, match=f"--finetune-from .*parent: .*{told}"):
        begin(**about)


def test_a_run_of_a_version_that_kept_no_digest_is_taken_at_its_word(begin):
    assert begin(started_with=None, digest="0" * 64)[0].best_epoch == 2


def test_in_a_basis_the_head_is_unfolded_into_it(begin, monkeypatch):
    monkeypatch.setattr(parent, "unfolded", lambda trained, basis: nn.Linear(1, basis, bias=False))
    assert {name: value.shape for name, value in begin(basis=4)[0].best_state.items()} == {"weight": (4, 1)}
