"""Train a head on a frozen AlexNet, without or with a skip connection.

accelerate launch train.py --skip                     one GPU, or a CPU
accelerate launch --multi_gpu train.py --skip         several GPUs
python train.py --recipe report                       the source report's training
accelerate launch train.py --study                    does the skip help? every form of it, three seeds
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.settings.train_arguments import parse_train
from alexnet_skip.system.script import run_script


def train(settings: TrainSettings) -> tuple[dict[str, Any], bool]:
    """Train one run, or a study; returns the figures and paths a program needs, and whether this process prints."""
    # Imported once the command line is understood: torch takes seconds, --help should not.
    from alexnet_skip.study.run import run_study
    from alexnet_skip.training.log import Stopwatch
    from alexnet_skip.training.report import show_run, show_study
    from alexnet_skip.training.run import train_run
    from alexnet_skip.training.session import fit_to_images, open_session

    # Device, processes, precision; images and weights
    watch = Stopwatch()
    with watch.phase("load"):
        session = open_session(settings)
        settings = fit_to_images(settings, session)

    # Features from the cache, head, epochs, published model
    summary = run_study(settings, session, watch) if settings.study.study else train_run(settings, session, watch)

    # What to do next
    session.accelerator.end_training()
    if settings.study.study:
        from alexnet_skip.report.write import report_study

        if session.accelerator.is_main_process:
            summary["report"] = report_study(Path(summary["study"]), session.console)
        show_study(session.console, summary["study"], settings.run.runs_dir)
    else:
        show_run(session.console, summary, settings.run.runs_dir)
    return summary, session.accelerator.is_main_process


def do_what_is_asked(settings: TrainSettings) -> tuple[dict[str, Any], bool]:
    """Train, or tell what that would take."""
    if settings.run.dry_run:
        from alexnet_skip.upkeep.dry_run import dry_run_training

        return dry_run_training(settings)
    return train(settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit code."""
    return run_script(lambda: parse_train(argv), do_what_is_asked)


if __name__ == "__main__":
    sys.exit(main())
