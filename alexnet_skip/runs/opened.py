"""A trained run opened again: its model, its images, and the frozen features of a split."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from alexnet_skip.devices.agreement import in_common, require_agreement
from alexnet_skip.devices.launch import Job
from alexnet_skip.features.source import CachedFeatures, FrozenFeatures, LiveFeatures
from alexnet_skip.images.dataset import Dataset
from alexnet_skip.images.listing import differently_encoded, listed
from alexnet_skip.images.splits import Selection, choose_split
from alexnet_skip.network.model import AlexNetWithSkip, load_published
from alexnet_skip.runs import folders
from alexnet_skip.runs.own_images import load_images_of
from alexnet_skip.runs.predictions import FILE_NAME, published_digest, read_predictions
from alexnet_skip.settings.records import ModelConfig, RunConfig, read_run_config
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import part_of_name, read_json


@dataclass(frozen=True)
class OpenedRun:
    """A run folder, what its config says, and one of its published models.

    Attributes:
        checkpoint_name: the model's name in its run: ``best``, ``last`` or ``epoch-N``.
        model_config: the published model's.
    """

    folder: Path
    checkpoint_name: str
    config: RunConfig
    model: AlexNetWithSkip
    model_config: ModelConfig

    @property
    def needs_tap(self) -> bool:
        """Whether the model takes the pooled tap beside the features."""
        return self.model_config.skip_mode != "none"

    def load_images(self, dataset: str | None, job: Job[Any], *, own: bool = False) -> Dataset:
        """:func:`load_images_of` this run, by all processes together.

        Raises:
            UserError: as :meth:`require_fitting`, and if processes differ in what decides the result.
        """
        with job.accelerator.main_process_first():
            loaded = load_images_of(self.config, dataset, job.console, verify_images=job.settings.verify_images)
        require_agreement(job.accelerator, lambda: self._what_decides() | in_common(job.settings, loaded))
        self.require_fitting(loaded, dataset, own=own)
        return loaded

    def require_fitting(self, loaded: Dataset, dataset: str | None, *, own: bool) -> None:
        """Refuse images that this run has nothing to say of.

        Args:
            dataset: where they are, if not where the run says.
            own: whether they must be its own, wherever they lie.

        Raises:
            UserError: if the classes are others, or the training images not those of the run.
        """
        if loaded.class_names != self.model.class_names:
            way_out = "give a folder with the same classes"
            if differently_encoded(loaded.class_names, self.model.class_names):
                way_out = "rename its folders: their letters are in another form of Unicode (macOS takes them apart)"
            raise UserError(
                f"--dataset {dataset or loaded.source} has {_classes(loaded.class_names, self.model.class_names)}, but "
                f"{self.folder.name} was trained on {_classes(self.model.class_names, loaded.class_names)}; {way_out}"
            )
        if own and dataset is not None and not self.trained_on(loaded):
            raise UserError(
                f"--dataset {dataset} does not hold the images that {self.folder.name} was trained on (SHA-256 "
                f"{self.config.dataset.digest[:12]} of its training split); give the folder that they are in now"
            )

    def require_agreement(self, job: Job[Any]) -> None:
        """Refuse to begin where processes have another run or model in hand; every process calls this."""
        require_agreement(job.accelerator, self._what_decides)

    def _what_decides(self) -> dict[str, Any]:
        """What of this run a result depends on, by the names that users know."""
        name, checkpoint_name = self.folder.name, self.checkpoint_name
        return {
            f"the model {checkpoint_name} of {name} (SHA-256)": published_digest(self.folder, checkpoint_name),
            f"the training images of {name} (SHA-256)": self.config.dataset.digest,
            f"the --val-fraction of {name}": self.config.settings.training.val_fraction,
        }

    def select(self, wanted: str, dataset: Dataset, console: Console, *, is_training_dataset: bool) -> Selection:
        """Choose samples of a dataset by :func:`choose_split`, held out as the run held them out.

        Args:
            is_training_dataset: whether these should be the images that the run was trained on.

        Raises:
            UserError: if the samples come from images that have changed since, or there are none.
        """
        held_out_here = is_training_dataset or self.trained_on(dataset)
        own = is_training_dataset or ("test" not in dataset.splits and held_out_here)
        # Of other images none was held out.
        fraction = self.config.settings.training.val_fraction if held_out_here or wanted != "train" else 0.0
        chosen = choose_split(wanted, dataset, fraction, console, own=own)
        if chosen.name != "test" and held_out_here:
            self._require_held_out_alike(dataset)
        # A val split of its own may have been cut out of the training images (--train-on): others are among them now.
        known = {"train": self.config.dataset.digest, "val": self.config.dataset.val_digest}.get(chosen.source_split)
        if is_training_dataset and known not in (None, "", chosen.split.digest):
            raise UserError(
                f"the {chosen.name} images of {dataset.name} have changed since {self.folder.name} was trained; train "
                "it again, or give --dataset a folder that holds those of then"
            )
        return chosen

    def _require_held_out_alike(self, dataset: Dataset) -> None:
        if change := self.config.dataset.change_of_val(dataset.splits):
            raise UserError(
                f"{dataset.name} does not say any more which images {self.folder.name} was trained on and which it "
                f"held out: {change} since it was trained; make it as it was, or give --dataset a folder that is"
            )

    def trained_on(self, dataset: Dataset) -> bool:
        """Whether a dataset holds the run's training images, wherever they lie."""
        train = dataset.splits.get("train")
        return train is not None and train.digest == self.config.dataset.digest

    def name_elsewhere(self, dataset: Dataset, samples: Selection) -> str:
        """What samples of --dataset are called in names of folders; empty where they are the run's own images, moved.

        They are its own if the training images are, and the split is the one that its config tells of, or else none
        that its evaluations and embeddings contradict.
        """
        if self.trained_on(dataset):
            val = self.config.dataset.val_digest if samples.source_split == "val" else ""
            known = {val} if val else {*self.evaluated(samples.name).values()}
            if samples.source_split == "train" or not known or samples.split.digest in known:
                return ""
        return f"{part_of_name(dataset.name)}-{samples.split.digest[:8]}"

    def evaluated(self, split: str) -> dict[str, str]:
        """Digest of the images of every evaluation and embedding of a split of the run's own, by folder."""
        found = {}
        for place in sorted((*self.folder.glob(f"evaluation/{split}-*"), *self.folder.glob(f"embedding/{split}-*"))):
            with suppress(UserError):  # damaged: it tells nothing
                if place.parent.name == "embedding":
                    found[place.name] = str(read_json(place / "metrics.json").get("images_sha256", ""))
                elif (place / FILE_NAME).is_file():
                    found[place.name] = read_predictions(place).digest
        return {name: digest for name, digest in found.items() if digest and folders.ELSEWHERE not in name}

    def tell_changed(self, samples: Selection, console: Console) -> None:
        """Say in one line that the run's own images of a split are not those that were looked at before."""
        others = [name for name, digest in self.evaluated(samples.name).items() if digest != samples.split.digest]
        if others:
            console.line(
                f"The images of {samples.name} are not those of {', '.join(others)}: they have changed since, and its "
                "figures can't be held against those made now", style="yellow",
            )  # fmt: skip

    def features(self, job: Job[Any]) -> FrozenFeatures:
        """The frozen features that the published model's own convolutions make, from the run's cache."""
        backbone = self.model.backbone.to(job.accelerator.device)
        return FrozenFeatures(backbone, self.config.cache_dir, job.accelerator, job.console)

    def open_features(
        self, dataset: Dataset, source_split: str, positions: np.ndarray, job: Job[Any], *, tap: bool,
        mirrored: bool = False,
    ) -> tuple[CachedFeatures | LiveFeatures, np.ndarray]:  # fmt: skip
        """Features of samples of a stored split at ``positions`` (N,), and their rows (N,) in them.

        Frozen convolutions have those of the whole split, for all runs. Nobody else has use for what convolutions make
        that were trained: of them only these samples are extracted.
        """
        frozen = self.features(job)
        if not self.model_config.finetuned_layers:
            return frozen.open(dataset, source_split, tap=tap, mirrored=mirrored), positions
        part = frozen.open_part(dataset, source_split, positions, tap=tap, mirrored=mirrored)
        return part, np.arange(len(positions))


def _classes(names: Sequence[str], others: Sequence[str]) -> str:
    """Classes in words, those first that the others lack."""
    known = set(others)
    return f"the classes {listed(sorted(names, key=lambda name: name in known))}"


def open_run(
    runs_dir: Path, run: str | None, checkpoint_name: str, report: folders.Report = lambda _: None
) -> OpenedRun:
    """Find a run and load one of its published models.

    Args:
        run: name or path; the newest run if None, and ``report`` is told which can't be read.
        checkpoint_name: ``best``, ``last`` or ``epoch-N``.

    Raises:
        UserError: if there is no such run or model, or a file of it is damaged.
    """
    folder = folders.find_run(runs_dir, run, report)
    model, model_config = load_published(folders.published_folder(folder, checkpoint_name))
    return OpenedRun(folder, checkpoint_name, read_run_config(folder), model, model_config)
