"""An interrupted run goes on from its last checkpoint, and comes to the same end as if nothing had happened."""

import random
import shlex
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor

from alexnet_skip.runs.checkpoints import CheckpointStore
from alexnet_skip.settings.shared import CheckpointSettings
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.interruption import InterruptedRunError, Interruption
from alexnet_skip.training.epoch import EpochProgress
from alexnet_skip.training.finite_guard import READ_STEPS, NonFiniteLossError
from alexnet_skip.training.trainer import RunState, score_of


class Stateful(Protocol):
    """A model, optimizer, schedule or scaler."""

    def state_dict(self) -> dict[str, Any]:
        """All that it needs to go on."""
        ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any:
        """Take over such a state."""
        ...


class Keeper:
    """Saves a run in progress when it is time to, or when it is asked to stop; within its context signals are noted.

    Args:
        folder: of the run.
        parts: what is saved by its own ``state_dict``, the same on every process.
        fixed: what the weights mean nothing without and is not saved: the PCA basis. Its checksum is.
        seconds: spent per phase, saved as well.
        steps_per_epoch: of the whole epoch.
    """

    def __init__(
        self, folder: Path, settings: CheckpointSettings, parts: Mapping[str, Stateful], fixed: Sequence[Tensor],
        seconds: dict[str, float], steps_per_epoch: int, accelerator: Accelerator, console: Console,
    ) -> None:  # fmt: skip
        self.folder, self.settings, self.parts, self.seconds = folder, settings, parts, seconds
        self._fixed = fixed
        self.steps_per_epoch, self.accelerator, self.console = steps_per_epoch, accelerator, console
        self.store = CheckpointStore(folder / "checkpoints", settings.keep_checkpoints)
        self.run = RunState()
        self._interruption = Interruption()
        self._saved = time.monotonic()

    def __enter__(self) -> "Keeper":
        self._interruption.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._interruption.__exit__(kind, error, trace)

    def restore(self) -> RunState:
        """Take over the newest whole checkpoint; without any the run begins at its first step.

        Raises:
            UserError: if it does not fit what is trained.
        """
        found: list[Any] = [None]
        state: Any = None
        if self.accelerator.is_main_process and (newest := self.store.newest(self.console.line)):
            found, state = [newest[0].name], newest[1]
        (name,) = broadcast_object_list(found)
        if name is None:
            self.console.line(f"{self.folder} has no complete checkpoint: it begins with its first epoch again")
            return self.run
        state = state or self.store.load(self.store.folder / name)
        if state.get("fixed") != self._fixed_checksum:
            raise UserError(
                f"--resume {self.folder}: the PCA basis is not the one that {name} was trained in (the feature cache "
                "was removed, and another machine or number of threads has made it again); bring the cache back, or "
                "start a new run"
            )
        try:
            for part, value in self.parts.items():
                value.load_state_dict(state["parts"][part])
            self.run = RunState(**(state["run"] | {"progress": EpochProgress(**state["run"]["progress"])}))
            self.seconds.update({k: v + self.seconds.get(k, 0.0) for k, v in state["seconds"].items()})
            self._take_own(state["processes"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"--resume {self.folder}: {name} does not fit this version ({str(error).splitlines()[0]}); "
                "start a new run"
            ) from None
        where = f"epoch {self.run.epoch}"
        if self.run.progress.steps:
            where += f", after {self.run.progress.steps} of {self.steps_per_epoch} steps"
        self.console.line(f"Going on with {self.folder.name} from {name}: {where}")
        return self.run

    def _take_own(self, processes: list[dict[str, Any]]) -> None:
        """This process's random numbers and share of the epoch's sums, from those of all processes."""
        rank = self.accelerator.process_index
        if len(processes) == self.accelerator.num_processes:
            restore_random_state(processes[rank]["random"])
            self.run.progress.totals = processes[rank]["totals"]
            return
        self.console.line(
            f"It was saved by {len(processes)} process(es) and goes on with {self.accelerator.num_processes}: "
            "random numbers differ from those of an uninterrupted run"
        )
        totals = torch.stack([process["totals"] for process in processes]).sum(0)
        self.run.progress.totals = totals if rank == 0 else torch.zeros_like(totals)

    @contextmanager
    def told_where(self) -> Iterator[None]:
        """Within this context a loss that is not finite is reported with its epoch and the checkpoint that is left."""
        try:
            yield
        except NonFiniteLossError as error:
            complete = self.store.complete()
            left = f"the last good checkpoint is {complete[-1]}" if complete else "no checkpoint was saved before"
            raise NonFiniteLossError(f"epoch {self.run.epoch}, {error}; {left}") from None

    def after_step(self) -> None:
        """To be called after every step; saves, and stops the run, when it is time to.

        Raises:
            InterruptedRunError: after saving, if Ctrl-C or SIGTERM came to any process.
        """
        steps = self.run.progress.steps
        # Several processes must stop at the same step, and agreeing makes each wait for all; on a GPU no step may be
        # saved before it is known to be finite.
        each = self.accelerator.num_processes == 1 and self.accelerator.device.type == "cpu"
        # Not after an epoch's last step: the epoch is not whole before it is validated.
        if steps < self.steps_per_epoch and (each or steps % READ_STEPS == 0):
            self._look(due=False)

    def after_epoch(self) -> None:
        """To be called after :meth:`RunState.finish_epoch`; as :meth:`after_step`."""
        every = self.settings.checkpoint_epochs
        self._look(due=every > 0 and (self.run.epoch - 1) % every == 0)

    def _look(self, due: bool) -> None:
        minutes = self.settings.checkpoint_minutes
        due |= minutes > 0 and time.monotonic() - self._saved >= 60 * minutes
        number = self._interruption.signal_number
        if self.accelerator.num_processes > 1:
            mine = torch.tensor([number == n for n in (2, 15)] + [due], device=self.accelerator.device).int()
            interrupted, terminated, due = (bool(n) for n in self.accelerator.reduce(mine, "sum").tolist())
            number = 2 if interrupted else 15 if terminated else 0
        if not (number or due):
            return
        if number:
            self.console.line("Asked to stop: saving. Ctrl-C once more leaves at once, without saving.")
        saved = self.save()
        if number:
            where = f"Saved in {saved}." if saved else "Nothing newer than the last checkpoint is saved."
            self.console.line(
                f"Stopped in epoch {self.run.epoch}, step {self.run.progress.steps} of {self.steps_per_epoch}. "
                f"{where} Go on with:\n  accelerate launch train.py --resume {shlex.quote(str(self.folder))}"
            )
            raise InterruptedRunError("", number)

    def save(self) -> Path | None:
        """Save the run as it stands; returns where, or None if the disk refused, which is said and ends nothing."""
        self._saved = time.monotonic()
        own = {"random": random_state(self.accelerator.device), "totals": self.run.progress.totals}
        processes = gather_object([own])
        saved = None
        if self.accelerator.is_main_process:
            state = {
                "parts": {part: value.state_dict() for part, value in self.parts.items()},
                "run": vars(self.run) | {"progress": vars(self.run.progress)},
                "seconds": self.seconds | {"train": self.seconds.get("train", 0.0) + self.run.progress.seconds},
                "fixed": self._fixed_checksum,
                "processes": processes,
            }
            for tracker in self.accelerator.trackers:
                tracker.tracker.flush()  # what is not trained again must be on the curves
            step = (self.run.epoch - 1) * self.steps_per_epoch + self.run.progress.steps
            # Only what a whole epoch has shown: within one, the weights have moved on from what was validated.
            measured = self.run.progress.steps == 0 and "val_top1" in self.run.figures
            try:
                saved = self.store.save(step, state, score_of(self.run.figures) if measured else None)
            except OSError as error:
                self.console.line(
                    f"{self.store.folder} can't be written ({error.strerror or error}): the run goes on, with older "
                    "checkpoints only; make room",
                    style="bold yellow",
                )
        self.accelerator.wait_for_everyone()
        return saved

    @cached_property
    def _fixed_checksum(self) -> int:
        checksum = 0
        for tensor in self._fixed:
            checksum = zlib.crc32(np.ascontiguousarray(tensor.cpu().numpy()).data, checksum)
        return checksum

    def finish(self) -> None:
        """The run is published: remove the checkpoints, unless ``--checkpoint-epochs`` asked for them."""
        if self.accelerator.is_main_process and not self.settings.checkpoint_epochs:
            self.store.remove_all()


def random_state(device: torch.device) -> dict[str, Any]:
    """States by generator: Python's, NumPy's global one, torch's, and on a GPU that one's."""
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
