"""A study is told from any other folder of runs, and as many of its runs as can be are compared."""

import dataclasses
from itertools import chain, combinations
from pathlib import Path

import pytest
from made_runs import make_run

from alexnet_skip.settings.records import read_run_config
from alexnet_skip.settings.shared import VARIANTS
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.study.grid import comparable, finished_runs, study_command
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json, write_sealed_json

NAMES = ("cat", "dog")
THREE = {0, 1, 2}


def set_training(run: Path, **values) -> None:
    config = read_json(run / "config.json")
    config["settings"]["training"] |= values
    write_sealed_json(run / "config.json", config)


@pytest.mark.parametrize(
    ("seeds", "forms", "shared"),
    [
        ({"none": THREE, "conv": THREE}, "none conv", (0, 1, 2)),
        ({"none": THREE, "conv": THREE, "concat": {5}}, "none conv", (0, 1, 2)),
        ({"none": THREE, "conv": THREE, "concat": {0}}, "none conv", (0, 1, 2)),
        ({"none": THREE, "conv": THREE, "concat": {0, 2}}, "none conv concat", (0, 2)),
        ({"none": {0, 1}, "identity": {0, 1}, "conv": {0}, "concat": {0}}, "none identity conv concat", (0,)),
        ({"none": {1}, "conv": THREE, "concat": THREE}, "none conv concat", (1,)),
        ({"none": {7}, "conv": THREE, "concat": THREE}, "conv concat", (0, 1, 2)),
    ],
)
def test_as_many_runs_are_compared_as_have_their_seeds_in_common_and_the_reference_stays(seeds, forms, shared):
    assert comparable(seeds, 2) == (tuple(forms.split()), shared)


def test_no_other_choice_with_the_reference_compares_more_runs(rng):
    for _ in range(200):
        seeds = {name: set(rng.choice(5, rng.integers(1, 5), replace=False).tolist()) for name in VARIANTS}
        found = comparable(seeds, 2)
        sizes = [
            len(forms) * len(shared)
            for forms in chain.from_iterable(combinations(VARIANTS, size) for size in (2, 3, 4))
            if forms[0] == "none" and (shared := set.intersection(*(seeds[form] for form in forms)))
        ]
        if sizes:
            assert len(found[0]) * len(found[1]) == max(sizes)
            assert all(set(found[1]) <= seeds[form] for form in found[0])


def test_where_no_forms_share_a_seed_there_is_nothing_to_compare_but_one_form_to_show():
    apart = {"none": {0}, "conv": {1, 2}}
    assert comparable(apart, 2) is None
    assert comparable({}, 1) is None
    assert comparable(apart, 1) == (("none",), (0,))


def made_study(folder: Path) -> Path:
    for variant in ("conv", "none"):
        for seed in (0, 1):
            make_run(folder / f"{variant}-seed{seed}", {}, NAMES, variant=variant, seed=seed)
    return folder


def test_runs_of_a_study_are_found_by_form_and_seed_the_reference_first(tmp_path):
    study = made_study(tmp_path / "s")
    (study / "none-seed1" / "summary.json").unlink()
    set_training(study / "none-seed1", lr=0.5)  # not finished: trained anew, or refused, by train.py
    found = finished_runs(study)
    assert [(form, list(runs)) for form, runs in found.items()] == [("none", [0]), ("conv", [0, 1])]
    assert found["conv"][1].folder == study / "conv-seed1"


def test_a_folder_of_other_runs_is_no_study_and_the_reason_is_told(tmp_path):
    study = made_study(tmp_path / "s")
    make_run(study / "again", {}, NAMES, variant="conv", seed=1)
    with pytest.raises(UserError, match=r"s is no study: .*again and .*conv-seed1 have the same form \(conv\)"):
        finished_runs(study)
    set_training(study / "again", lr=0.5, seed=7)
    with pytest.raises(UserError, match=r"--lr is 0.5 in .*again, but 0.002 in .*conv-seed0; name a study"):
        finished_runs(study)
    plain = tmp_path / "plain"
    make_run(plain / "one", {}, NAMES, snapshot_epochs=())
    with pytest.raises(UserError, match=r"plain is no study: --snapshot-epochs of .*one is empty, not a low and"):
        finished_runs(plain)


def test_the_command_of_a_study_asks_for_the_settings_of_its_runs(tmp_path):
    study = made_study(tmp_path / "s")
    for run in study.iterdir():
        set_training(run, lr=0.5)
    config = read_run_config(study / "conv-seed1")
    asked = parse_train(study_command(study, config, ("none", "conv"), (0, 1)))
    assert (asked.study.study, asked.study.study_variants, asked.study.seeds) == (True, ("none", "conv"), (0, 1))
    assert (asked.run.runs_dir, asked.run.name, asked.run.snapshot_epochs) == (tmp_path, "s", (1, 4))
    assert (asked.training.lr, asked.training.epochs, asked.training.seed, asked.skip) == (0.5, 4, 0, False)


def test_the_command_of_a_study_is_the_same_whichever_of_its_runs_it_is_made_from(tmp_path):
    study = made_study(tmp_path / "s")
    config = read_run_config(study / "none-seed0")
    other = dataclasses.replace(
        config.settings, skip=True, skip_mode="concat",
        training=dataclasses.replace(config.settings.training, seed=9),
        run=dataclasses.replace(config.settings.run, runs_dir=study, name="concat-seed9"),
    )  # fmt: skip
    asked = [("none", "concat"), (0, 9)]
    words = study_command(study, config, *asked)
    assert study_command(study, dataclasses.replace(config, settings=other), *asked) == words
    assert words[-2:] == ["--name", "s"]
