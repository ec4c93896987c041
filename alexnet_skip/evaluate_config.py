"""Settings of evaluate.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alexnet_skip.command_line import arguments_or_own, read_command_line, require


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
        require(bool(self.topk) and all(k >= 1 for k in self.topk), "--topk", self.topk, "1 or more")
        kind, _, number = self.checkpoint.partition("-")
        valid = self.checkpoint in ("best", "last") or (kind == "epoch" and number.isdigit())
        require(valid, "--checkpoint", self.checkpoint, "best, last or epoch-N")


def parse_evaluate(argv: Sequence[str] | None = None) -> EvaluateSettings:
    """Read evaluate.py's command line; raises as :func:`alexnet_skip.command_line.read_command_line`."""
    return read_command_line(EvaluateSettings, arguments_or_own(argv), "evaluate.py")
