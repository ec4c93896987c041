"""Settings of train.py's second stage, in which the upper convolutions learn as well."""

from dataclasses import dataclass

from alexnet_skip.settings.command_line import require


@dataclass(frozen=True)
class FinetuneSettings:
    """How the upper convolutions are trained, after the head."""

    finetune: int = 0
    """After the head, also train this many of the last convolutions (1: torchvision's layer 10, 2: 8 and 10, 3: 6, 8
    and 10), on shifted and mirrored images; 0 leaves all frozen. Far slower than the head alone: see --dry-run."""
    finetune_from: str | None = None
    """Begin with the published model of this finished run (name or path) and its settings, instead of training a head
    first; in a run of its own."""
    finetune_epochs: int = 15
    """Passes over the training images in the second stage; they count on from --epochs."""
    finetune_lr: float = 5e-5
    """Peak learning rate of the last convolution (AdamW, warm-up and cosine of its own); the skip and the head have
    twice that."""
    finetune_layer_decay: float = 0.8
    """Each convolution further down has this part of the rate of the one above it."""
    finetune_batch_size: int = 0
    """Images in one step of the second stage, over all processes together; 0 takes 128, or fewer as for
    --batch-size."""
    finetune_reinit: bool = False
    """Give the convolutions fresh values before they are trained: a control, not a way to a good model."""

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
