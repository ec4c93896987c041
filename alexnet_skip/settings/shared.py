"""Settings that the scripts share: which images, and where their features are kept."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alexnet_skip.settings.command_line import require

# NumPy's global generator takes 32 bits.
MAX_SEED = 2**32 - 1


# What --dataset may be for anything to be downloaded.
DOWNLOADED = ("auto", "cifar10", "cifar100")


@dataclass(frozen=True)
class DataSettings:
    """Which images to use."""

    dataset: str = "auto"
    """auto, cifar10, cifar100, shapes (built in), or a FOLDER with train/<class>/* and, where there is one, test/ or
    val/ (or valid/, validation/). auto takes CIFAR-10 if it is there or can be downloaded, otherwise shapes, and says
    so."""
    data_dir: Path = Path("data")
    """Folder that holds the CIFAR files, or receives them."""
    data_archive: Path | None = None
    """The official CIFAR .tar.gz, if you already have it: nothing is downloaded then. CIFAR-10 as PNG files, fast.ai's
    cifar10.tgz, is taken as well."""
    data_url: str | None = None
    """Where to download the official CIFAR .tar.gz from, instead of its own server and the mirrors that are known; it
    is verified all the same."""
    skip_unreadable: bool = False
    """Leave out images that can't be read, and list them."""
    verify_images: bool = False
    """Read every image of a folder again. Otherwise one whose files have the names, sizes and times of before is
    taken to be unchanged."""
    limit_train: int | None = None
    """Use only this many training images (balanced over the classes)."""
    limit_test: int | None = None
    """Use only this many test images (balanced over the classes)."""
    train_on: int | None = None
    """Train on so many of the images not held out (balanced over the classes)."""

    def __post_init__(self) -> None:
        limits = {"--limit-train": self.limit_train, "--limit-test": self.limit_test, "--train-on": self.train_on}
        for flag, value in limits.items():
            require(value is None or value >= 1, flag, value, "at least 1")
        if self.data_url is not None:
            web = self.data_url.lower().startswith(("http://", "https://"))
            require(web, "--data-url", self.data_url, "the http:// or https:// address of CIFAR's .tar.gz")
            fetched = self.dataset in DOWNLOADED and self.data_archive is None
            require(
                fetched, "--data-url", "given", f"left out with --data-archive, or --dataset other than {DOWNLOADED}"
            )

    @property
    def limited(self) -> bool:
        """Whether not all images are used that are there."""
        return any((self.limit_train, self.limit_test, self.train_on))


@dataclass(frozen=True)
class CacheSettings:
    """Where the frozen features are kept: they are computed once and shared by training and evaluation."""

    cache_dir: Path = Path("cache")
    """Folder of the feature cache."""
    cache: bool = True
    """Use the cache. Without it the features are computed again for every batch: slow, but no disk is used."""


@dataclass(frozen=True)
class CheckpointSettings:
    """When a run in progress is saved, so that nothing is lost when it is interrupted."""

    resume: str | None = None
    """Go on with an interrupted run (name or path; the newest unfinished one if left out), with its own settings."""
    checkpoint_minutes: float = 5.0
    """Save the run so often, and after its last epoch; 0 never does. Removed at its end."""
    checkpoint_epochs: int = 0
    """Save it after every so many epochs, too, and keep it; 0 never does. Lets --resume RUN --epochs MORE go on (not
    with --finetune)."""
    keep_checkpoints: int = 2
    """How many of the newest to keep; the one after the best epoch is kept besides."""

    def __post_init__(self) -> None:
        require(
            0 <= self.checkpoint_minutes < float("inf"), "--checkpoint-minutes", self.checkpoint_minutes, "0 or more"
        )
        require(self.checkpoint_epochs >= 0, "--checkpoint-epochs", self.checkpoint_epochs, "0 or more")
        require(self.keep_checkpoints >= 1, "--keep-checkpoints", self.keep_checkpoints, "at least 1")


# How the tap joins the features; none is without the skip connection.
SkipMode = Literal["none", "identity", "conv", "concat"]
# What each is called in tables and titles; the reference comes first.
VARIANTS = {"none": "no skip", "identity": "skip (identity)", "conv": "skip (conv)", "concat": "skip (concat)"}


@dataclass(frozen=True)
class StudySettings:
    """Does the skip help? Several runs, alike in all else, by one command."""

    study: bool = False
    """Train every variant with every seed, as runs in one folder (--name; study-<dataset> if left out), and evaluate
    them at two --snapshot-epochs LOW HIGH. Given again, it trains only what is missing."""
    study_variants: tuple[SkipMode, ...] = ("none", "identity", "conv", "concat")
    """Forms of the skip connection that a study trains; none is without it, and what the others are compared with."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds; equal ones see equal batches in the same order."""

    def __post_init__(self) -> None:
        for flag, values in (("--study-variants", self.study_variants), ("--seeds", self.seeds)):
            given = " ".join(str(value) for value in values)
            require(0 < len(values) == len(set(values)), flag, given or "empty", "one or more different values")
        wrong = [seed for seed in self.seeds if not 0 <= seed <= MAX_SEED]
        require(not wrong, "--seeds", " ".join(map(str, wrong)), f"from 0 to {MAX_SEED}")
