"""The second stage of a run: the upper convolutions learn as well, on images that are shifted and mirrored anew."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.utils import release_memory
from torch import Tensor, nn

from alexnet_skip.features.basis import SkipHeadInBasis, make_head, rank_of
from alexnet_skip.features.lower import LowerLayers
from alexnet_skip.features.tuned import TunedNetwork
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.head import SkipHead
from alexnet_skip.network.upper import UPPER, UpperConvolutions, reinitialise, with_upper
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.system.tensors import to_device
from alexnet_skip.training.gradients import gradient_figures, moved
from alexnet_skip.training.inputs import HeldOut, Inputs
from alexnet_skip.training.stage import second_stage
from alexnet_skip.training.trainer import Trainer

# Training images, as they are, that gradients are measured on after every epoch.
PROBE_IMAGES = 128

CONVOLUTIONS, TRAINED = "upper.layers.", "trained."


@dataclass(frozen=True, kw_only=True)
class TuningInputs(Inputs):
    """What the upper convolutions train on and are validated on: images as far as the frozen lower layers take them.

    Attributes:
        head: what the first stage has trained, by name.
        probe: inputs and classes that gradients are measured on.
    """

    backbone: FrozenAlexNet
    finetuning: FinetuneSettings
    seed: int
    head: dict[str, Tensor]
    probe: tuple[Tensor, Tensor]

    def make_head(self, dropout: tuple[float, float, float] = (0, 0, 0)) -> SkipHead | SkipHeadInBasis:
        """A fresh head of the first stage's form; a parent's may have learnt a kernel of higher rank."""
        return make_head(self.mode, self.num_classes, self.basis, dropout, rank_of(self.head))

    def make_model(self, dropout: tuple[float, float, float] = (0, 0, 0)) -> TunedNetwork:
        """The network as the first stage has left it; with ``--finetune-reinit``, but for its convolutions."""
        model = self._untouched(dropout)
        if self.finetuning.finetune_reinit:
            reinitialise(model.upper, self.seed)
        return model

    def _untouched(self, dropout: tuple[float, float, float] = (0, 0, 0)) -> TunedNetwork:
        trained = self.make_head(dropout)
        trained.load_state_dict(self.head)
        return TunedNetwork(UpperConvolutions(self.backbone, self.finetuning.finetune), trained, self.basis)

    def first_state(self) -> dict[str, Tensor]:
        """The state of the network that the first stage has left, whatever the second one begins with."""
        return self._untouched().state_dict()

    def parameter_groups(self, model: nn.Module, rate: float) -> list[dict[str, Any]]:
        """The skip and the head at the stage's learning rate, each convolution at its own."""
        assert isinstance(model, TunedNetwork)
        return model.parameter_groups(rate, self.finetuning.finetune_lr, self.finetuning.finetune_layer_decay)

    def begin_epoch(self, seed: int, epoch: int) -> None:
        """Shift the images as this epoch does."""
        assert isinstance(self.source, LowerLayers)
        self.source.begin_epoch(seed, epoch)

    def published_backbone(self, state: dict[str, Any], backbone: FrozenAlexNet) -> FrozenAlexNet:
        """The backbone with its trained convolutions."""
        trained = {n.removeprefix(CONVOLUTIONS): v for n, v in state.items() if n.startswith(CONVOLUTIONS)}
        return with_upper(backbone, trained)

    def published_form(self, state: dict[str, Any]) -> SkipHead:
        """The trained head on the features themselves, from the whole state."""
        return super().published_form(head_of(state))

    def validate(self, model: nn.Module, accelerator: Accelerator) -> dict[str, float]:
        """Figures of the held-out images; of every convolution its gradient by its way, and how far it has moved."""
        assert isinstance(model, TunedNetwork)
        assert isinstance(self.source, LowerLayers)
        self.source.end_epoch()  # figures of training images, too, are of images as they are
        figures = super().validate(model, accelerator)
        return figures | gradient_figures(model, *self.probe) | moved(model, self.backbone)


def stages(trainer: Trainer) -> Iterator[Trainer]:
    """What is left of a run: the stage that it stands in, and the one after it where the run has two."""
    yield trainer
    if trainer.stage.number == 1 and trainer.settings.finetuning.finetune:
        with trainer.console.working("Preparing the convolutions"):
            second = second_trainer(trainer)
            trainer.let_go()
            # After free_memory, which collects before it lets go itself: in mixed precision Accelerate's wrappers hold
            # the networks and optimizers of the first stage in cycles, and its weights and moments on the card.
            release_memory()
        yield second


def second_trainer(first: Trainer, saved: dict[str, Tensor] | None = None) -> Trainer:
    """The second stage of a run, from the best epoch of its first.

    Args:
        saved: what a checkpoint of this stage holds of its network, to be restored afterwards.
    """
    settings, session, state = first.settings, first.session, first.state
    # A parent's head may have learnt a kernel of higher rank than a fresh one has: its shape is the checkpoint's.
    head = head_of(saved) if saved else first.state.best_state or first.model.state_dict()
    inputs = _open_inputs(first, head)
    steps = settings.training.epochs * first.steps_per_epoch
    session.accelerator.free_memory()
    stage = second_stage(settings, inputs, steps)
    second = Trainer(first.folder, first.config, settings, session, stage, first.watch)
    second.checkpointer = first.checkpointer
    # Chosen among all epochs: the first stage's best stands until one of the second is better.
    second.state = replace(state, best_state=inputs.first_state())
    return second


def head_of(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Skip and head in the state of a :class:`TunedNetwork`."""
    return {name.removeprefix(TRAINED): v for name, v in state.items() if name.startswith(TRAINED)}


def _open_inputs(first: Trainer, head: dict[str, Tensor]) -> TuningInputs:
    settings, session, inputs = first.settings, first.session, first.inputs
    splits, device = session.dataset.splits, session.accelerator.device
    bf16 = session.precision.mixed_precision == "bf16"
    cut = UPPER[-settings.finetuning.finetune]

    def lower(split: str) -> LowerLayers:
        return LowerLayers(splits[split].images, session.backbone, cut, device, bf16=bf16)

    source, held_out = lower("train"), inputs.held_out
    if held_out is not None:
        # The same source for both, whose images are on the device once: it shifts them between validations only.
        held_out = HeldOut(lower("val") if "val" in splits else source, held_out.positions, held_out.targets)
    probed = np.sort(np.random.default_rng(0).permutation(session.positions)[:PROBE_IMAGES])
    x = session.backbone.lower(to_device(splits["train"].images[probed], device), cut)
    return TuningInputs(
        source, inputs.labels, held_out, inputs.mode, inputs.num_classes, inputs.basis, inputs.train_sample,
        backbone=session.backbone, finetuning=settings.finetuning, seed=settings.training.seed,
        head=head, probe=(x, inputs.labels[probed]),
    )  # fmt: skip
