"""The finished runs of a study by form and seed: whether they are one study, and which of them can be compared."""

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from alexnet_skip.runs.folders import runs_in
from alexnet_skip.settings.records import RunConfig, read_run_config
from alexnet_skip.settings.shared import VARIANTS, SkipMode, StudySettings
from alexnet_skip.settings.train_arguments import train_command
from alexnet_skip.study.identity import difference
from alexnet_skip.system.errors import UserError


@dataclass(frozen=True)
class FinishedRun:
    """A finished run, and what it says of itself."""

    folder: Path
    config: RunConfig

    @property
    def variant(self) -> SkipMode:
        """How the tap joins."""
        return self.config.settings.joined

    @property
    def seed(self) -> int:
        """Of its training."""
        return self.config.settings.training.seed


def is_judged(config: RunConfig) -> bool:
    """Whether a run was kept after a low and a high epoch, as those of a study are and no others need be."""
    return len(config.settings.run.snapshot_epochs) == 2


def finished_runs(study: Path) -> dict[SkipMode, dict[int, FinishedRun]]:
    """The finished runs of a study by form, without the skip first, and by seed.

    Raises:
        UserError: if the folder is no study: its runs were not kept at two epochs, differ in more than form and
            seed, or two have the same; naming which.
    """
    runs = [FinishedRun(run, read_run_config(run)) for run in runs_in(study) if (run / "summary.json").is_file()]
    found: dict[SkipMode, dict[int, FinishedRun]] = {}
    for run in runs:
        if not is_judged(run.config):
            epochs = " ".join(map(str, run.config.settings.run.snapshot_epochs)) or "empty"
            reason = f"--snapshot-epochs of {run.folder} is {epochs}, not a low and a high epoch"
        elif differs := difference(runs[0].config, run.config):
            reason = f"{differs.flag} is {differs.a} in {runs[0].folder}, but {differs.b} in {run.folder}"
        elif (same := found.setdefault(run.variant, {}).setdefault(run.seed, run)) is not run:
            reason = f"{same.folder} and {run.folder} have the same form ({run.variant}) and seed ({run.seed})"
        else:
            continue
        raise UserError(
            f"{study} is no study: {reason}; name a study, whose runs differ in form and seed alone, or runs one by one"
        )
    return {variant: found[variant] for variant in VARIANTS if variant in found}


def comparable(
    seeds: Mapping[SkipMode, Collection[int]], least: int
) -> tuple[tuple[SkipMode, ...], tuple[int, ...]] | None:
    """The forms and the seeds that all of these have, chosen so that as many runs as possible are compared.

    The form without the skip, which the others are held against, stays where it shares a seed with one of them; of as
    many runs more forms are taken. None where not so many forms share a seed.

    Args:
        seeds: finished, by form.
        least: how many forms there must be.
    """
    groups = [forms for size in range(least, len(seeds) + 1) for forms in combinations(seeds, size)]
    shared = [(forms, tuple(sorted(set.intersection(*(set(seeds[form]) for form in forms))))) for forms in groups]
    return max(
        (group for group in shared if group[1]),
        key=lambda group: (len(group[0]) > 1, "none" in group[0], len(group[0]) * len(group[1]), len(group[0])),
        default=None,
    )


def study_command(study: Path, config: RunConfig, variants: Sequence[SkipMode], seeds: Sequence[int]) -> list[str]:
    """The words of train.py's command line that goes on with a study.

    Args:
        config: of one of its runs: their settings, less what tells one from another.
    """
    settings = dataclasses.replace(
        config.settings,
        skip=False,
        skip_mode="conv",
        data=config.data,
        training=dataclasses.replace(config.settings.training, seed=0),
        run=dataclasses.replace(config.settings.run, runs_dir=study.parent, name=None),
        study=StudySettings(study=True, study_variants=tuple(variants), seeds=tuple(seeds)),
    )
    # Not through the settings: a folder may have been given a name since that --name would refuse.
    return [*train_command(settings, ("resume",)), "--name", study.name]
