"""What is said at the end of a training: what it came to, and the commands to type next."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from alexnet_skip.system.console import Console, duration, per_cent


def show_run(console: Console, summary: Mapping[str, Any], runs_dir: Path) -> None:
    """Print the best epoch's figures, where the time went, and what can be done with the run.

    Args:
        summary: as :func:`alexnet_skip.training.run.train_run` returns it.
    """
    best, seconds = summary["best"], summary["seconds"]
    figures = [f"top-{k} {per_cent(best[f'val_top{k}'], 2)} %" for k in (1, 3) if f"val_top{k}" in best]
    told = ", ".join(figures) + " of the held-out images" if figures else "nothing was held out to measure on"
    parts = sorted(seconds.items(), key=lambda item: -item[1])
    spent = ", ".join(f"{name} {duration(value)}" for name, value in parts if value >= 1)
    console.line(f"Best epoch {summary['best_epoch']} of {summary['epochs']}: {told}")
    console.line(f"{duration(sum(seconds.values()))} in all ({spent})")
    console.line(f"Model in {summary['model']}, curves in {Path(summary['run']) / 'learning_curves.png'}. Next:")
    run = shell_word(summary["run"])
    console.line(f"  python evaluate.py --topk 1 3 --run {run}")
    console.line(f"  python embed.py --run {run}")
    console.line(f"  python evaluate.py --images FILE --run {run}")
    console.line(f"  tensorboard --logdir {shell_word(str(runs_dir))}")


def shell_word(text: str) -> str:
    """Text as one word of a command line, on any shell: in double quotes where it has a space."""
    return f'"{text}"' if " " in text else text
