"""Images of another place are looked for and read as a run's own were."""

import dataclasses
from pathlib import Path

import pytest

from alexnet_skip.runs.own_images import settings_at
from alexnet_skip.settings.records import RunConfig, read_run_config
from alexnet_skip.settings.shared import DataSettings

OLD = Path(__file__).resolve().parent / "made_by_45f7acc" / "run"


def of(data: DataSettings) -> RunConfig:
    config = read_run_config(OLD)
    return dataclasses.replace(config, settings=dataclasses.replace(config.settings, data=data))


@pytest.mark.parametrize("limits", [{}, {"limit_train": 9, "limit_test": 5}, {"train_on": 9}])
def test_another_place_is_asked_for_where_and_how_the_run_was_and_its_limits_come_second(limits):
    kept = {"data_dir": Path("/mnt/data"), "skip_unreadable": True}
    config = of(DataSettings(**kept, **limits, data_archive=Path("of_its_own.tar.gz")))
    whole = DataSettings(dataset="cifar100", verify_images=True, **kept)
    limited = (dataclasses.replace(whole, **limits),) if limits else ()
    assert settings_at(config, "cifar100", verify_images=True) == (whole, *limited)
    assert settings_at(config, None) == (config.data,)
