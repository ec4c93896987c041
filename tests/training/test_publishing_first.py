"""No run trains all its epochs and then finds that it can't publish."""

import pytest
from tiny_run import ARGUMENTS, shrink

import train
from alexnet_skip.training import run
from alexnet_skip.training.inputs import Inputs
from alexnet_skip.training.trainer import Trainer


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(Trainer, "step", lambda *_: pytest.fail("it began to train"))


@pytest.fixture
def start(whole_run, tmp_path):
    """Starts a run on a warm cache; returns its exit code."""
    places = ["--cache-dir", str(whole_run / "cache"), "--runs-dir", str(tmp_path / "runs")]
    return lambda: train.main([*ARGUMENTS, *places])


def test_a_model_whose_weights_have_other_names_is_refused_before_the_first_step(start, monkeypatch, capsys):
    published = Inputs.published_form
    renamed = lambda inputs, state: published(inputs, {f"_orig_mod.{name}": v for name, v in state.items()})  # noqa: E731
    monkeypatch.setattr(Inputs, "published_form", renamed)
    assert start() == 2
    assert "the model can't be published as Accelerate has prepared it" in capsys.readouterr().err


def test_a_disk_without_room_for_the_models_is_refused_before_the_first_step(start, monkeypatch, capsys):
    monkeypatch.setattr(run, "free_disk_bytes", lambda _: 2**20)
    assert start() == 2
    assert "has 1 MiB of room, but the 3 models of this run need" in capsys.readouterr().err
