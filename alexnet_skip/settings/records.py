"""What runs and published models say of themselves in their config.json: written, read and checked in one place."""

import dataclasses
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from alexnet_skip.settings.command_line import from_dict, to_dict
from alexnet_skip.settings.dataset_record import DatasetRecord
from alexnet_skip.settings.shared import DataSettings, SkipMode
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json

CONFIG_NAME = "config.json"
Record = TypeVar("Record")


@dataclass(frozen=True)
class WeightsRecord:
    """The convolutions that a run was trained on: where they came from, and the SHA-256 of their values."""

    source: str = ""
    sha256: str = ""


@dataclass(frozen=True)
class PrecisionRecord:
    """The precision of a run's head, and why."""

    mixed_precision: str
    reason: str


@dataclass(frozen=True)
class RunConfig:
    """A run's config.json. What older versions did not write has a default.

    Attributes:
        created: ISO 8601, UTC.
        num_val: images held out, of train or in a split of their own.
        resumed: when the run was taken up again, and on which machine.
        parent_sha256: of the published model that it began with (``--finetune-from``).
    """

    settings: TrainSettings
    dataset: DatasetRecord
    created: str = ""
    weights: WeightsRecord | None = None
    skipped_files: tuple[str, ...] = ()
    image_size: tuple[int, int] | None = None
    num_train: int = 0
    num_val: int = 0
    device: str = ""
    num_processes: int = 1
    precision: PrecisionRecord | None = None
    environment: dict[str, Any] = field(default_factory=dict)
    resumed: tuple[dict[str, Any], ...] = ()
    parent_sha256: str | None = None

    @property
    def data(self) -> DataSettings:
        """The settings of the images, named as they were found: ``auto`` must not become others later."""
        return dataclasses.replace(self.settings.data, dataset=self.dataset.source, data_url=None)

    @property
    def cache_dir(self) -> Path | None:
        """Folder of the feature cache; None where the run was trained without."""
        return self.settings.cache.cache_dir if self.settings.cache.cache else None

    @property
    def image_side(self) -> int | None:
        """Pixels that its images are high and wide: what folders are read at for it. None where it does not say."""
        return self.image_size[0] if self.image_size else None

    @property
    def weights_digest(self) -> str:
        """SHA-256 of the backbone's weights; empty where the run does not say."""
        return self.weights.sha256 if self.weights else ""

    def as_json(self) -> dict[str, Any]:
        """The config, ready for JSON."""
        return to_dict(self)

    def require_same(self, dataset: DatasetRecord, weights_digest: str, asked: str) -> None:
        """Refuse to go on with a run on other images or other weights, wherever they lie.

        Args:
            asked: flag and value that ask for it.

        Raises:
            UserError: naming which differ.
        """
        self.dataset.require_same(dataset, asked)
        if weights_digest != self.weights_digest:
            was = (
                f"{self.weights.source}, SHA-256 {self.weights_digest[:12]}"
                if self.weights
                else "it does not say which"
            )
            raise UserError(
                f"{asked}: the backbone's weights are not those it was started with ({was}); give --weights the file "
                "that holds those, or start a new run"
            )

    def taken_up(self, now: "RunConfig", run: Path) -> "RunConfig":
        """The config of a run that goes on: as it was, with its settings of now, and where it and its images are now.

        Args:
            now: what a new run would say of itself here and now.
            run: its folder.

        Raises:
            UserError: if the images or the backbone's weights are not those it was started with.
        """
        self.require_same(now.dataset, now.weights_digest, f"--resume {run}")
        told = to_dict(now)
        # The same images and weights, where they lie now: whoever opens the run finds them there.
        dataset = dataclasses.replace(self.dataset, source=now.dataset.source)
        here = {"time": now.created} | {n: told[n] for n in ("device", "num_processes", "precision", "environment")}
        return dataclasses.replace(
            self, settings=now.settings, dataset=dataset, weights=now.weights, resumed=(*self.resumed, here)
        )


