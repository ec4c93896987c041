"""What every run of one command shares is made as the settings say."""

import pytest

from alexnet_skip.devices import launch
from alexnet_skip.settings.train import TrainingSettings, TrainSettings
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.session import open_session


@pytest.mark.parametrize("force", [False, True])
def test_the_precision_that_is_asked_for_or_forced_is_what_is_decided_on(monkeypatch, force):
    asked = {}

    def choose_precision(requested, device, self_test, **options):
        asked.update(options, requested=requested)
        raise UserError("enough")

    monkeypatch.setattr(launch, "choose_precision", choose_precision)
    options = TrainingSettings(mixed_precision="fp16", force_precision=force)
    with pytest.raises(UserError, match="enough"):
        open_session(TrainSettings(training=options))
    assert (asked["requested"], asked["force"]) == ("fp16", force)
