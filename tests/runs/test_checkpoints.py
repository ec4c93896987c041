"""Checkpoints: what is read is what was written, or nothing."""

import json
import shutil

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from alexnet_skip.runs import checkpoints
from alexnet_skip.runs.checkpoints import CheckpointStore, DamagedCheckpointError
from alexnet_skip.system.tensors import flatten, rebuild

SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
TREES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
)


def same(a, b) -> bool:
    """Equal in type and value, to the last bit of a number."""
    if isinstance(a, dict):
        return type(b) is dict and list(a) == list(b) and all(same(a[k], b[k]) for k in a)
    if isinstance(a, list | tuple):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@given(TREES)
def test_any_nested_state_survives_json(value):
    tree, tensors = flatten(value)
    assert same(rebuild(json.loads(json.dumps(tree, allow_nan=False)), tensors), value)


def test_what_could_only_be_pickled_is_refused():
    with pytest.raises(TypeError, match="no form without pickle"):
        flatten({"a": [object()]})
    with pytest.raises(TypeError, match="keys must be"):
        flatten({(1, 2): 3})


def state(step: int) -> dict:
    torch.manual_seed(step)
    parameter = torch.nn.Parameter(torch.randn(3, 4))
    shared = torch.arange(6.0).reshape(2, 3)
    return {
        "parameter": parameter, "transposed": shared.T, "shared": shared, "half": torch.ones(2, dtype=torch.float16),
        "scalar": torch.tensor(float(step)), "random": torch.get_rng_state(), "array": np.arange(3, dtype=np.uint32),
        0: {"step": step, "rate": 1 / 3, "nothing": None, "pair": (1, [2.5, float("inf")])},
    }  # fmt: skip


def test_tensors_come_back_bit_for_bit_with_dtype_and_shape(tmp_path):
    store, written = CheckpointStore(tmp_path, 2), state(7)
    read = store.load(store.save(7, written))
    for name in ("parameter", "transposed", "shared", "half", "scalar", "random"):
        assert torch.equal(read[name], written[name].detach())
        assert read[name].dtype == written[name].dtype
    np.testing.assert_array_equal(read["array"], written["array"])
    assert read["array"].dtype == np.uint32
    assert read[0] == written[0]
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and p.suffix not in (".safetensors", ".json")]


def steps(store: CheckpointStore) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in store.complete()]


def test_the_last_ones_and_the_best_are_kept_until_all_are_removed(tmp_path):
    store = CheckpointStore(tmp_path / "run" / "checkpoints", 2)
    for step, score in enumerate((0.1, 0.9, 0.3, None, 0.4, 0.2), start=1):
        store.save(step, state(step), score and (score, -1.0))
    assert steps(store) == [2, 5, 6]
    for _ in range(2):
        store.remove_all()
        assert not (tmp_path / "run" / "checkpoints").exists()


def test_one_whose_removal_is_interrupted_does_not_look_whole(tmp_path, monkeypatch):
    store, remove = CheckpointStore(tmp_path, 1), shutil.rmtree
    store.save(1, state(1))

    def interrupted(path, **options):
        if path.name == "step-00000001":
            raise KeyboardInterrupt
        remove(path, **options)

    monkeypatch.setattr(shutil, "rmtree", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.save(2, state(2))
    assert steps(store) == [2]
    assert (tmp_path / "step-00000001").exists()


def test_a_step_saved_twice_is_no_error(tmp_path):
    """A run that was taken up stops again before its next step; and a damaged one is replaced."""
    store = CheckpointStore(tmp_path, 2)
    place = store.save(3, state(3))
    assert store.save(3, state(3)) == place
    (place / "state.json").write_text("{}")
    store.save(3, state(3))
    assert store.load(place)[0]["step"] == 3


def test_an_incomplete_one_is_passed_over_with_a_message_and_cleared_by_the_next(tmp_path):
    store, told = CheckpointStore(tmp_path, 2), []
    store.save(3, state(3))
    (store.save(4, state(4)) / "complete.json").unlink()
    (tmp_path / "step-00000005.tmp").mkdir()
    (tmp_path / "step-00000005.tmp" / "state.json").write_text("{")
    path, read = store.newest(told.append)
    assert (path.name, read[0]["step"]) == ("step-00000003", 3)
    assert any("step-00000004 is incomplete" in line for line in told)
    store.save(6, state(6))
    assert {p.name for p in tmp_path.iterdir()} >= {"step-00000003", "step-00000006"}
    assert not list(tmp_path.glob("*.tmp"))


def test_a_checkpoint_that_cannot_be_written_costs_none_of_the_older_ones(tmp_path, monkeypatch):
    store = CheckpointStore(tmp_path, 1)
    store.save(1, state(1))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    for name in ("save_tensors", "write_json", "sync_folder"):
        with monkeypatch.context() as patch:
            patch.setattr(f"alexnet_skip.runs.checkpoints.{name}", full)
            with pytest.raises(OSError, match="No space left"):
                store.save(2, state(2))
        assert store.newest(lambda line: None)[0].name == "step-00000001"

    def full_for_the_marker(path, value, write=checkpoints.write_json):
        return full() if path.name == checkpoints.MARKER else write(path, value)

    monkeypatch.setattr(checkpoints, "write_json", full_for_the_marker)
    with pytest.raises(OSError, match="No space left"):
        store.save(2, state(2))
    assert store.newest(lambda line: None)[0].name == "step-00000001"
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("file", ["state.safetensors", "state.json", "complete.json"])
def test_a_flipped_bit_anywhere_is_detected_or_harmless(tmp_path, rng, file):
    store = CheckpointStore(tmp_path, 2)
    place = store.save(3, state(3), (0.5, -1.0))
    whole, tree = (place / file).read_bytes(), flatten(store.load(place))[0]
    for offset in rng.integers(0, len(whole), 40):
        damaged = bytearray(whole)
        damaged[offset] ^= 1 << rng.integers(0, 8)
        (place / file).write_bytes(damaged)
        try:
            read = store.load(place)
        except DamagedCheckpointError:
            continue
        assert file == "complete.json", "only in the marker can a byte mean nothing (its score, white space)"
        assert flatten(read)[0] == tree
    (place / file).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DamagedCheckpointError):
        store.load(place)
