"""When a run is saved and stopped: after so many minutes or epochs, on a signal, and alike on every process."""

import random
import signal
from contextlib import suppress
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from alexnet_skip.settings.shared import CheckpointSettings
from alexnet_skip.system.commands import shell_word
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.interruption import ENDING, InterruptedRunError
from alexnet_skip.training import saving
from alexnet_skip.training.saving import Checkpointer, random_state, restore_random_state


class Told(list):
    """A console that keeps what it is told."""

    def line(self, text, **_):
        self.append(text)


# No signal, and no reason to save.
NOTHING = (0,) * (len(ENDING) + 1)


class Processes:
    """As much of an Accelerator as saving looks at; the others' part of a sum is given."""

    device = torch.device("cpu")

    def __init__(self, num_processes=1, is_main_process=True, others=NOTHING):
        self.num_processes, self.is_main_process, self.others = num_processes, is_main_process, others
        self.trackers, self.waited = [], 0

    def reduce(self, mine, how):
        assert how == "sum"
        return mine + torch.tensor(self.others)

    def wait_for_everyone(self):
        self.waited += 1


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=1000.0)
    monkeypatch.setattr(saving.time, "monotonic", lambda: now.seconds)
    return now


def checkpointer(folder, processes=None, **settings) -> Checkpointer:
    return Checkpointer(folder / "run", CheckpointSettings(**settings), processes or Processes(), Told())


def test_a_run_is_saved_every_so_many_minutes_since_it_was_last_saved(tmp_path, clock):
    saver = checkpointer(tmp_path, checkpoint_minutes=0.5)
    clock.seconds += 29
    assert saver.look(due=False) == (False, 0)
    clock.seconds += 1
    assert saver.look(due=False) == (True, 0)
    saver.save(1, {"epoch": 1}, None)
    clock.seconds += 29
    assert saver.look(due=False) == (False, 0)
    assert saver.look(due=True) == (True, 0)


def test_zero_minutes_never_save(tmp_path, clock):
    saver = checkpointer(tmp_path, checkpoint_minutes=0)
    clock.seconds += 1e9
    assert saver.look(due=False) == (False, 0)


def test_a_run_is_saved_after_every_so_many_epochs(tmp_path):
    saver = checkpointer(tmp_path, checkpoint_epochs=3)
    assert [epoch for epoch in range(1, 10) if saver.is_due_after_epoch(epoch, 20)] == [3, 6, 9]
    assert not any(checkpointer(tmp_path).is_due_after_epoch(epoch, 20) for epoch in range(10))


def test_a_run_is_saved_after_its_last_epoch_unless_it_never_is(tmp_path):
    for settings in ({}, {"checkpoint_epochs": 5}, {"checkpoint_minutes": 0, "checkpoint_epochs": 20}):
        saver = checkpointer(tmp_path, **settings)
        assert saver.is_due_after_epoch(12, 12)
        assert not saver.is_due_after_epoch(11, 12)
    assert not checkpointer(tmp_path, checkpoint_minutes=0).is_due_after_epoch(12, 12)


def test_as_many_checkpoints_are_kept_as_are_asked_for_and_the_best_besides(tmp_path):
    for keep in (1, 3):
        saver = checkpointer(tmp_path / str(keep), keep_checkpoints=keep)
        for step in range(1, 7):
            saver.save(step, {"step": step}, (0.9 if step == 2 else 0.1, 0.0))
        kept = [int(path.name.removeprefix("step-")) for path in saver.store.complete()]
        assert kept == sorted({2, *range(7 - keep, 7)})
        assert saver.newest() == ("step-00000006", {"step": 6})


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([], (False, 0)), (["due"], (True, 0)), *(([number], (True, number)) for number in ENDING),
        ([*ENDING, "due"], (True, signal.SIGINT)),
    ],
)  # fmt: skip
def test_what_comes_to_one_process_counts_for_all(tmp_path, others, expected):
    saver = checkpointer(tmp_path, Processes(3, others=[int(what in others) for what in (*ENDING, "due")]))
    assert saver.look(due=False) == expected
    assert any("Asked to stop" in line for line in saver.console) == bool(expected[1])


@pytest.mark.parametrize("number", ENDING)
@pytest.mark.parametrize("num_processes", [1, 3])
def test_a_signal_that_came_to_this_process_is_told_to_all(tmp_path, number, num_processes):
    saver = checkpointer(tmp_path, Processes(num_processes))
    looked = []
    with suppress(InterruptedRunError), saver as inside:
        signal.raise_signal(number)
        looked.append(inside.look(due=False))
        inside.stop(number, "epoch 1", None)
    assert looked == [(True, number)]


