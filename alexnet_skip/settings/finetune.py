"""Settings of train.py's second stage, in which the upper convolutions learn as well."""

from dataclasses import dataclass

from alexnet_skip.settings.command_line import require


@dataclass(frozen=True)
class FinetuneSettings:
    """How the upper convolutions are trained, after the head."""

    finetune: int = 0
    """Convolutions to train as well, in a second stage: 0 to 3."""
    finetune_from: str | None = None
    """Begin with this finished run's model, instead of training a head."""
    finetune_epochs: int = 15
    """Epochs of this stage; they count on from --epochs."""
    finetune_lr: float = 1e-4
    """The last convolution's peak rate; the head's is twice."""
    finetune_layer_decay: float = 0.8
    """Factor of the rate from each convolution to the one below."""
    finetune_batch_size: int = 0
    """As --batch-size; 0 takes 128, or fewer."""
    finetune_reinit: bool = False
    """A control: with fresh values for these convolutions."""

    def __post_init__(self) -> None:
        require(self.finetune in range(4), "--finetune", self.finetune, "0 (off), 1, 2 or 3 convolutions")
        require(self.finetune_epochs >= 1, "--finetune-epochs", self.finetune_epochs, "at least 1")
        require(0 < self.finetune_lr < float("inf"), "--finetune-lr", self.finetune_lr, "a positive number")
        decay = self.finetune_layer_decay
        require(0 < decay <= 1, "--finetune-layer-decay", decay, "above 0 and at most 1 (no decay)")
        require(self.finetune_batch_size >= 0, "--finetune-batch-size", self.finetune_batch_size, "0 (chosen) or more")
        for flag, given in (("--finetune-from", self.finetune_from), ("--finetune-reinit", self.finetune_reinit)):
            require(not given or self.finetune > 0, flag, given, "left out unless --finetune is 1, 2 or 3")

    @property
    def more_epochs(self) -> int:
        """Epochs of the second stage; none without it."""
        return self.finetune_epochs if self.finetune else 0
