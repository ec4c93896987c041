"""Settings of a study: which forms of the skip connection are trained, and with which seeds."""

from dataclasses import dataclass
from typing import Literal

from alexnet_skip.settings.command_line import require

Variant = Literal["none", "identity", "conv", "concat"]


@dataclass(frozen=True)
class StudySettings:
    """Does the skip help? Several runs, alike in all else, by one command."""

    study: bool = False
    """Train every variant with every seed, as runs in one folder (--name; study-<dataset> if left out), and evaluate
    them at two --snapshot-epochs LOW HIGH (a fifth of --epochs and --epochs if left out). Given again after an
    interruption, the same command trains only what is missing."""
    study_variants: tuple[Variant, ...] = ("none", "identity", "conv", "concat")
    """Forms of the skip connection that a study trains; none is without it, and what the others are compared with."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of a study. Variants with the same seed see the same batches in the same order."""

    def __post_init__(self) -> None:
        for flag, values in (("--study-variants", self.study_variants), ("--seeds", self.seeds)):
            given = " ".join(str(value) for value in values)
            require(0 < len(values) == len(set(values)), flag, given or "empty", "one or more different values")
        require(min(self.seeds) >= 0, "--seeds", min(self.seeds), "0 or more")
