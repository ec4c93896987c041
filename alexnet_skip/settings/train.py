"""Settings of train.py. Precedence: defaults < recipe < command line."""

import dataclasses
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from alexnet_skip.settings.command_line import require
from alexnet_skip.settings.finetune import FinetuneSettings
from alexnet_skip.settings.keywords import with_keywords
from alexnet_skip.settings.shared import (
    MAX_SEED,
    CacheSettings,
    CheckpointSettings,
    DataSettings,
    SkipMode,
    StudySettings,
)
from alexnet_skip.system.errors import UserError

# Ours, a first answer from some of the images, and the source report's training. Each recipe sets every field it names,
# in whichever group it is; flags override it.
RECIPES: dict[str, dict[str, Any]] = {
    "fast": {},
    "quick": {
        "train_on": 20_000,
        "epochs": 5,
        # Less of it than fast: nothing is seen often enough to be learnt by heart.
        "dropout": (0.1, 0.3, 0.2),
        "hflip": False,
        "pca_basis": 512,
    },
    "report": {
        "epochs": 100,
        "batch_size": 32,
        "lr": 1e-3,
        "weight_decay": 0.0,
        "dropout": (0.0, 0.0, 0.0),
        "label_smoothing": 0.0,
        "hflip": False,
        "val_fraction": 0.0,
        "pca_basis": 0,
    },
}

# The batch size of fast, and the smallest that it goes down to where an epoch would have fewer steps than this.
BATCH_SIZE, SMALLEST_BATCH_SIZE, STEPS_PER_EPOCH = 512, 32, 8
# The batch size of the second stage.
FINETUNE_BATCH_SIZE = 128
# The skip and the head learn at this multiple of the last convolution's rate: they have less to lose.
HEAD_RATE = 2.0
# The longest name of a folder in most file systems (Linux's NAME_MAX); in Windows' so many letters.
MAX_NAME_BYTES = 255


@dataclass(frozen=True)
class TrainingSettings:
    """How the head is trained. The values shown are those of the chosen recipe."""

    epochs: int = 15
    """Passes over the training images."""
    batch_size: int = 0
    """Images in one optimizer step, over all processes together; 0 takes 512, or fewer (down to 32) where that would be
    less than 8 steps an epoch, and --lr then goes down with their square root."""
    lr: float = 2e-3
    """Peak learning rate (constant for the recipe report)."""
    weight_decay: float = 0.05
    """Weight decay, AdamW's (recipe report: Adam's)."""
    dropout: tuple[float, float, float] = (0.2, 0.4, 0.3)
    """Dropout before each of the head's linear layers."""
    label_smoothing: float = 0.1
    """Label smoothing of the cross-entropy."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced lets every class count alike in the training loss, however few images it has. The validation loss stays
    plain, so that runs can be compared."""
    hflip: bool = True
    """Train on each image as it is or mirrored, at random."""
    val_fraction: float = 0.1
    """Part of the training images held out to choose the best epoch (the same for every seed); 0 trains on all."""
    pca_basis: int = 1024
    """Train the first layer on this many leading principal coordinates of the features, and fold it back exactly when
    the model is published; 0 trains on the features themselves."""
    seed: int = 0
    """Seed of initialisation, batch order, mirroring and dropout."""
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """Precision of the head. auto takes bf16 where the device has it, else fp32; fp16 is tried before it is used."""
    force_precision: bool = False
    """Use --mixed-precision fp16 although the card fails its self-test."""

    def __post_init__(self) -> None:
        require(self.epochs >= 1, "--epochs", self.epochs, "at least 1")
        require(self.batch_size >= 0, "--batch-size", self.batch_size, "0 (chosen from the images) or more")
        require(0 < self.lr < float("inf"), "--lr", self.lr, "a positive number")
        require(0 <= self.weight_decay < float("inf"), "--weight-decay", self.weight_decay, "0 or more")
        require(all(0 <= p < 1 for p in self.dropout), "--dropout", self.dropout, "three numbers from 0 to below 1")
        require(0 <= self.label_smoothing < 1, "--label-smoothing", self.label_smoothing, "from 0 to below 1")
        require(0 <= self.val_fraction < 1, "--val-fraction", self.val_fraction, "from 0 to below 1")
        require(self.pca_basis >= 0, "--pca-basis", self.pca_basis, "0 (off) or a number of coordinates")
        require(0 <= self.seed <= MAX_SEED, "--seed", self.seed, f"from 0 to {MAX_SEED}")
        forced = self.force_precision and self.mixed_precision != "fp16"
        require(not forced, "--force-precision", "given", "left out unless --mixed-precision is fp16")

    def for_images(self, num_images: int) -> "TrainingSettings":
        """These settings for so many images to train on, with a batch size.

        The rate goes with the square root of the batch size, as it should for Adam (Malladi et al. 2022, On the SDEs
        and Scaling Rules for Adaptive Gradient Algorithms).
        """
        if self.batch_size:
            return self
        size = _batch_size(BATCH_SIZE, num_images)
        return dataclasses.replace(self, batch_size=size, lr=self.lr * math.sqrt(size / BATCH_SIZE))

    def of_second_stage(self, finetuning: FinetuneSettings) -> "TrainingSettings":
        """These settings as they are while the upper convolutions learn as well; the rate is the head's.

        Args:
            finetuning: with a batch size.
        """
        return dataclasses.replace(
            self, epochs=finetuning.finetune_epochs, batch_size=finetuning.finetune_batch_size,
            lr=HEAD_RATE * finetuning.finetune_lr,
        )  # fmt: skip


