"""Which runs are compared and what they are called; what a side's models tell is told at each one's temperature."""

import numpy as np
import pytest
from made_runs import make_predictions, make_published, make_run, tell

from alexnet_skip.statistics.metrics import softmax
from alexnet_skip.study.sides import find_study, in_words, left_out, read_sides, sides_of_runs, sides_of_study
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json

NAMES = ("cat", "dog", "bird")


@pytest.mark.parametrize(("checkpoint", "place"), [("epoch-4", "snapshots/epoch-0004"), ("best", "model")])
def test_each_seeds_probabilities_are_those_of_its_own_published_model(tmp_path, rng, checkpoint, place):
    temperatures = {"none": (2.0, 0.5), "conv": (3.0, None)}
    for variant, fitted in temperatures.items():
        for seed, temperature in enumerate(fitted):
            found = make_predictions(0.7, rng, n=30, classes=3)
            run = make_run(
                tmp_path / f"{variant}-{seed}", {f"test-{checkpoint}": found}, NAMES, variant=variant, seed=seed
            )
            if temperature is not None:  # else the model is gone
                make_published(run / place, NAMES, temperature)
    sides = sides_of_study(tmp_path)
    for side, predictions in zip(sides, read_sides(sides, "test", checkpoint)[1], strict=True):
        fitted = temperatures[side.variant]
        assert side.temperatures(checkpoint) == list(fitted)
        for told, one, temperature in zip(
            side.probabilities(predictions, checkpoint), predictions, fitted, strict=True
        ):
            np.testing.assert_allclose(told, softmax(one.logits / (temperature or 1)))


@pytest.mark.parametrize(("splits", "taken"), [(("train", "test"), None), (("train",), "val"), ((), "val")])
def test_val_stands_in_for_a_test_split_only_where_none_is_known(tmp_path, rng, splits, taken):
    run = make_run(tmp_path / "a", {"val-best": make_predictions(0.7, rng, n=30, classes=3)}, NAMES)
    tell(run, dataset=read_json(run / "config.json")["dataset"] | {"splits": splits})
    sides = sides_of_runs(tmp_path, ["a"])
    if taken:
        assert read_sides(sides, "test", "best")[0] == taken
    else:
        with pytest.raises(UserError, match="no predictions of best on test; make them first, or ask for those on val"):
            read_sides(sides, "test", "best")


def made(folder, runs: dict[str, tuple[int, ...]]):
    for variant, seeds in runs.items():
        for seed in seeds:
            make_run(folder / f"{variant}-seed{seed}", {}, NAMES, variant=variant, seed=seed)
    return folder


def test_runs_that_are_not_compared_are_told_with_the_reason_for_each(tmp_path):
    study = made(tmp_path / "s", {"none": (0, 1), "conv": (0, 1, 2), "concat": (5,)})
    make_run(study / "none-seed2", {}, NAMES, seed=2)
    (study / "none-seed2" / "summary.json").unlink()
    sides = sides_of_study(study)
    assert [(side.variant, side.seeds) for side in sides] == [("none", (0, 1)), ("conv", (0, 1))]
    left = left_out(study, sides)
    assert left == {
        "concat-seed5": "skip (concat), seed 5: too few seeds in common",
        "conv-seed2": "skip (conv), seed 2: some form compared lacks this seed",
        "none-seed2": "not finished",
    }
    (told,) = in_words(left)
    assert told.startswith("Left out, 3 of the study's runs: concat-seed5 (skip (concat), seed 5")
    assert left_out(None, sides) == {}
    assert in_words({}) == []


def test_a_study_without_a_common_seed_says_how_to_go_on_in_its_own_settings(tmp_path):
    study = made(tmp_path / "s", {"none": (0,), "conv": (3,)})
    with pytest.raises(UserError, match=r"--study .*--study-variants none conv --seeds 0 3 .*--name s$") as told:
        sides_of_study(study)
    assert "--epochs 4" in str(told.value)
    for run in study.iterdir():
        (run / "summary.json").unlink()
    with pytest.raises(UserError, match=r"\(nothing is finished\); go on with it by the command that began it$"):
        sides_of_study(study)


def test_a_damaged_run_is_told_and_hides_no_study(tmp_path):
    older = made(tmp_path / "older", {"none": (0,), "conv": (0,)})
    newer = made(tmp_path / "newer", {"none": (1,)})
    (newer / "none-seed1" / "config.json").write_text("{")
    told = []
    assert find_study(tmp_path, (), told.append) == older
    (left_out,) = told
    assert left_out.startswith(f"{newer / 'none-seed1'} is left out: ")


def test_a_folder_of_plain_runs_is_not_taken_for_the_newest_study(tmp_path):
    make_run(tmp_path / "plain" / "newer", {}, NAMES, seed=30, snapshot_epochs=())
    with pytest.raises(UserError, match="holds no study"):
        find_study(tmp_path, ())
    study = made(tmp_path / "s", {"none": (0,), "conv": (0,)})
    assert find_study(tmp_path, ()) == study
    with pytest.raises(UserError, match="plain is no study"):
        sides_of_study(find_study(tmp_path, ("plain",)))


def test_runs_of_one_name_are_told_apart_by_their_parents(tmp_path):
    for place in ("x/a", "x/b", "y/b", "runs"):
        make_run(tmp_path / place / "conv-seed0", {}, NAMES)
    make_run(tmp_path / "x" / "alone", {}, NAMES)
    paths = [str(tmp_path / place) for place in ("x/a/conv-seed0", "x/b/conv-seed0", "y/b/conv-seed0", "x/alone")]
    sides = sides_of_runs(tmp_path / "runs", [*paths, "conv-seed0", paths[0]])
    expected = ["a/conv-seed0", "x/b/conv-seed0", "y/b/conv-seed0", "alone", "conv-seed0", "a/conv-seed0"]
    assert [side.name for side in sides] == expected
    assert len({side.stem for side in sides}) == len(paths) + 1


def test_names_too_long_for_a_file_are_still_told_apart(tmp_path):
    for end in "ab":
        make_run(tmp_path / f"{'long' * 20}{end}", {}, NAMES)
    stems = [side.stem for side in sides_of_runs(tmp_path, [f"{'long' * 20}{end}" for end in "ab"])]
    assert stems[0] != stems[1]
    assert all(len(stem) <= 60 for stem in stems)
