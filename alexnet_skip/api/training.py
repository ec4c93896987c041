"""``train()``: one run, with the settings of train.py as keywords."""

import inspect
from pathlib import Path
from typing import Any

from alexnet_skip.api.run import Run
from alexnet_skip.devices.launch import start_anew
from alexnet_skip.settings.keywords import parameters_of
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.settings.train_arguments import train_settings
from alexnet_skip.training.log import Stopwatch
from alexnet_skip.training.run import train_run
from alexnet_skip.training.session import fit_to_images, open_session

# They belong to commands: a study is many runs, and a dry run is none.
ONLY_COMMANDS = frozenset(("study", "study_variants", "seeds", "dry_run"))


def train(**options: Any) -> Run:
    """Train one run; the keywords are the flags of ``train.py`` (``--val-fraction`` is ``val_fraction``).

    train(dataset="my_photos", skip=True, epochs=30)

    Returns:
        The finished run: its model, history, summary, figures, and ``evaluate()``.

    Raises:
        TypeError: for a keyword that is none of them.
        UserError: a ValueError; for what the command line would refuse, in the same words.
        InterruptedRunError: after saving, if it was interrupted; ``train(resume="")`` goes on.
    """
    if wrong := ONLY_COMMANDS & set(options):
        raise TypeError(f"train() trains one run and takes no {min(wrong)}; give it to train.py")
    settings = train_settings(options)
    watch = Stopwatch()
    start_anew()
    with watch.phase("load"):
        session = open_session(settings)
    try:
        summary = train_run(fit_to_images(settings, session), session, watch)
    finally:
        session.accelerator.end_training()
    return Run(Path(summary["run"]).resolve())


# What help() and a notebook's Shift-Tab show; the settings hold the only defaults.
train.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    parameters_of(TrainSettings, ONLY_COMMANDS), return_annotation=Run
)
