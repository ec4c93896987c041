"""Every flag of embed.py has its effect."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose
from tiny_run import HELD_OUT, copy_whole, shrink
from tried import untried

import embed
import evaluate
from alexnet_skip.embedding import output
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.settings.embed import MODES, EmbedSettings
from alexnet_skip.system.files import read_json, write_sealed_json
from alexnet_skip.upkeep import speed_probe

HERE = "embedding/test_every_flag.py::test_"
SPACE = "embedding/test_space.py::test_"
OTHER_IMAGES = "runs/test_other_images.py::test_"
OWN = f"{HERE}run_split_and_checkpoint_say_which_model_sees_what"
DRY_RUN = f"{HERE}a_flag_shows_in_what_a_dry_run_tells"
FITTED = "upkeep/test_dry_pass.py::test_of_trained_convolutions_the_images_that_are_read_are_extracted_and_no_others"
MOVED = f"{OTHER_IMAGES}images_that_were_moved_are_accepted_wherever_they_can_be_named_and_others_are_not"
# Which test tries a flag; before the colon the mode that it is given in.
TRIED = {
    **{f":{flag}": OWN for flag in ("run", "split", "checkpoint", "components", "runs_dir")},
    **{f"dry_run:{flag}": DRY_RUN for flag in ("run", "split", "checkpoint", "runs_dir")},
    ":layer": f"{SPACE}the_heads_own_spaces_have_their_widths_and_the_predictions_of_evaluate",
    ":skip_view": f"{SPACE}views_of_the_features_are_what_their_names_say",
    ":projector_components": f"{SPACE}coordinates_are_those_of_scikit_learn_on_the_cached_features",
    ":fit": f"{SPACE}coordinates_are_those_of_scikit_learn_on_the_cached_features",
    ":max_points": f"{SPACE}what_evaluate_has_predicted_is_not_predicted_again_unless_it_is_of_another_model",
    ":thumbnails": f"{SPACE}more_images_than_thumbnails_fit_are_thinned_out_evenly_and_that_is_said",
    ":compare": f"{SPACE}two_runs_are_compared_on_the_same_images",
    ":dataset": MOVED,
    "dry_run:dataset": MOVED,
    **{f"dry_run:{flag}": FITTED for flag in ("fit", "max_points")},
    "dry_run:thumbnails": f"{HERE}thumbnails_show_in_the_memory_that_a_dry_run_tells",
    ":verify_images": f"{OTHER_IMAGES}images_are_read_again_where_that_is_asked_for",
    "dry_run:verify_images": f"{OTHER_IMAGES}training_images_that_have_changed_are_no_longer_the_runs_own",
    ":quiet": f"{SPACE}all_that_is_promised_is_written",
    ":json": "program/test_scripts.py::test_on_a_terminal_every_script_prints_its_json_line_where_that_is_asked_for",
}


def test_every_flag_is_tried():
    modes = {mode.setting: mode.takes for mode in MODES}
    own = {f":{field.name}" for field in dataclasses.fields(EmbedSettings) if field.name not in modes}
    others = {f"{mode}:{flag}" for mode, takes in modes.items() for flag in takes if flag not in ("quiet", "json")}
    assert set(TRIED) == own | others
    assert untried(TRIED) == []


@pytest.fixture(autouse=True)
def small(monkeypatch):
    shrink(monkeypatch.setattr)
    monkeypatch.setattr(output, "write_pictures", lambda *_: None)
    monkeypatch.setattr(speed_probe, "extraction_rate", lambda *_: 100.0)


@pytest.fixture(scope="module")
def place(whole_run, tmp_path_factory) -> Path:
    """The runs ``run`` and, older, ``old``, and ``run`` once more ``elsewhere``."""
    folder = copy_whole(whole_run, tmp_path_factory.mktemp("flags"), checkpoints=False)
    shutil.copytree(folder / "runs" / "run", folder / "runs" / "old")
    config = read_json(folder / "runs" / "old" / "config.json")
    write_sealed_json(folder / "runs" / "old" / "config.json", config | {"created": "2001-01-01T00:00:00"})
    shutil.copytree(folder / "runs" / "run", folder / "elsewhere" / "run")
    return folder


def test_run_split_and_checkpoint_say_which_model_sees_what(place, capsys, monkeypatch):
    """All ten components of ten logits: distances are theirs, as evaluate.py has written them."""
    monkeypatch.chdir(place)
    asked = ["--run", "old", "--split", "val", "--checkpoint", "last", "--runs-dir", "runs", "--quiet"]
    assert embed.main([*asked, "--layer", "logits", "--components", "10", "--thumbnails", "0"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["run"], found["num_samples"]) == ("runs/old", HELD_OUT)
    with (place / found["embedding"] / "coordinates.csv").open(encoding="utf-8-sig") as file:
        names = file.readline().strip().split(",")
        columns = [names.index(f"PC{axis}") for axis in range(1, 11)]
        coordinates = np.loadtxt(file, delimiter=",", usecols=columns)
    assert evaluate.main(asked) == 0
    logits = read_predictions(place / json.loads(capsys.readouterr().out)["evaluation"]).logits
    distances, expected = (np.linalg.norm(x[:, None] - x[None], axis=2) for x in (coordinates, logits))
    assert_allclose(distances, expected, atol=1e-4)
    # In an embedding that leaves nothing out the classes come apart as they do in the whole space.
    separation = found["separation"]
    assert separation["embedding"]["silhouette"] == pytest.approx(separation["full"]["silhouette"], abs=1e-4)


@pytest.mark.parametrize(
    ("asked", "where", "expected"),
    [
        ("--run old", "run", "runs/old"), ("--split val", "num_samples", HELD_OUT),
        ("--checkpoint epoch-4", "refused", "--checkpoint is epoch-4, but runs/run has"),
        ("--runs-dir elsewhere", "run", "elsewhere/run"),
    ],
)  # fmt: skip
def test_a_flag_shows_in_what_a_dry_run_tells(place, capsys, monkeypatch, asked, where, expected):
    monkeypatch.chdir(place)
    code = embed.main(["--dry-run", "--quiet", *asked.split()])
    captured = capsys.readouterr()
    if code:
        assert (where, expected in " ".join(captured.err.split())) == ("refused", True)
    else:
        assert json.loads(captured.out)[where] == expected
    assert captured.err == "" or code == 2


def test_thumbnails_show_in_the_memory_that_a_dry_run_tells(place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    needed = []
    for flags in ([], ["--thumbnails", "0"]):
        assert embed.main(["--dry-run", "--quiet", *flags]) == 0
        needed.append(json.loads(capsys.readouterr().out)["memory_needed"])
    assert needed[0] > needed[1]
