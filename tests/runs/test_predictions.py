"""predictions.npz comes back as it was written, or is refused."""

import numpy as np
import pytest
from made_runs import make_predictions

from alexnet_skip.runs.predictions import Predictions, read_predictions, write_predictions
from alexnet_skip.system.errors import UserError


def equal(a: Predictions, b: Predictions) -> bool:
    return np.array_equal(a.logits, b.logits) and a.same_samples(b)


def test_predictions_come_back_as_they_were(tmp_path, rng):
    written = make_predictions(0.7, rng)
    write_predictions(tmp_path, written)
    assert equal(read_predictions(tmp_path), written)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_a_flipped_or_missing_byte_is_noticed_or_harmless(tmp_path, rng):
    written = make_predictions(0.7, rng, n=50)
    write_predictions(tmp_path, written)
    path = tmp_path / "predictions.npz"
    whole, refused = path.read_bytes(), 0
    for place in rng.integers(0, len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << int(rng.integers(8))
        for content in (bytes(damaged), whole[:place]):
            path.write_bytes(content)
            try:
                assert equal(read_predictions(tmp_path), written)
            except UserError:
                refused += 1
    assert refused > 200


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("logits", np.full((4, 3), np.nan)),
        ("logits", np.zeros((5, 3))),
        ("labels", np.array([0, 1, 2, 3])),
        ("labels", np.array([0, 1, 2, -1])),
        ("index", np.arange(3)),
        ("logits", np.array([[{}] * 3] * 4)),
    ],
)
def test_arrays_that_do_not_fit_are_refused(tmp_path, name, value):
    arrays = {"logits": np.zeros((4, 3)), "labels": np.zeros(4, int), "index": np.arange(4), "digest": np.array("d")}
    np.savez(tmp_path / "predictions.npz", **(arrays | {name: value}))
    with pytest.raises(UserError, match="damaged"):
        read_predictions(tmp_path)


def test_missing_predictions_are_told_apart_from_damaged_ones(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_predictions(tmp_path)
