"""A finished run, as a notebook holds it."""

import json
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from alexnet_skip.api.figures import Figures
from alexnet_skip.devices.launch import start_anew, start_job
from alexnet_skip.evaluation.evaluate import EvaluationSet, evaluate_model
from alexnet_skip.network.model import AlexNetWithSkip
from alexnet_skip.runs.opened import open_run
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.settings.keywords import with_keywords
from alexnet_skip.system.files import read_json


@dataclass(frozen=True)
class Run(os.PathLike[str]):
    """A run by its folder, which it can be given for wherever a path is taken."""

    folder: Path

    def __fspath__(self) -> str:
        return str(self.folder)

    @cached_property
    def model(self) -> AlexNetWithSkip:
        """The network of the best epoch, in eval mode on the CPU."""
        return AlexNetWithSkip.from_pretrained(self.folder)

    @property
    def history(self) -> list[dict[str, Any]]:
        """Figures of each epoch: losses, top-1, top-3, learning rate, gradient norm, speed; a data frame's rows."""
        lines = (self.folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]

    @property
    def summary(self) -> dict[str, Any]:
        """Figures of the best epoch and of the last, seconds per phase, peak memory."""
        return read_json(self.folder / "summary.json")

    @property
    def figures(self) -> Figures:
        """All pictures in the run's folder, shown where a cell ends with them."""
        return Figures(self.folder)

    def evaluate(
        self,
        split: Literal["test", "val", "train"] = "test",
        *,
        checkpoint: str = "best",
        topk: tuple[int, ...] = (),
        tta: bool = False,
        quiet: bool = False,
    ) -> dict[str, Any]:
        """Evaluate the run on its own images, as ``evaluate.py`` does, files and pictures included.

        Returns:
            What metrics.json says: ``top1`` with its interval, ``balanced_accuracy``, ``macro_f1``, ``per_class``, …

        Raises:
            UserError: for what the command line would refuse, in the same words.
        """
        given = {"split": split, "checkpoint": checkpoint, "topk": topk or None, "tta": tta, "quiet": quiet}
        settings = with_keywords(EvaluateSettings(), given)
        start_anew()
        job = start_job(settings)
        run = open_run(self.folder.parent, str(self.folder), checkpoint)
        settings.check_topk(len(run.model.class_names), run.folder.name)
        dataset = run.load_images(None, job, own=True)
        samples = run.select(split, dataset, job.console, is_training_dataset=True)
        run.tell_changed(samples, job.console)
        features, rows = run.open_features(
            dataset, samples.source_split, samples.positions, job, tap=run.needs_tap, mirrored=tta
        )
        on = EvaluationSet(dataset.name, samples, features, rows, tta=tta)
        return evaluate_model(run, on, job.accelerator, job.console, topk=topk).summary
