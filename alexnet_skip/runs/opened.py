"""A trained run opened again: its model, its images, and the frozen features of a split."""

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from alexnet_skip.features.source import CachedFeatures, LiveFeatures, open_features
from alexnet_skip.images.dataset import Dataset, Split, train_val_positions
from alexnet_skip.network import published
from alexnet_skip.network.published import AlexNetWithSkip
from alexnet_skip.runs import folders
from alexnet_skip.settings.shared import DataSettings, with_paths
from alexnet_skip.system import files
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.inputs import load_images


@dataclass(frozen=True)
class Selection:
    """Chosen samples of a dataset.

    Attributes:
        name: of the split as the user knows it.
        stored: name of the stored split that holds it, where ``split`` comes from.
        positions: the samples (N,) in that one.
    """

    name: str
    stored: str
    split: Split
    positions: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        """True classes (N,)."""
        return self.split.labels[self.positions]

    @property
    def index(self) -> np.ndarray:
        """Stable sample ids (N,)."""
        return self.split.index[self.positions]


def choose_split(wanted: str, dataset: Dataset, val_fraction: float, console: Console) -> Selection:
    """Choose samples.

    Args:
        wanted: ``test``, ``val`` or ``train``; a dataset without a test split gives val, and that is said.
        val_fraction: the part of train that the run held out.

    Raises:
        UserError: if the run held nothing out and the dataset has no such split.
    """
    if wanted == "test" and "test" not in dataset.splits:
        console.line(f"{dataset.name} has no test split: taking val, which chose the best epoch")
        wanted = "val"
    if wanted in dataset.splits and wanted != "train":
        split = dataset.splits[wanted]
        return Selection(wanted, wanted, split, np.arange(len(split.labels)))
    split = dataset.splits["train"]
    fraction = 0.0 if "val" in dataset.splits else val_fraction
    positions, held_out = train_val_positions(split.labels, fraction)
    if wanted == "train":
        return Selection("train", "train", split, positions)
    if not len(held_out):
        raise UserError(
            f"--split is {wanted}, but {dataset.name} has no such split and the run held nothing out "
            "(--val-fraction 0); use --split train, or --dataset FOLDER with FOLDER/test"
        )
    return Selection("val", "train", split, held_out)


@dataclass(frozen=True)
class OpenedRun:
    """A run folder, what its config says, and one of its published models.

    Attributes:
        config: the run's config.json.
        form: the published model's config.json.
    """

    folder: Path
    config: dict[str, Any]
    model: AlexNetWithSkip
    form: dict[str, Any]

    def load_images(self, dataset: str | None, accelerator: Accelerator, console: Console) -> Dataset:
        """Load the run's images, or those of another dataset with the same classes.

        Raises:
            UserError: if the classes are others.
        """
        data = DataSettings(dataset=dataset) if dataset is not None else own_images(self.config)
        with accelerator.main_process_first():
            loaded = load_images(data, console)
        if loaded.class_names != self.model.class_names:
            raise UserError(
                f"--dataset {data.dataset} has the classes {', '.join(loaded.class_names)}, but {self.folder.name} was "
                f"trained on {', '.join(self.model.class_names)}; give a folder with the same classes"
            )
        return loaded

    def select(self, wanted: str, dataset: Dataset, console: Console, *, own: bool) -> Selection:
        """Choose samples of a dataset by :func:`choose_split`, held out as the run held them out.

        Args:
            own: whether these should be the images that the run was trained on.

        Raises:
            UserError: if the samples come from images that have changed since, or there are none.
        """
        chosen = choose_split(wanted, dataset, self.config["settings"]["training"]["val_fraction"], console)
        if own and chosen.stored == "train" and chosen.split.digest != self.config["dataset"]["digest"]:
            raise UserError(
                f"the images of {dataset.name} have changed since {self.folder.name} was trained; train it again"
            )
        return chosen

    def open_features(
        self,
        dataset: Dataset,
        stored: str,
        accelerator: Accelerator,
        console: Console,
        *,
        tap: bool | None = None,
        mirrored: bool = False,
    ) -> CachedFeatures | LiveFeatures:
        """Frozen features of a stored split, from the run's cache; what it lacks is extracted.

        Args:
            tap: whether the pooled tap is needed; if None, as the model needs it.
        """
        cache = self.config["settings"]["cache"]
        return open_features(
            f"{dataset.name}-{stored}", dataset.splits[stored], self.model.backbone.to(accelerator.device),
            self.config["weights"]["sha256"], accelerator, console,
            cache_dir=Path(cache["cache_dir"]) if cache["cache"] else None,
            tap=self.form["skip_mode"] != "none" if tap is None else tap, mirrored=mirrored,
        )  # fmt: skip


def own_images(config: dict[str, Any]) -> DataSettings:
    """The images that a run was trained on, from its config."""
    data = DataSettings(**with_paths(config["settings"]["data"]))
    return dataclasses.replace(data, dataset=config["dataset"]["source"])


def open_run(runs_dir: Path, run: str | None, which: str) -> OpenedRun:
    """Find a run and load one of its published models.

    Args:
        run: name or path; the newest run if None.
        which: ``best``, ``last`` or ``epoch-N``.

    Raises:
        UserError: if there is no such run or model, or a file of it is damaged.
    """
    folder = folders.find_run(runs_dir, run)
    config = files.read_json(folder / "config.json")
    model, form = published.load_published(folders.published_folder(folder, which))
    return OpenedRun(folder, config, model, form)
