"""Seeds have two bounds, and a run that never began is nothing to go on with."""

import re
from pathlib import Path

import pytest

from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.train import RunSettings, TrainSettings
from alexnet_skip.settings.train_arguments import find_unfinished, parse_train
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import write_sealed_json


@pytest.mark.parametrize("seed", ["4294967296", "99999999999", "-1"])
@pytest.mark.parametrize("flags", [["--seed"], ["--study", "--seeds", "0"]], ids=" ".join)
def test_a_seed_out_of_range_is_refused_by_name_when_it_is_read(flags, seed):
    with pytest.raises(UserError) as refused:
        parse_train([*flags, seed])
    flag = "--seeds" if "--study" in flags else "--seed"
    assert re.match(rf"{flag} is (0 )?{seed}, but must be from 0 to 4294967295", str(refused.value))


def test_the_largest_seed_is_taken():
    assert parse_train(["--seed", "4294967295"]).training.seed == 2**32 - 1
    assert parse_train(["--study", "--seeds", "4294967295", "0"]).study.seeds == (2**32 - 1, 0)


@pytest.mark.parametrize("left", ["metrics.jsonl", "events.out.tfevents.1.host.2", "checkpoints"])
def test_a_run_that_never_began_is_not_the_newest_unfinished_one(left, tmp_path):
    config = {"settings": to_dict(TrainSettings(run=RunSettings(Path("runs")))), "dataset": {"name": "shapes"}}
    for name, created in (("begun", "2026-01-01"), ("never-began", "2026-01-02")):
        (tmp_path / name).mkdir()
        write_sealed_json(tmp_path / name / "config.json", config | {"created": created})
    with pytest.raises(UserError, match="holds no unfinished run"):
        find_unfinished(tmp_path, "")
    (tmp_path / "begun" / left).touch()
    assert find_unfinished(tmp_path, "") == tmp_path / "begun"
    assert find_unfinished(tmp_path, "never-began") == tmp_path / "never-began"


@pytest.mark.parametrize("published", ["model", "last"])
def test_a_run_that_has_published_and_kept_no_checkpoint_does_not_stand_in_the_way_of_one_that_can_go_on(
    published, tmp_path
):
    config = {"settings": to_dict(TrainSettings(run=RunSettings(Path("runs")))), "dataset": {"name": "shapes"}}
    for name, created in (("stopped", "2026-01-01"), ("published", "2026-01-02")):
        (tmp_path / name / "checkpoints" / "step-00000007").mkdir(parents=True)
        write_sealed_json(tmp_path / name / "config.json", config | {"created": created})
    (tmp_path / "published" / published).mkdir()
    (tmp_path / "published" / published / "config.json").touch()
    assert find_unfinished(tmp_path, "") == tmp_path / "stopped"
    (tmp_path / "published" / "checkpoints" / "step-00000007" / "complete.json").touch()
    assert find_unfinished(tmp_path, "") == tmp_path / "published"


def test_what_a_run_may_go_on_with_is_told_without_contradiction(tmp_path):
    settings = TrainSettings(finetuning=FinetuneSettings(finetune=1))
    (tmp_path / "run").mkdir()
    write_sealed_json(tmp_path / "run" / "config.json", {"settings": to_dict(settings), "dataset": {"name": "shapes"}})
    asked = ["--resume", "run", "--runs-dir", str(tmp_path)]
    with pytest.raises(UserError, match=r"--epochs is 30, but was 15\. .*\(only --epochs may grow, and not with"):
        parse_train([*asked, "--epochs", "30"])
    # Which asks for another look at the same images.
    assert parse_train([*asked, "--verify-images"]).data.verify_images
