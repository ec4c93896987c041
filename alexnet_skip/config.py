"""Settings of the scripts: frozen dataclasses, their checks, and their command line (tyro).

Nothing here imports torch, so that ``--help`` and a mistyped flag are answered at once.
Precedence: defaults < recipe < command line.
"""

import dataclasses
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import tyro

from alexnet_skip.errors import UserError

SkipMode = Literal["conv", "identity", "concat"]

# The source report's training, and ours. Each recipe sets every field it names; flags override it.
RECIPES: dict[str, dict[str, Any]] = {
    "fast": {},
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


def _require(condition: bool, flag: str, value: object, allowed: str) -> None:
    if not condition:
        raise UserError(f"{flag} is {value}, but must be {allowed}; give {flag} another value or leave it out")


@dataclass(frozen=True)
class DataSettings:
    """Which images to use."""

    dataset: str = "auto"
    """auto, cifar10, cifar100, shapes (built in), or a FOLDER with train/<class>/* and, where there is one, test/ or
    val/. auto takes CIFAR-10 if it is there or can be downloaded, otherwise shapes, and says so."""
    data_dir: Path = Path("data")
    """Folder that holds the CIFAR files, or receives them."""
    data_archive: Path | None = None
    """The official CIFAR .tar.gz, if you already have it: nothing is downloaded then."""
    skip_unreadable: bool = False
    """Leave out images that can't be read (they are listed) instead of stopping at the first."""
    limit_train: int | None = None
    """Use only this many training images (balanced over the classes)."""
    limit_test: int | None = None
    """Use only this many test images (balanced over the classes)."""

    def __post_init__(self) -> None:
        for flag, value in (("--limit-train", self.limit_train), ("--limit-test", self.limit_test)):
            _require(value is None or value >= 1, flag, value, "at least 1")


@dataclass(frozen=True)
class CacheSettings:
    """Where the frozen features are kept: they are computed once and shared by training and evaluation."""

    cache_dir: Path = Path("cache")
    """Folder of the feature cache; about 18 KB an image, view and tensor."""
    cache: bool = True
    """Use the cache. Without it the features are computed again for every batch: slow, but no disk is used."""


@dataclass(frozen=True)
class TrainingSettings:
    """How the head is trained. The values shown are those of the chosen recipe."""

    epochs: int = 15
    """Passes over the training images."""
    batch_size: int = 512
    """Images in one optimizer step, over all processes together."""
    lr: float = 1e-3
    """Peak learning rate (AdamW with warm-up and cosine for fast; constant Adam for report)."""
    weight_decay: float = 0.05
    """Decoupled weight decay."""
    dropout: tuple[float, float, float] = (0.2, 0.4, 0.3)
    """Dropout before each of the head's three linear layers."""
    label_smoothing: float = 0.1
    """Label smoothing of the cross-entropy."""
    hflip: bool = True
    """Train on each image as it is or mirrored, at random."""
    val_fraction: float = 0.1
    """Part of the training images held out to choose the best epoch (the same for every seed); 0 trains on all."""
    pca_basis: int = 1536
    """Train the first layer on this many leading principal coordinates of the features and fold it back exactly into
    the 9216-input layer when the model is published; 0 trains on the features themselves."""
    seed: int = 0
    """Seed of initialisation, batch order, mirroring and dropout."""
    mixed_precision: Literal["auto", "no", "fp16", "bf16"] = "auto"
    """Precision of the head (the convolutions are always fp32). auto decides from the device and says why."""

    def __post_init__(self) -> None:
        _require(self.epochs >= 1, "--epochs", self.epochs, "at least 1")
        _require(self.batch_size >= 1, "--batch-size", self.batch_size, "at least 1")
        _require(0 < self.lr < float("inf"), "--lr", self.lr, "a positive number")
        _require(0 <= self.weight_decay < float("inf"), "--weight-decay", self.weight_decay, "0 or more")
        _require(all(0 <= p < 1 for p in self.dropout), "--dropout", self.dropout, "three numbers from 0 to below 1")
        _require(0 <= self.label_smoothing < 1, "--label-smoothing", self.label_smoothing, "from 0 to below 1")
        _require(0 <= self.val_fraction < 1, "--val-fraction", self.val_fraction, "from 0 to below 1")
        _require(self.pca_basis >= 0, "--pca-basis", self.pca_basis, "0 (off) or a number of coordinates")
        _require(self.seed >= 0, "--seed", self.seed, "0 or more")


@dataclass(frozen=True)
class RunSettings:
    """What is written where."""

    runs_dir: Path = Path("runs")
    """Folder of all runs: point TensorBoard at it."""
    name: str | None = None
    """Name of this run's folder; <dataset>-<skip or noskip>-<date-time> if left out."""
    snapshot_epochs: tuple[int, ...] = ()
    """Epochs after which the model is also kept, for evaluate.py --checkpoint epoch-N."""
    quiet: bool = False
    """Print nothing but the last line, one JSON object."""

    def __post_init__(self) -> None:
        forbidden = set('<>:"/\\|?*')
        bad = self.name is not None and (
            not self.name.strip(". ") or self.name != self.name.strip() or any(c in forbidden for c in self.name)
        )
        _require(not bad, "--name", repr(self.name), 'a folder name without any of < > : " / \\ | ? *')
        _require(all(e >= 1 for e in self.snapshot_epochs), "--snapshot-epochs", self.snapshot_epochs, "1 or more")


@dataclass(frozen=True)
class TrainSettings:
    """Train a head on a frozen, ImageNet-pretrained AlexNet, without or with a skip connection.

    accelerate launch train.py --skip
    """

    skip: bool = False
    """Join the pooled output of the fourth convolution (features[8], before its ReLU) to the features."""
    skip_mode: SkipMode = "conv"
    """How it joins: conv adds it through a trained 1x1 convolution, identity adds it as it is, concat puts it beside
    the features (18,432 inputs to the head)."""
    recipe: Literal["fast", "report"] = "fast"
    """fast is ours; report is the source report's training (constant Adam, batch 32, 100 epochs, nothing else)."""
    weights: str = "imagenet"
    """imagenet, random, or a FILE (.safetensors, .pth or .pt of a torchvision AlexNet or its features)."""
    data: DataSettings = field(default_factory=DataSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    run: RunSettings = field(default_factory=RunSettings)

    def __post_init__(self) -> None:
        late = [e for e in self.run.snapshot_epochs if e > self.training.epochs]
        _require(not late, "--snapshot-epochs", late, f"at most --epochs ({self.training.epochs})")

    @property
    def joined(self) -> Literal["none", "conv", "identity", "concat"]:
        """How the tap joins; ``none`` without ``--skip``."""
        return self.skip_mode if self.skip else "none"


@dataclass(frozen=True)
class EvaluateSettings:
    """Evaluate a trained run: top-k accuracy with intervals, per-class figures and the confusion matrix.

    python evaluate.py --topk 1 3
    """

    topk: tuple[int, ...] = (1,)
    """The k's of the top-k accuracies; 1 is always among them, and 3 where there are as many classes."""
    run: str | None = None
    """Name or path of the run; the newest if left out."""
    split: Literal["test", "val", "train"] = "test"
    """Which images; a dataset without a test split is evaluated on val, and that is said."""
    checkpoint: str = "best"
    """best, last, or epoch-N for one of --snapshot-epochs."""
    tta: bool = False
    """Average the logits of each image and its mirror image."""
    dataset: str | None = None
    """Evaluate on another FOLDER with the same classes instead of the run's own dataset."""
    runs_dir: Path = Path("runs")
    """Folder of all runs."""
    quiet: bool = False
    """Print nothing but the last line, one JSON object."""

    def __post_init__(self) -> None:
        _require(bool(self.topk) and all(k >= 1 for k in self.topk), "--topk", self.topk, "1 or more")
        kind, _, number = self.checkpoint.partition("-")
        valid = self.checkpoint in ("best", "last") or (kind == "epoch" and number.isdigit())
        _require(valid, "--checkpoint", self.checkpoint, "best, last or epoch-N")


Settings = TypeVar("Settings")


def parse(kind: type[Settings], argv: Sequence[str] | None, prog: str) -> Settings:
    """Read settings of the given dataclass from a command line.

    Args:
        argv: the arguments without the program's name; ``sys.argv[1:]`` if None.
        prog: the script's name, for ``--help``.

    Raises:
        SystemExit: with 0 after ``--help``, with 2 and a suggestion for an unknown flag or a value of the wrong type.
        UserError: for a value out of range.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    default = kind()
    if isinstance(default, TrainSettings):
        # The recipe's values become the defaults, so that --help shows them and every flag overrides them.
        recipe = _last_value(arguments, "--recipe") or default.recipe
        training = dataclasses.replace(default.training, **RECIPES.get(recipe, {}))
        default = dataclasses.replace(default, training=training)
    form = cast(Any, tyro.conf.OmitArgPrefixes)[kind]
    return tyro.cli(form, args=arguments, default=default, prog=prog)


def _last_value(arguments: Sequence[str], flag: str) -> str | None:
    values = [b for a, b in pairwise(arguments) if a == flag]
    values += [a.partition("=")[2] for a in arguments if a.startswith(flag + "=")]
    return values[-1] if values else None


def to_dict(settings: Any) -> dict[str, Any]:
    """The settings as a JSON-ready dictionary, groups nested, paths as text."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return {key: plain(value) for key, value in dataclasses.asdict(settings).items()}


def with_paths(values: dict[str, Any]) -> dict[str, Any]:
    """Undo :func:`to_dict` for data settings: text to paths."""
    archive = values["data_archive"]
    return values | {"data_dir": Path(values["data_dir"]), "data_archive": Path(archive) if archive else None}
