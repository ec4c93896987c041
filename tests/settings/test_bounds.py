"""Seeds have two bounds, and a run that never began is nothing to go on with."""

from pathlib import Path

import pytest

from alexnet_skip.settings.command_line import to_dict
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
    assert str(refused.value).startswith(f"{flag} is {seed}, but must be from 0 to 4294967295")


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