@dataclass(frozen=True)
class ModelConfig:
    """A published model's config.json. Only what the model is built from must be there.

    Attributes:
        model_sha256: of its file, or of the list of its files; None in models from before it was recorded.
        files: SHA-256 of each of them by its name; none in models of one file.
        temperature: fitted to held-out images, which chose the epoch too; None where none was, which counts as 1.
        temperature_images: how many they were; None in models from before it was recorded.
        epoch: that it was published from.
        metrics: of that epoch.
        finetuned_layers: convolutions, by their index in torchvision's `features`, that are not the weights' own.
        parent_sha256: of the published model that fine-tuning began with (``--finetune-from``).
        settings: of the run, where this version understands them.
    """

    skip_mode: SkipMode
    class_names: tuple[str, ...]
    format_version: int = 1
    architecture: str = "AlexNetWithSkip"
    model_sha256: str | None = None
    files: dict[str, Any] = field(default_factory=dict)
    image_size: tuple[int, int] = (224, 224)
    temperature: float | None = None
    temperature_images: int | None = None
    epoch: int | None = None
    metrics: dict[str, Any] = field(default_factory=dict)
    finetuned_layers: tuple[int, ...] = ()
    parent_sha256: str | None = None
    created: str = ""
    dataset: DatasetRecord | None = None
    weights: WeightsRecord | None = None
    settings: TrainSettings | None = None
    num_train: int | None = None
    num_val: int | None = None
    environment: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(self.class_names) < 2 or len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"its class_names are {list(self.class_names)}, not two or more different names")
        if self.temperature is not None and not 0 < self.temperature < float("inf"):
            raise ValueError(f"its temperature is {self.temperature}, not a positive number")
        if min(self.image_size) < 1:
            raise ValueError(f"its image_size is {list(self.image_size)}, not a height and a width")

    @classmethod
    def of_run(
        cls, run: RunConfig, skip_mode: SkipMode, epoch: int, metrics: dict[str, Any],
        finetuned_layers: tuple[int, ...] = (),
    ) -> "ModelConfig":  # fmt: skip
        """The config of the model that a run has at the end of an epoch."""
        told = ("created", "dataset", "weights", "settings", "num_train", "num_val", "environment", "image_size")
        known: dict[str, Any] = {name: value for name in told if (value := getattr(run, name)) is not None}
        return cls(
            skip_mode=skip_mode, class_names=run.dataset.class_names, epoch=epoch, metrics=metrics,
            finetuned_layers=finetuned_layers, parent_sha256=run.parent_sha256, **known,
        )  # fmt: skip

    @property
    def calibration(self) -> str:
        """How the model's probabilities were fitted to how often it is right, in words."""
        if self.temperature is None:
            return "temperature 1: none was fitted, so its probabilities may be surer or less sure than it is right"
        count = "" if self.temperature_images is None else f"{self.temperature_images:,} "
        return f"temperature {self.temperature:.3f}, fitted on {count}held-out images"

    def as_json(self) -> dict[str, Any]:
        """The config, ready for JSON; what is not known is left out."""
        return {name: value for name, value in to_dict(self).items() if value not in (None, {}, "", [])}


def read_run_config(run: Path) -> RunConfig:
    """Read a run's config.json.

    Raises:
        UserError: naming the file, if it is missing, damaged, or lacks what a run must say.
    """
    return _read(RunConfig, run / CONFIG_NAME, read_json(run / CONFIG_NAME))


def is_published(model: Path) -> bool:
    """Whether a folder holds a whole published model: its config.json is written last."""
    return os.path.isfile(model / CONFIG_NAME)


def has_published(run: Path) -> bool:
    """Whether a run has come as far as to publish a model: the best epoch's, or the last one's."""
    return any(is_published(run / name) for name in ("model", "last"))


def is_finished(folder: Path) -> bool:
    """Whether a run has come to the end that its config asks for; a damaged one can't be gone on with either."""
    try:
        wanted = read_run_config(folder).settings.last_epoch
    except UserError:
        return True
    try:
        return bool(read_json(folder / "summary.json")["epochs"] >= wanted)
    except (UserError, KeyError, TypeError):
        return False


def read_model_config(model: Path) -> ModelConfig:
    """Read a published model's config.json; raises as :func:`read_run_config`."""
    values = read_json(model / CONFIG_NAME)
    try:
        if "settings" in values:
            from_dict(TrainSettings, values["settings"], skip_unknown=True)
    except (TypeError, ValueError):
        # How it was trained is told, not needed: a model must not be lost over it.
        values = {name: value for name, value in values.items() if name != "settings"}
    return _read(ModelConfig, model / CONFIG_NAME, values)


def _read(kind: type[Record], path: Path, values: dict[str, Any]) -> Record:
    try:
        return from_dict(kind, values, skip_unknown=True)
    except (KeyError, TypeError, ValueError) as error:
        what = "run" if kind is RunConfig else "published model"
        raise UserError(
            f"{path} is no {what}'s config ({str(error).splitlines()[0]}); name another one, restore it, or train the "
            "run again"
        ) from None
