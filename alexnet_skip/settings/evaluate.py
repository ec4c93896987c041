"""Settings of evaluate.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alexnet_skip.settings.command_line import arguments_or_own, read_command_line, require, require_checkpoint
from alexnet_skip.settings.modes import Mode, chosen_mode, refuse_idle_flags
from alexnet_skip.system.errors import UserError

# One picture that can still be taken in.
MAX_EXPLAINED = 40

# In every mode.
EVERYWHERE = ("runs_dir", "quiet", "json")

MODES = (
    Mode(
        "images", "alexnet_skip.evaluation.classify:classify", ("topk", "run", "checkpoint", *EVERYWHERE), shared=True,
    ),
    Mode("export", "alexnet_skip.evaluation.export:export", ("run", "checkpoint", *EVERYWHERE)),
    Mode(
        "explain", "alexnet_skip.study.explain:explain",
        ("run", "compare", "split", "checkpoint", "dataset", *EVERYWHERE),
    ),
    Mode("compare", "alexnet_skip.study.compare:compare_runs", ("topk", "split", "checkpoint", "dataset", *EVERYWHERE)),
    Mode("table", "alexnet_skip.study.table:report_table", ("split", "checkpoint", *EVERYWHERE)),
    Mode(
        "report", "alexnet_skip.report.write:report", ("lang", "out", *EVERYWHERE), alone=("lang", "out"),
    ),
    Mode(
        "redraw", "alexnet_skip.evaluation.evaluate:redraw",
        ("topk", "run", "split", "checkpoint", "tta", "dataset", *EVERYWHERE),
    ),
    Mode(
        "dry_run", "alexnet_skip.upkeep.dry_pass:dry_run_evaluation",
        ("topk", "run", "split", "checkpoint", "tta", "dataset", "verify_images", *EVERYWHERE), shared=True,
    ),
)  # fmt: skip


# The settings in ``--help``: the everyday ones, then what is done instead of evaluating, then the rest.
GROUPS = {
    "everyday": ("run", "topk", "split", "checkpoint", "dataset", "runs_dir", "dry_run", "quiet", "json"),
    "mode": ("images", "export", "compare", "explain", "table", "report", "lang", "out", "redraw"),
    "probability": ("tta", "fit_temperature"),
    "image": ("verify_images",),
}


@dataclass(frozen=True)
class EvaluateSettings:
    """Evaluate a trained run: top-k accuracy with intervals, per-class figures and the confusion matrix.

    python evaluate.py --topk 1 3                        the newest run, on its test images
    python evaluate.py --images photo.jpg my_photos      images of one's own
    python evaluate.py --export onnx                     the whole network in one file
    python evaluate.py --compare runs/study-cifar10      does the skip help?
    """

    topk: tuple[int, ...] | None = None
    """The k's of the top-k accuracies; 1 is always among them, and 3 where there are as many classes. With --images,
    how many classes to show of each image (3 if left out)."""
    images: tuple[Path, ...] | None = None
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
    """Evaluate on another FOLDER with the same classes, or the run's own images at another place. With --redraw the
    evaluation on those images is made again; --compare shows its images from there."""
    verify_images: bool = False
    """Read every image of a folder again, although its files seem not to have changed."""
    export: Literal["none", "onnx", "torch"] = "none"
    """Write the whole network into one file that takes uint8 images, instead of evaluating: onnx (needs the extra
    packages of pip install ".[export]") or torch (a .pt2 file of torch.export)."""
    fit_temperature: bool = False
    """First fit the model's temperature again, on the run's held-out images (never on test), and store it: for models
    from before training did so. With it, probabilities are as confident as the model is right."""
    redraw: bool = False
    """Make the figures and metrics.json of an evaluation again from its predictions.npz, without the model."""
    compare: tuple[str, ...] | None = None
    """Compare RUN RUN ... with the first of them, or the variants of a STUDY (the newest if none is named) with the one
    without the skip: what they get right on the same samples, from their evaluations. A study is compared at the last
    of its snapshots unless --checkpoint names another."""
    explain: int | None = None
    """Draw where the model looks (Grad-CAM of the last convolution and of the tapped one) in so many of its images, its
    surest mistakes and hits; with --compare RUN RUN, or a STUDY, in those that only one of the two gets right."""
    table: tuple[str, ...] | None = None
    """Print and write the source report's table, low and high epoch without and with the skip, from a STUDY (the newest
    if none is named) or from four RUNs, with the report's own figures beside it."""
    report: tuple[str, ...] | None = None
    """Write all that is known of a STUDY, of one RUN or of several side by side (the newest study if none is named, or
    the newest run) as one page, a file of its own that any browser opens and prints: from what they have left, without
    the model."""
    lang: str = "en"
    """Language of the page of --report: en or ko."""
    out: Path | None = None
    """Where to write the page of --report; report.html in the study's or run's folder if left out."""
    runs_dir: Path = Path("runs")
    """Folder of all runs."""
    dry_run: bool = False
    """Say what the command would use, need and take, and whether it would start (exit code 0 or 2); write nothing."""
    quiet: bool = False
    """Print nothing but the last line, one JSON object."""
    json: bool = False
    """Print that line on a terminal, too; elsewhere it always is."""

    def __post_init__(self) -> None:
        given = self.topk is None or (bool(self.topk) and all(k >= 1 for k in self.topk))
        require(given, "--topk", self.topk, "1 or more")
        require(self.images != (), "--images", "empty", "image files, or folders that hold some")
        require_checkpoint(self.checkpoint)
        explained = self.explain is None or 1 <= self.explain <= MAX_EXPLAINED
        require(explained, "--explain", self.explain, f"1 to {MAX_EXPLAINED} images")
        both = self.explain is not None and self.run is not None and self.compare is not None
        require(not both, "--run", self.run, "left out with --explain --compare, which names the runs")
        refuse_idle_flags(self, MODES)

    @property
    def mode(self) -> Mode | None:
        """What to do instead of evaluating a run; None to evaluate one."""
        return chosen_mode(self, MODES)

    def check_topk(self, num_classes: int, model: str) -> None:
        """Refuse a ``--topk`` that the model has too few classes for.

        Args:
            model: what to call it.

        Raises:
            UserError: with the number of its classes.
        """
        if self.topk and max(self.topk) > num_classes:
            raise UserError(
                f"--topk is {max(self.topk)}, but {model} has {num_classes} classes; give 1 to {num_classes}"
            )


def parse_evaluate(argv: Sequence[str] | None = None) -> EvaluateSettings:
    """Read evaluate.py's command line; raises as :func:`alexnet_skip.settings.command_line.read_command_line`."""
    return read_command_line(EvaluateSettings(), arguments_or_own(argv), "evaluate.py", GROUPS)
