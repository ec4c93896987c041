"""The runs that lie in a folder: what each is, how far it came, and what it takes."""

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alexnet_skip.network.state_files import HEAD
from alexnet_skip.runs.checkpoints import MARKER
from alexnet_skip.runs.folders import published_name, runs_in
from alexnet_skip.runs.sharing import published_models
from alexnet_skip.settings.records import is_finished, read_run_config
from alexnet_skip.system.disk import Usage, disk_usage
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json
from alexnet_skip.system.heartbeat import RECORD_NAME, STALE_SECONDS


@dataclass(frozen=True)
class Entry:
    """One run.

    Attributes:
        name: within the folder of all runs; a study's is ``<study>/<run>``.
        study: name of the study it is of; empty if of none.
        created: ISO 8601, UTC; empty where it does not say.
        skip: how the tap joins.
        state: ``finished``, ``interrupted`` (--resume goes on), ``begun`` (no checkpoint was saved), ``in use``, or
            ``damaged`` (its config can't be read).
        models: that it has published: ``best``, ``last``, ``epoch-N``.
        val_top1: of the best epoch when it was last finished; None where it never was, or nothing was held out.
    """

    folder: Path
    name: str
    study: str
    created: str
    skip: str
    state: str
    models: tuple[str, ...]
    val_top1: float | None
    usage: Usage

    def as_json(self) -> dict[str, Any]:
        """The run for programs."""
        return dataclasses.asdict(self) | {"folder": str(self.folder)}


def read_entries(runs_dir: Path) -> list[Entry]:
    """Every run of a folder, by name.

    Raises:
        UserError: if there is no such folder.
    """
    if not runs_dir.is_dir():
        raise UserError(f"--runs-dir is {runs_dir}, which is no folder; training makes one (runs, if not told else)")
    return [_read(run, runs_dir) for run in runs_in(runs_dir)]


def _read(run: Path, runs_dir: Path) -> Entry:
    names = {"model": "best", "last": "last"}
    models = [names.get(place.name) or published_name(place.name) for place in published_models(run)]
    if (run / HEAD).is_file():  # no run, but a model that was copied here
        models.append("best")
    study = "" if run.parent == runs_dir else run.parent.name
    told: dict[str, Any] = {"state": "damaged", "created": "", "skip": "", "val_top1": None}
    try:
        config = read_run_config(run)
        told |= {"created": config.created, "skip": config.settings.joined, "state": _state(run)}
        if (run / "summary.json").is_file():
            told["val_top1"] = read_json(run / "summary.json").get("best", {}).get("val_top1")
    except UserError:
        told["state"] = "damaged"
    name = run.relative_to(runs_dir).as_posix()
    return Entry(folder=run, name=name, study=study, models=tuple(models), usage=disk_usage([run]), **told)


def _state(run: Path) -> str:
    try:
        if time.time() - (run / RECORD_NAME).stat().st_mtime < STALE_SECONDS:
            return "in use"
    except FileNotFoundError:
        pass
    if is_finished(run):
        return "finished"
    return "interrupted" if any(run.glob(f"checkpoints/step-*/{MARKER}")) else "begun"
