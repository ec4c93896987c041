"""Settings of embed.py."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from alexnet_skip.settings.command_line import arguments_or_own, read_command_line, require, require_checkpoint
from alexnet_skip.settings.modes import Mode, chosen_mode, refuse_idle_flags

Layer = Literal["features", "hidden1", "hidden2", "logits"]

SkipView = Literal["main", "tap", "joined"]

# More would be altered by TensorBoard's projector unasked (see projector.py, which this page must not import).
MAX_PROJECTOR_COMPONENTS = 49
MAX_THUMBNAIL_PX = 256
MODES = (
    Mode(
        "dry_run", "alexnet_skip.upkeep.dry_pass:dry_run_embedding",
        ("run", "split", "checkpoint", "fit", "dataset", "verify_images", "max_points", "thumbnails", "runs_dir",
         "quiet", "json"),
        shared=True,
    ),
)  # fmt: skip


# The settings in ``--help``: the everyday ones, then what is embedded and how it is shown.
GROUPS = {
    "everyday": ("run", "layer", "split", "checkpoint", "compare", "runs_dir", "dry_run", "quiet", "json"),
    "space": ("skip_view", "components", "fit"),
    "image": ("dataset", "verify_images", "max_points"),
    "projector": ("projector_components", "thumbnails"),
}


@dataclass(frozen=True)
class EmbedSettings:
    """Draw the space that a run's images are embedded in: PCA, class separation, TensorBoard projector.

    python embed.py                                the newest run, its test images
    python embed.py --layer hidden2                what the trained head makes of the features
    python embed.py --run NAME --compare OTHER     two runs side by side
    """

    run: str | None = None
    """Name or path of the run; the newest if left out."""
    split: Literal["test", "val", "train"] = "test"
    """Which images; a dataset without a test split is embedded by its val, and that is said."""
    checkpoint: str = "best"
    """best, last, or epoch-N for one of --snapshot-epochs: which of the run's models makes the space."""
    layer: Layer = "features"
    """features of the frozen network, or what the trained head makes of them: hidden1 (4,096 values), hidden2 (1,024)
    or logits."""
    skip_view: SkipView = "joined"
    """Which features: main (the network's output), tap (the pooled fourth convolution), or joined by the run's skip
    connection, as its head sees them."""
    components: int | None = None
    """Principal coordinates of the embedding whose figures are told; 3 of them are drawn. 3 if left out, or as many as
    there are."""
    projector_components: int = 49
    """Principal coordinates given to TensorBoard's projector."""
    max_points: int | None = None
    """Embed only this many images (balanced over the classes)."""
    fit: Literal["train", "split"] = "train"
    """Which images the principal axes are fitted on: the training images, or the embedded ones themselves."""
    compare: str | None = None
    """Another run, drawn beside this one: the same images as both see them."""
    dataset: str | None = None
    """Where the run's own images are now, if they have been moved since it was trained."""
    verify_images: bool = False
    """Read every image of a folder again, although its files seem not to have changed."""
    thumbnails: int = 32
    """Side of the projector's thumbnails in pixels; 0 leaves them out."""
    runs_dir: Path = Path("runs")
    """Folder of all runs."""
    dry_run: bool = False
    """Say what the command would use, need and take, and whether it would start (exit code 0 or 2); write nothing."""
    quiet: bool = False
    """Print nothing but the last line, one JSON object."""
    json: bool = False
    """Print that line on a terminal, too; elsewhere it always is."""

    def __post_init__(self) -> None:
        most, side = MAX_PROJECTOR_COMPONENTS, MAX_THUMBNAIL_PX
        require_checkpoint(self.checkpoint)
        require(self.components is None or self.components >= 2, "--components", self.components, "at least 2")
        require(
            2 <= self.projector_components <= most, "--projector-components", self.projector_components, f"2 to {most}"
        )
        require(self.max_points is None or self.max_points >= 3, "--max-points", self.max_points, "at least 3")
        require(
            self.thumbnails == 0 or 8 <= self.thumbnails <= side, "--thumbnails", self.thumbnails, f"0 or 8 to {side}"
        )
        require(
            self.layer == "features" or self.skip_view == "joined", "--skip-view", self.skip_view,
            f"joined for --layer {self.layer}, which comes after the skip connection",
        )  # fmt: skip
        refuse_idle_flags(self, MODES)

    @property
    def mode(self) -> Mode | None:
        """What to do instead of embedding a run; None to embed one."""
        return chosen_mode(self, MODES)


def parse_embed(argv: Sequence[str] | None = None) -> EmbedSettings:
    """Read embed.py's command line; raises as :func:`alexnet_skip.settings.command_line.read_command_line`."""
    return read_command_line(EmbedSettings(), arguments_or_own(argv), "embed.py", GROUPS)
