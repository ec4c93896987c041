"""Run folders and published models."""

import json

import pytest

from alexnet_skip.runs import folders as checkpoint
from alexnet_skip.system.errors import UserError


def test_a_run_folder_is_never_used_twice(tmp_path):
    assert checkpoint.create_run_folder(tmp_path, "mine", "x").name == "mine"
    with pytest.raises(UserError, match="exists already"):
        checkpoint.create_run_folder(tmp_path, "mine", "x")
    folders = {checkpoint.create_run_folder(tmp_path, None, "cifar10-skip") for _ in range(3)}
    assert len(folders) == 3
    assert all(":" not in folder.name for folder in folders)


def make_run(runs, name, created, finished=True):
    (runs / name / "model").mkdir(parents=True)
    (runs / name / "config.json").write_text(json.dumps({"created": created}))
    if finished:
        (runs / name / "model" / "config.json").write_text("{}")


def test_the_newest_finished_run_is_found_by_the_time_in_its_config(tmp_path):
    make_run(tmp_path, "b", "2026-01-01T00:00:00+00:00")
    make_run(tmp_path, "a", "2026-01-02T00:00:00+00:00")
    make_run(tmp_path, "c", "2026-01-03T00:00:00+00:00", finished=False)
    assert checkpoint.find_run(tmp_path, None).name == "a"
    assert checkpoint.find_run(tmp_path, "b").name == "b"
    assert checkpoint.find_run(tmp_path, str(tmp_path / "b")).name == "b"
    with pytest.raises(UserError, match="existing runs: a, b, c"):
        checkpoint.find_run(tmp_path, "z")


def test_a_folder_that_can_not_be_read_holds_no_run_and_hides_none(tmp_path, another_users):
    make_run(tmp_path, "a", "2026")
    make_run(tmp_path / "study", "none-seed0", "2027")
    another_users(tmp_path / "lost+found")
    another_users(tmp_path / "study" / "private")
    assert checkpoint.runs_in(tmp_path) == [tmp_path / "a", tmp_path / "study" / "none-seed0"]
    assert checkpoint.find_run(tmp_path, None).name == "none-seed0"


def test_a_damaged_run_is_told_and_hides_no_other(tmp_path):
    make_run(tmp_path, "old", "2025")
    make_run(tmp_path, "whole", "2026")
    (tmp_path / "old" / "config.json").write_text("{")
    told = []
    assert checkpoint.find_run(tmp_path, None, told.append).name == "whole"
    (left_out,) = told
    assert left_out.startswith(f"{tmp_path / 'old'} is left out: ")
    (tmp_path / "whole" / "config.json").write_text("{")
    with pytest.raises(UserError, match="is damaged"):
        checkpoint.find_run(tmp_path, None)


def test_without_any_run_the_message_says_how_to_train_one(tmp_path):
    with pytest.raises(UserError, match=r"accelerate launch --quiet train\.py --skip"):
        checkpoint.find_run(tmp_path, None)


def test_a_checkpoint_that_was_not_kept_is_refused_with_those_that_were(tmp_path):
    make_run(tmp_path, "a", "2026")
    (tmp_path / "a" / "snapshots" / "epoch-0005").mkdir(parents=True)
    (tmp_path / "a" / "snapshots" / "epoch-0005" / "config.json").write_text("{}")
    assert checkpoint.published_folder(tmp_path / "a", "epoch-5").name == "epoch-0005"
    assert checkpoint.published_folder(tmp_path / "a", "best").name == "model"
    with pytest.raises(UserError, match="has best, epoch-5"):
        checkpoint.published_folder(tmp_path / "a", "last")


@pytest.mark.parametrize("name", ["model", "last", "snapshots/epoch-0002"])
def test_a_model_that_is_given_for_its_run_is_the_run_or_says_how_to_name_it(tmp_path, name):
    make_run(tmp_path, "two", "2026")
    model = tmp_path / "two" / name
    model.mkdir(parents=True, exist_ok=True)
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").touch()
    if name == "model":
        assert checkpoint.find_run(tmp_path, str(model)) == checkpoint.find_run(tmp_path, "two/model") == model.parent
        return
    wanted = "last" if name == "last" else "epoch-2"
    with pytest.raises(UserError, match=f"give --run .*two --checkpoint {wanted}"):
        checkpoint.find_run(tmp_path, str(model))


def test_a_model_without_its_run_is_told_from_a_run(tmp_path):
    (tmp_path / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        (tmp_path / "model" / name).write_text("{}")
    with pytest.raises(UserError, match="a published model without its run: --images and --export take it"):
        checkpoint.find_run(tmp_path, str(tmp_path / "model"))
