"""When a run in progress is saved and stopped, and which checkpoint it goes on from; the same on every process."""

import random
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from alexnet_skip.runs.checkpoints import CheckpointStore, DamagedCheckpointError
from alexnet_skip.runs.folders import snapshot_folder
from alexnet_skip.settings.command_line import require
from alexnet_skip.settings.records import has_published, is_published, read_run_config
from alexnet_skip.settings.shared import CheckpointSettings
from alexnet_skip.system.commands import train_command
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.interruption import ENDING, InterruptedRunError, Interruption


def random_state(device: torch.device) -> dict[str, Any]:
    """States of all generators by name: Python's, NumPy's global one, torch's, and on a GPU that one's."""
    numpy_state = np.random.get_state(legacy=False)  # noqa: NPY002 (a library may draw from it)
    state = {"python": random.getstate(), "numpy": numpy_state, "torch": torch.get_rng_state()}
    return state | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def restore_random_state(state: Mapping[str, Any]) -> None:
    """Undo :func:`random_state`; a run that moves to or from a GPU keeps what it can."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])  # noqa: NPY002
    torch.set_rng_state(state["torch"])
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def require_way_on(run: Path, snapshot_epochs: Sequence[int]) -> None:
    """Refuse to begin a run again that has published a model: that model would be replaced by a younger one.

    Args:
        snapshot_epochs: as they are asked for now; those of epochs that are over can't be had any more.

    Raises:
        UserError: if it has published and there is no whole checkpoint to go on from, or a new snapshot comes too late.
    """
    published = has_published(run)
    before = read_run_config(run).settings.run.snapshot_epochs
    new = [e for e in snapshot_epochs if e not in before and not is_published(snapshot_folder(run, e))]
    newest = CheckpointStore(run / "checkpoints", keep=1).newest(lambda _: None) if published or new else None
    if published and newest is None:
        finished = "is finished" if (run / "summary.json").is_file() else "has a published model"
        raise UserError(
            f"--resume {run}: the run {finished} and kept no complete checkpoint to go on from; nothing published is "
            "replaced: start a new run, with --checkpoint-epochs to be able to train it further later"
        )
    done = newest[1].get("run", {}).get("epoch", 1) - 1 if new and newest else 0
    early = [epoch for epoch in new if epoch <= done]
    require(not early, "--snapshot-epochs", early, f"above {done}: {run} has the epochs up to it behind it")


class Checkpointer:
    """Says when a run is to be saved or stopped, and keeps its checkpoints; within its context signals are noted.

    Args:
        folder: of the run.
    """

    def __init__(self, folder: Path, settings: CheckpointSettings, accelerator: Accelerator, console: Console) -> None:
        self.folder, self.settings, self.accelerator, self.console = folder, settings, accelerator, console
        self.store = CheckpointStore(folder / "checkpoints", settings.keep_checkpoints)
        self._interruption = Interruption()
        self._saved = time.monotonic()

    def __enter__(self) -> "Checkpointer":
        self._interruption.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interruption.__exit__(kind, error, trace)

    def newest(self) -> tuple[str, Any] | None:
        """Name and state of the newest whole checkpoint, the same one on every process.

        Raises:
            UserError: on every process, if one of them lacks what the first one has.
        """
        found: list[Any] = [None]
        state: Any = None
        if self.accelerator.is_main_process and (newest := self.store.newest(self.console.line)):
            found, state = [newest[0].name], newest[1]
        (name,) = broadcast_object_list(found)
        if name is None:
            return None
        problem = None
        if state is None:
            try:
                state = self.store.load(self.store.folder / name)
            except DamagedCheckpointError as error:
                problem = str(error)
        if problems := [told for told in gather_object([problem]) if told]:
            raise UserError(
                f"--resume {self.folder}: not every process has the whole checkpoint {name} ({problems[0]}); on "
                f"several machines copy {self.store.folder} from the first one to each of the others"
            )
        return name, state

    def last_good(self) -> str:
        """What is left where a run fails, in words."""
        complete = self.store.complete()
        return f"the last good checkpoint is {complete[-1]}" if complete else "no checkpoint was saved before"

    def is_due_after_epoch(self, epoch: int, last_epoch: int) -> bool:
        """Whether there is to be a checkpoint after an epoch: after every so many, and after the run's last.

        That one is left if publishing is interrupted, and what ``--resume RUN --epochs MORE`` begins with.
        """
        minutes, every = self.settings.checkpoint_minutes, self.settings.checkpoint_epochs
        if epoch == last_epoch:
            return minutes > 0 or every > 0
        return every > 0 and epoch % every == 0

    def look(self, due: bool) -> tuple[bool, int]:
        """Whether to save now, on all processes alike, and the number of the signal that asks to stop, or 0.

        Args:
            due: whether there is a reason to save besides the time that has passed.
        """
        minutes = self.settings.checkpoint_minutes
        due |= minutes > 0 and time.monotonic() - self._saved >= 60 * minutes
        number = self._interruption.signal_number
        if self.accelerator.num_processes > 1:
            mine = torch.tensor([number == n for n in ENDING] + [due], device=self.accelerator.device).int()
            *received, due = (bool(count) for count in self.accelerator.reduce(mine, "sum").tolist())
            number = next((n for n, came in zip(ENDING, received, strict=True) if came), 0)
        if number:
            self.console.line("Asked to stop: saving. Ctrl-C once more leaves at once, without saving.")
        return due or number > 0, number

    def save(self, step: int, state: Any, score: tuple[float, float] | None) -> Path | None:
        """Save a state, on the main process; returns where, or None if the disk refused: that is said and ends nothing.

        Args:
            step: steps done since the run began.
            score: of the epoch that the state stands at the end of, if it does.
        """
        self._saved = time.monotonic()
        saved = None
        if self.accelerator.is_main_process:
            for tracker in self.accelerator.trackers:
                tracker.tracker.flush()  # what is not trained again must be on the curves
            try:
                saved = self.store.save(step, state, score)
            except OSError as error:
                self.console.line(
                    f"{self.store.folder} can't be written ({error.strerror or error}): the run goes on, with older "
                    "checkpoints only; make room",
                    style="bold yellow",
                )
        self.accelerator.wait_for_everyone()
        return saved

    def stop(self, number: int, where: str, saved: Path | None) -> None:
        """Leave the training because a signal asked for it.

        Args:
            where: the run stands, in words.

        Raises:
            InterruptedRunError: always.
        """
        kept = f"Saved in {saved}." if saved else "Nothing newer than the last checkpoint is saved."
        self.console.line(f"Stopped in {where}. {kept} Go on with:{train_command('--resume', self.folder)}")
        raise InterruptedRunError("", number)

    def finish(self) -> None:
        """The run is published: remove the checkpoints, unless ``--checkpoint-epochs`` asked for them."""
        if self.accelerator.is_main_process and not self.settings.checkpoint_epochs:
            self.store.remove_all()
