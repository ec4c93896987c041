"""Where a run stands between two steps, but for the weights in training."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor


@dataclass
class EpochProgress:
    """How far an epoch has come: what an interrupted one goes on from.

    Attributes:
        steps: steps done.
        images: images of all processes that these steps took.
        totals: summed loss and correct predictions (2,) of this process's images, float64 on the device.
        seconds: time spent.
    """

    steps: int = 0
    images: int = 0
    totals: Tensor = field(default_factory=lambda: torch.zeros(2, dtype=torch.float64))
    seconds: float = 0.0


def score_of(figures: Mapping[str, float]) -> tuple[float, float]:
    """What epochs are compared by: top-1 on the held-out images, then their loss; more is better."""
    return figures["val_top1"], -figures["val_loss"]


@dataclass
class RunState:
    """Where a run stands, but for its weights.

    Attributes:
        epoch: the one in training, from 1.
        progress: how far that one has come.
        figures: of the last whole epoch.
        history: the lines of metrics.jsonl.
        best_score: of the best epoch so far: a later one must be above it.
    """

    epoch: int = 1
    progress: EpochProgress = field(default_factory=EpochProgress)
    figures: dict[str, float] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    best_score: tuple[float, float] | None = None
    best_epoch: int = 0
    best_figures: dict[str, float] = field(default_factory=dict)
    best_state: dict[str, Any] = field(default_factory=dict)

    @property
    def chosen_epoch(self) -> int | None:
        """The best epoch so far, a parent's last one included; None where nothing was held out to choose by."""
        return self.best_epoch if "val_top1" in self.best_figures else None

    def finish_epoch(self, figures: dict[str, float], weights: dict[str, Any]) -> None:
        """Take an epoch's figures; keep a copy of its weights if it is the best so far."""
        # Without a validation split there is nothing to choose by: the last epoch is published.
        score = score_of(figures) if "val_top1" in figures else (float(self.epoch), 0.0)
        if self.best_score is None or score > self.best_score:
            self.best_score, self.best_epoch, self.best_figures = score, self.epoch, figures
            self.best_state = copy.deepcopy(weights)
        self.figures = figures
        self.epoch += 1
        self.progress = EpochProgress()

    def as_dict(self) -> dict[str, Any]:
        """The state as a checkpoint holds it."""
        return vars(self) | {"progress": vars(self.progress)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunState":
        """Undo :meth:`as_dict`.

        Raises:
            KeyError, TypeError: if these are not its fields.
        """
        return cls(**{**values, "progress": EpochProgress(**values["progress"])})