def _batch_size(most: int, num_images: int) -> int:
    """The usual batch size, or a smaller one where it would give too few steps an epoch."""
    enough = 2 ** int(math.log2(max(1, num_images // STEPS_PER_EPOCH)))
    return min(most, max(SMALLEST_BATCH_SIZE, enough))


@dataclass(frozen=True)
class RunSettings:
    """What is written where."""

    runs_dir: Path = Path("runs")
    """Folder of all runs: point TensorBoard at it."""
    name: str | None = None
    """Name of this run's folder; <dataset>-<skip or noskip>-<date-time> if left out."""
    snapshot_epochs: tuple[int, ...] = ()
    """Epochs whose model is kept, too (evaluate.py --checkpoint epoch-N)."""
    dry_run: bool = False
    """Say what the command would use, need and take, and whether it would start."""
    quiet: bool = False
    """Print nothing but the last line, one JSON object."""
    json: bool = False
    """Print that line on a terminal, too; elsewhere it always is."""

    def __post_init__(self) -> None:
        forbidden = set('<>:"/\\|?*')
        bad = self.name is not None and (
            not self.name.strip(". ") or self.name != self.name.strip() or any(c in forbidden for c in self.name)
        )
        require(not bad, "--name", repr(self.name), 'a folder name without any of < > : " / \\ | ? *')
        length = len((self.name or "").encode("utf-8", "surrogatepass"))
        require(length <= MAX_NAME_BYTES, "--name", f"{length} bytes long", f"at most {MAX_NAME_BYTES} bytes")
        require(all(e >= 1 for e in self.snapshot_epochs), "--snapshot-epochs", self.snapshot_epochs, "1 or more")


@dataclass(frozen=True)
class TrainSettings:
    """Train a head on a frozen, ImageNet-pretrained AlexNet, without or with a skip connection.

    python train.py --skip                       one GPU, or a CPU
    accelerate launch --multi_gpu train.py       several GPUs
    python train.py --dataset FOLDER             one's own images: FOLDER/train/<class>/*.jpg
    python train.py --study                      does the skip help?
    """

    skip: bool = False
    """Join the pooled output of the fourth convolution (features[8], before its ReLU) to the features."""
    skip_mode: Literal["conv", "identity", "concat"] = "conv"
    """How it joins: conv adds it through a trained 1x1 convolution, identity adds it as it is, concat puts it beside
    the features (18,432 inputs to the head)."""
    recipe: Literal["fast", "quick", "report"] = "fast"
    """fast is ours; quick learns from some images; report is the source report's training."""
    weights: str = "imagenet"
    """imagenet, random, or a FILE (.safetensors, .pth or .pt of a torchvision AlexNet or its features)."""
    data: DataSettings = field(default_factory=DataSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    finetuning: FinetuneSettings = field(default_factory=FinetuneSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    run: RunSettings = field(default_factory=RunSettings)
    study: StudySettings = field(default_factory=StudySettings)
    checkpoints: CheckpointSettings = field(default_factory=CheckpointSettings)

    def __post_init__(self) -> None:
        late = [e for e in self.run.snapshot_epochs if e > self.last_epoch]
        both = "--epochs and --finetune-epochs together" if self.finetuning.finetune else "--epochs"
        allowed = f"at most {both} ({self.last_epoch})"
        require(not late, "--snapshot-epochs", late, allowed)
        wrong = self.finetuning.finetune and self.recipe == "report"
        require(not wrong, "--finetune", self.finetuning.finetune, "left out with --recipe report, which has none")
        if self.study.study:
            self._check_study()

    def _check_study(self) -> None:
        require(not self.skip, "--skip", "given", "left out with --study, which trains its --study-variants")
        require(self.training.seed == 0, "--seed", self.training.seed, "left out with --study, which takes --seeds")
        parent = self.finetuning.finetune_from
        require(parent is None, "--finetune-from", parent, "left out with --study, whose runs train heads of their own")
        require(self.training.epochs >= 2, "--epochs", self.training.epochs, "at least 2 with --study")
        epochs = self.run.snapshot_epochs
        two = len(epochs) == 2 and epochs[0] < epochs[1]
        require(not epochs or two, "--snapshot-epochs", epochs, "two epochs with --study, the lower first")

    def for_images(self, num_images: int) -> "TrainSettings":
        """These settings for so many images to train on, as :meth:`TrainingSettings.for_images`; of both stages.

        Raises:
            UserError: if they are too few.
        """
        if self.training.pca_basis and num_images < 2:
            raise UserError(
                f"a PCA basis needs at least 2 images to train on, there is {num_images}; give --pca-basis 0, or more "
                "images (--limit-train, --train-on, --val-fraction)"
            )
        second = self.finetuning
        if second.finetune and not second.finetune_batch_size:
            size = _batch_size(FINETUNE_BATCH_SIZE, num_images)
            rate = second.finetune_lr * math.sqrt(size / FINETUNE_BATCH_SIZE)
            second = dataclasses.replace(second, finetune_batch_size=size, finetune_lr=rate)
        return dataclasses.replace(self, training=self.training.for_images(num_images), finetuning=second)

    @classmethod
    def of_recipe(cls, recipe: str) -> "TrainSettings":
        """The settings that a recipe stands for, where no flag says otherwise."""
        return with_keywords(cls(), RECIPES[recipe] | {"recipe": recipe})

    @property
    def last_epoch(self) -> int:
        """The number of the last epoch, of both stages together."""
        return self.training.epochs + self.finetuning.more_epochs

    @property
    def quiet(self) -> bool:
        """Whether nothing is shown but the JSON line."""
        return self.run.quiet

    @property
    def json(self) -> bool:
        """Whether the JSON line is shown on a terminal, too."""
        return self.run.json

    @property
    def joined(self) -> SkipMode:
        """How the tap joins; ``none`` without ``--skip``."""
        return self.skip_mode if self.skip else "none"
