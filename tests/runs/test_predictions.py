"""predictions.npz comes back as it was written, or is refused."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import make_predictions, make_run

from alexnet_skip.runs.predictions import Predictions, kept_predictions, read_predictions, write_predictions
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json, write_sealed_json


def equal(a: Predictions, b: Predictions) -> bool:
    same_names = (a.class_names, a.files) == (b.class_names, b.files)
    return np.array_equal(a.logits, b.logits) and a.same_samples(b) and same_names


def test_predictions_come_back_as_they_were(tmp_path, rng):
    written = make_predictions(0.7, rng)
    names, files = tuple("가나다라마바사아자차"), tuple(f"test/가/={number}.png" for number in range(400))
    for each in (written, dataclasses.replace(written, class_names=names, files=files)):
        write_predictions(tmp_path, each)
        assert equal(read_predictions(tmp_path), each)
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_figures_go_with_the_predictions_they_are_of_and_stay_where_new_ones_are_refused(tmp_path, rng, monkeypatch):
    write_predictions(tmp_path, make_predictions(0.7, rng))
    (tmp_path / "metrics.json").write_text("{}")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(OSError, match="No space left"):
            write_predictions(tmp_path, make_predictions(0.2, rng))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["metrics.json", "predictions.npz"]
    write_predictions(tmp_path, make_predictions(0.2, rng))
    assert [path.name for path in tmp_path.iterdir()] == ["predictions.npz"]


def test_what_is_right_and_of_the_same_samples_is_told_row_by_row(rng):
    one = make_predictions(0.7, rng, n=20)
    rows = zip(one.logits.tolist(), one.labels.tolist(), strict=True)
    assert one.correct.tolist() == [row.index(max(row)) == label for row, label in rows]
    assert 0 < one.correct.sum() < 20
    assert one.same_samples(make_predictions(0.2, rng, n=20)), "whatever is said of them"
    for other in ({"digest": "e" * 64}, {"index": one.index + 1}, {"labels": one.labels[::-1].copy()}):
        assert not one.same_samples(dataclasses.replace(one, **other))


def test_the_evaluation_that_is_meant_is_found_and_no_other_is_taken_for_it(tmp_path, rng):
    names = ("val-best", "test-best-on-others", "test-last", "test-last-tta", "val-last")
    done = {name: make_predictions(0.5, rng, n=10 + number) for number, name in enumerate(names)}
    run = make_run(tmp_path / "run", done, tuple("abcdefghij"))
    told = read_json(run / "config.json")

    def of_images_with(*splits: str) -> None:
        write_sealed_json(run / "config.json", told | {"dataset": told["dataset"] | {"splits": splits}})

    def found(*asked: str, **more: Any) -> str:
        where, predictions = kept_predictions(run, *asked, **more)
        assert equal(predictions, done[where.name])
        return where.name

    for splits in ((), ("train", "test")):
        of_images_with(*splits)
        with pytest.raises(UserError, match=r"has no predictions of best on test; make them first, or .*\(--split val"):
            found("test", "best")
    of_images_with("train", "val")
    assert found("test", "best") == "val-best", "which stands in for it, and not what is of other images"
    assert found("test", "best", wanted=lambda one: len(one.labels) == 11) == "test-best-on-others"
    assert found("test", "last") == "test-last"
    assert found("test", "last", tta=True) == "test-last-tta"
    assert found("val", "last") == "val-last"
    (run / "evaluation" / "val-best" / "predictions.npz").unlink()
    for more, told in (({}, "best$"), ({"tta": True}, "best --tta$"), ({"dataset": "x"}, "best --dataset x$")):
        with pytest.raises(UserError, match="has no predictions of best on test; make them first:[^:]*" + told):
            kept_predictions(run, "test", "best", **more)


def test_predictions_of_before_names_were_kept_are_read():
    old = Path(__file__).parent / "made_by_45f7acc" / "run" / "evaluation" / "test-best"
    with np.load(old / "predictions.npz") as file:
        assert not {"class_names", "files"} & set(file)
    read = read_predictions(old)
    assert (read.class_names, read.files) == ((), ())


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
        ("files", np.array(["a.png"])),
        ("class_names", np.array(["a", "b"])),
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
