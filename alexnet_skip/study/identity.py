"""What must be equal in the runs of a study, and in which setting two runs differ."""

from typing import Any, NamedTuple

from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.records import RunConfig


class Difference(NamedTuple):
    """A flag whose values differ between two runs, and how to tell both."""

    flag: str
    a: str
    b: str


class _Setting(NamedTuple):
    """What a flag decides, and how to tell its value: the same images and weights may lie at another place."""

    decides: Any
    told: str


def difference(a: RunConfig, b: RunConfig) -> Difference | None:
    """The first setting in which two runs differ, but for form and seed; None where they are of one study.

    Of precision counts what was used, not the ``auto`` that was asked for; where a run does not say (older ones), what
    was asked for. Of images counts whether val/ lies beside them, where both say it: more are trained on then.
    """
    used = a.precision is not None and b.precision is not None
    splits = bool(a.dataset.splits and b.dataset.splits)
    of_a, of_b = (_identity(run, used=used, splits=splits) for run in (a, b))
    differing = (flag for flag, value in of_a.items() if of_b[flag].decides != value.decides)
    return next((Difference(flag, of_a[flag].told, of_b[flag].told) for flag in differing), None)


def _identity(config: RunConfig, *, used: bool, splits: bool) -> dict[str, _Setting]:
    """What must be equal in two runs of a study, by the flag that decides it."""
    settings = config.settings
    training = {key: value for key, value in to_dict(settings.training).items() if key != "seed"}
    second = to_dict(settings.finetuning)
    # Of a stage that is not trained, nothing decides anything.
    training |= second if settings.finetuning.finetune else dict.fromkeys(second) | {"finetune": 0}
    plain = {"recipe": settings.recipe, **training, "snapshot_epochs": list(settings.run.snapshot_epochs)}
    found = {f"--{key.replace('_', '-')}": _Setting(value, str(value)) for key, value in plain.items()}
    if used and config.precision is not None:
        # That of its start: a run that goes on elsewhere may do so in another one.
        became, asked = config.precision.mixed_precision, settings.training.mixed_precision
        found["--mixed-precision"] = _Setting(became, asked if asked == became else f"{asked} ({became})")
    weights, images = config.weights_digest, config.dataset.digest
    found["--weights"] = _Setting(weights, f"{settings.weights} (SHA-256 {weights[:12]})")
    val = (", with val/" if "val" in config.dataset.splits else ", without val/") if splits else ""
    told = f"{settings.data.dataset} (training images' SHA-256 {images[:12]}{val})"
    return found | {"--dataset": _Setting((images, val), told)}