def test_who_stops_says_where_it_stands_what_is_saved_and_how_to_go_on(tmp_path):
    saver = checkpointer(tmp_path / "a b")
    for place, kept in ((tmp_path, f"Saved in {tmp_path}."), (None, "Nothing newer than the last checkpoint is saved")):
        with pytest.raises(InterruptedRunError) as stopped:
            saver.stop(15, "epoch 2, step 1 of 6", place)
        assert stopped.value.exit_code == 143
        assert saver.console[-1].startswith(f"Stopped in epoch 2, step 1 of 6. {kept}")
        assert saver.console[-1].endswith(f"train.py --resume {shell_word(str(tmp_path / 'a b' / 'run'))}")


def test_what_is_not_trained_again_is_on_the_curves_and_a_disk_that_refuses_ends_nothing(tmp_path, monkeypatch):
    saver, flushed = checkpointer(tmp_path), []
    saver.accelerator.trackers = [SimpleNamespace(tracker=SimpleNamespace(flush=lambda: flushed.append(1)))]
    saved = saver.save(5, {"a": 1}, None)
    assert saved == tmp_path / "run" / "checkpoints" / "step-00000005"
    assert saver.last_good() == f"the last good checkpoint is {saved}"

    def refuse(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saver.store, "save", refuse)
    assert saver.save(6, {"a": 1}, None) is None
    assert "(No space left on device): the run goes on" in saver.console[-1]
    assert (len(flushed), saver.accelerator.waited) == (2, 2)


def test_only_the_main_process_writes_and_removes(tmp_path):
    other = checkpointer(tmp_path, Processes(2, is_main_process=False))
    assert other.save(1, {"a": 1}, None) is None
    assert other.accelerator.waited == 1
    assert other.last_good() == "no checkpoint was saved before"
    main = checkpointer(tmp_path)
    main.save(1, {"a": 1}, None)
    other.finish()
    assert main.store.complete()
    main.finish()
    assert not main.store.complete()


def test_checkpoints_that_were_asked_for_stay_when_the_run_is_published(tmp_path):
    saver = checkpointer(tmp_path, checkpoint_epochs=1)
    saver.save(1, {"a": 1}, None)
    saver.finish()
    assert saver.store.complete()


def test_without_a_checkpoint_there_is_nothing_to_go_on_from(tmp_path):
    assert checkpointer(tmp_path).newest() is None


@pytest.mark.parametrize("there", [True, False])
def test_a_cards_random_numbers_go_on_where_there_is_one(monkeypatch, there):
    restored = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: there)
    monkeypatch.setattr(torch.cuda, "set_rng_state", restored.append)
    state = saving.random_state(torch.device("cpu"))
    saving.restore_random_state(state | {"cuda": "its state"})
    saving.restore_random_state(state)
    assert restored == ["its state"] * there


def test_random_numbers_go_on_where_they_were():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item()  # noqa: NPY002

    draw()
    state = random_state(torch.device("cpu"))
    drawn = draw()
    assert all(a != b for a, b in zip(draw(), drawn, strict=True))
    restore_random_state(state)
    assert draw() == drawn


def test_where_one_process_lacks_the_checkpoint_all_are_refused_alike(tmp_path, monkeypatch):
    """On several machines only the first has written it; alone in its traceback, one would leave the others waiting."""
    monkeypatch.setattr(saving, "broadcast_object_list", lambda _: ["step-00000005"])
    there = checkpointer(tmp_path, Processes(2, is_main_process=True))
    monkeypatch.setattr(there.store, "newest", lambda _: (there.store.folder / "step-00000005", {"epoch": 1}))
    lacking = checkpointer(tmp_path / "other", Processes(2, is_main_process=False))
    told = {}
    for name, saver, others in (("here", there, ["not there"]), ("there", lacking, [None])):
        monkeypatch.setattr(saving, "gather_object", lambda mine, others=others: [*others, *mine])
        with pytest.raises(UserError, match="not every process has the whole checkpoint step-00000005") as caught:
            saver.newest()
        told[name] = str(caught.value)
    assert "copy" in told["here"]
    monkeypatch.setattr(saving, "gather_object", lambda mine: [None, *mine])
    assert there.newest() == ("step-00000005", {"epoch": 1})
