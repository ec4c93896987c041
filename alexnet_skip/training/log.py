"""What a run records while it trains: metrics.jsonl, TensorBoard scalars, progress, and seconds per phase."""

import json
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from accelerate import Accelerator

from alexnet_skip.plots.curves import learning_curves_figure
from alexnet_skip.plots.gradients import gradients_figure
from alexnet_skip.plots.style import save_figure
from alexnet_skip.settings.records import RunConfig
from alexnet_skip.settings.shared import VARIANTS
from alexnet_skip.system.console import Console, ProgressHandle
from alexnet_skip.system.files import write_text
from alexnet_skip.training.state import RunState

# TensorBoard's tag of each figure: it shows groups in the order of their names, and the first two unfolded.
TAGS = {
    "train_eval_top1": "1 accuracy/top-1 train",
    "train_top1": "1 accuracy/top-1 train, while training",
    "val_top1": "1 accuracy/top-1 val",
    "best_val_top1": "1 accuracy/top-1 val, best so far",
    "val_top3": "1 accuracy/top-3 val",
    "train_eval_loss": "2 loss/train",
    "train_loss": "2 loss/train, as minimised",
    "val_loss": "2 loss/val",
    "lr": "3 optimizer/learning rate",
    "grad_norm": "3 optimizer/gradient norm",
    "images_per_second": "4 speed/images per second",
    "seconds": "4 speed/seconds",
}
# Of metrics.jsonl, in this order; what an epoch does not have is null.
FIGURES = (
    "train_loss", "train_top1", "train_eval_loss", "train_eval_top1", "val_loss", "val_top1", "val_top3", "lr",
    "grad_norm", "images_per_second",
)  # fmt: skip


def layer_tag(name: str) -> str | None:
    """The tag of a figure of one convolution, such as ``layer6_gradient_main``; None of any other figure."""
    layer, _, what = name.partition("_")
    return f"5 fine-tuning/{what.replace('_', ' ')}, {layer}" if layer.startswith("layer") else None


class Stopwatch:
    """Seconds per named phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Add the time of the block to a phase."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - began


def run_title(config: RunConfig, name: str) -> str:
    """What a run's pictures are called: its dataset, its form of the skip connection, its name."""
    return f"{config.dataset.name}, {VARIANTS[config.settings.joined]}: {name}"


class RunLog:
    """Writes a run's figures epoch by epoch; closes TensorBoard and draws the curves on failure as on success.

    Args:
        images: per epoch.
        epochs_before: epochs that an earlier stage of the run has.
        state: where the run stands; each new record is added to its history.
        title: of the picture of the curves.
    """

    def __init__(
        self, accelerator: Accelerator, folder: Path, console: Console, num_epochs: int, images: int,
        state: RunState, title: str, *, epochs_before: int = 0,
    ) -> None:  # fmt: skip
        self.accelerator = accelerator
        self.folder = folder
        self.console = console
        self.num_epochs = num_epochs
        self.images = images
        self.epochs_before = epochs_before
        self.state, self.history = state, state.history
        self.title = title
        self.began = time.perf_counter() - sum(record["seconds"] for record in state.history[-1:])
        self._stack = ExitStack()
        self._progress: ProgressHandle

    def __enter__(self) -> "RunLog":
        # What an interrupted run has written since its last checkpoint is taken back: those epochs come once more.
        lines = self.folder / "metrics.jsonl"
        if self.accelerator.is_main_process and lines.exists():
            write_text(lines, "".join(json.dumps(record, allow_nan=False) + "\n" for record in self.history))
        purge = {"tensorboard": {"purge_step": self._last_epoch + 1}}
        # Relative to the folder of all runs: the runs of a study lie one level deeper.
        name = self.folder.relative_to(str(self.accelerator.logging_dir)).as_posix()
        self.accelerator.init_trackers(name, init_kwargs=purge)
        title = "Train, stage 2 of 2" if self.epochs_before else "Train"
        self._progress = self._stack.enter_context(
            self.console.progress(title, (self.num_epochs - self.epochs_before) * self.images)
        )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()
        # Not end_training(): that also takes down the process group, which publishing still needs.
        for tracker in self.accelerator.trackers:
            tracker.finish()
        # init_trackers adds to those that are there: the next run of a study would be logged into this one as well.
        self.accelerator.trackers.clear()
        if self.accelerator.is_main_process and self.history:
            with self.console.working("Drawing the curves"):
                second = self.epochs_before + 1 if self.epochs_before else None
                curves = learning_curves_figure(self.history, self.state.chosen_epoch, self.title, second)
                save_figure(curves, self.folder / "learning_curves.png")
                if self.epochs_before and self._last_epoch > self.epochs_before:
                    save_figure(gradients_figure(self.history, self.title), self.folder / "gradients.png")

    @property
    def _last_epoch(self) -> int:
        """Of those recorded: a run that begins with another's model has no record of that one's epochs."""
        return self.history[-1]["epoch"] if self.history else 0

    def go_on(self, images: int, seconds: float) -> None:
        """Count the epochs done before, and those images and seconds of an epoch that was interrupted."""
        self.began -= seconds
        self.advance(max(0, self._last_epoch - self.epochs_before) * self.images + images)

    @property
    def writer(self) -> Any:
        """TensorBoard's writer; on the main process only."""
        return self.accelerator.get_tracker("tensorboard", unwrap=True)

    def advance(self, images: int) -> None:
        """Report trained images."""
        self._progress.advance(images)

    def epoch(self, epoch: int, figures: Mapping[str, float]) -> None:
        """Record the figures of one epoch."""
        record: dict[str, float | None] = {"epoch": epoch} | {name: figures.get(name) for name in FIGURES}
        record |= {name: value for name, value in figures.items() if name.startswith("layer")}
        record["seconds"] = time.perf_counter() - self.began
        self.history.append(record)
        if self.accelerator.is_main_process:
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8", newline="\n") as file:
                file.write(json.dumps(record, allow_nan=False) + "\n")
        # HParams shows each curve's last value, and runs are chosen by their best.
        chosen_among = [*self.history, self.state.best_figures]  # a parent's is in no record of this run
        best = [line["val_top1"] for line in chosen_among if line.get("val_top1") is not None]
        curves = record | ({"best_val_top1": max(best)} if best else {})
        # float(): the tracker drops NumPy scalars without a word.
        told = {tag: float(v) for n, v in curves.items() if v is not None and (tag := TAGS.get(n) or layer_tag(n))}
        self.accelerator.log(told, step=epoch)
        shown = f"loss {figures['train_loss']:.4f}"
        if "val_top1" in figures:
            shown += f", val loss {figures['val_loss']:.4f}, val top-1 {100 * figures['val_top1']:.2f} %"
        self._progress.show(shown)
        self.console.line(f"epoch {epoch:3d}/{self.num_epochs}: {shown}, {record['seconds']:.0f} s")
