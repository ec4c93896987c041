"""Settings of evaluate.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alexnet_skip.settings.command_line import arguments_or_own, read_command_line, require


@dataclass(frozen=True)
class EvaluateSettings:
    """Evaluate a trained run: top-k accuracy with intervals, per-class figures and the confusion matrix.

    python evaluate.py --topk 1 3
    python evaluate.py --images photo.jpg my_photos
    python evaluate.py --export onnx
    python evaluate.py --compare runs/study-cifar10
    """

    topk: tuple[int, ...] | None = None
    """The k's of the top-k accuracies; 1 is always among them, and 3 where there are as many classes. With --images,
    how many classes to show of each image (3 if left out)."""
    images: tuple[Path, ...] = ()
    """Classify these image files, and those in these folders, instead of evaluating; any size and mode."""
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
    export: Literal["none", "onnx", "torch"] = "none"
    """Write the whole network into one file that takes uint8 images, instead of evaluating: onnx (needs the extra
    packages of pip install ".[export]") or torch (a .pt2 file of torch.export)."""
    fit_temperature: bool = False
    """First fit a temperature on the run's held-out images (never on test) and store it with the model: then
    its probabilities are as confident as it is right."""
    redraw: bool = False
    """Make the figures and metrics.json of an evaluation again from its predictions.npz, without the model."""
    compare: tuple[str, ...] | None = None
    """Compare RUN RUN ... with the first of them, or the variants of a STUDY (the newest if none is named) with the one
    without the skip: what they get right on the same samples, from their evaluations. A study is compared at the last
    of its snapshots unless --checkpoint names another."""
    table: tuple[str, ...] | None = None
    """Print and write the source report's table, low and high epoch without and with the skip, from a STUDY (the newest
    if none is named) or from four RUNs, with the report's own figures beside it."""
    runs_dir: Path = Path("runs")
    """Folder of all runs."""
    dry_run: bool = False
    """Say what the command would use, need and take, and whether it would start (exit code 0 or 2); write nothing."""
    quiet: bool = False
    """Print nothing but the last line, one JSON object."""

    def __post_init__(self) -> None:
        given = self.topk is None or (bool(self.topk) and all(k >= 1 for k in self.topk))
        require(given, "--topk", self.topk, "1 or more")
        kind, _, number = self.checkpoint.partition("-")
        valid = self.checkpoint in ("best", "last") or (kind == "epoch" and number.isdigit())
        require(valid, "--checkpoint", self.checkpoint, "best, last or epoch-N")
        special = bool(self.images) or self.export != "none" or self.compare is not None or self.table is not None
        require(not (self.dry_run and special), "--dry-run", "given", "left out unless a run is evaluated")
        both = bool(self.images) and self.export != "none"
        require(not both, "--export", self.export, "left out where --images is given")


def parse_evaluate(argv: Sequence[str] | None = None) -> EvaluateSettings:
    """Read evaluate.py's command line; raises as :func:`alexnet_skip.settings.command_line.read_command_line`."""
    return read_command_line(EvaluateSettings, arguments_or_own(argv), "evaluate.py")
