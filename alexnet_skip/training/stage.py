"""The stages of a run: the head on frozen features; then, where that is asked for, the upper convolutions as well."""

from dataclasses import dataclass

from alexnet_skip.settings.train import TrainingSettings, TrainSettings
from alexnet_skip.training.inputs import Inputs


@dataclass(frozen=True)
class Stage:
    """What is trained in some of a run's epochs.

    Attributes:
        number: 1 or 2.
        options: as they are in this stage, with its own number of epochs.
        epochs_before: epochs of the run that were done before it.
        steps_before: steps in those epochs.
    """

    number: int
    inputs: Inputs
    options: TrainingSettings
    epochs_before: int = 0
    steps_before: int = 0

    @property
    def rate_flag(self) -> str:
        """The flag of its learning rate."""
        return "--lr" if self.number == 1 else "--finetune-lr"

    @property
    def last_epoch(self) -> int:
        """The number of its last epoch."""
        return self.epochs_before + self.options.epochs


def first_stage(settings: TrainSettings, inputs: Inputs) -> Stage:
    """The head on frozen features."""
    return Stage(1, inputs, settings.training)


def second_stage(settings: TrainSettings, inputs: Inputs, steps_before: int) -> Stage:
    """The upper convolutions as well."""
    return Stage(
        2, inputs, settings.training.of_second_stage(settings.finetuning), settings.training.epochs, steps_before
    )
