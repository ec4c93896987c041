"""One stage of a run in training: its steps and epochs, and what is recorded, saved and published of them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import gather_object, set_seed

from alexnet_skip.network.model import publish
from alexnet_skip.network.upper import layers_that_differ
from alexnet_skip.runs.folders import snapshot_folder
from alexnet_skip.runs.sharing import share_files
from alexnet_skip.settings.records import ModelConfig, RunConfig
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.system.errors import UserError
from alexnet_skip.training.calibration import HeldOutPredictions
from alexnet_skip.training.class_weights import balanced_weights
from alexnet_skip.training.finite_guard import READ_STEPS, NonFiniteLossError
from alexnet_skip.training.log import RunLog, Stopwatch, run_title
from alexnet_skip.training.optimization import Optimization, epoch_batches, make_optimizer, process_seed
from alexnet_skip.training.saving import Checkpointer, random_state, restore_random_state
from alexnet_skip.training.session import Session
from alexnet_skip.training.stage import Stage
from alexnet_skip.training.state import RunState, score_of
from alexnet_skip.training.tensorboard import log_texts, log_trained


class Trainer:
    """One stage of a run in training.

    Args:
        folder: of the run.
        config: what its config.json says.
        stage: what is trained, and in which of the run's epochs.
    """

    def __init__(
        self, folder: Path, config: RunConfig, settings: TrainSettings, session: Session, stage: Stage,
        watch: Stopwatch,
    ) -> None:  # fmt: skip
        self.folder, self.config, self.settings = folder, config, settings
        self.session, self.stage, self.watch = session, stage, watch
        self.accelerator, self.console = session.accelerator, session.console
        inputs, options = stage.inputs, stage.options
        self.inputs, self.held_out = inputs, HeldOutPredictions(inputs, session.accelerator)
        set_seed(options.seed)
        model = inputs.make_model(options.dropout)
        # From here on each process draws numbers of its own: on GPUs dropout's masks, of its own rows.
        torch.manual_seed(process_seed(options.seed, self.accelerator.process_index))
        self.steps_per_epoch = -(-len(session.positions) // options.batch_size)
        optimizer, scheduler = make_optimizer(
            settings, model, options.epochs * self.steps_per_epoch, inputs.parameter_groups(model, options.lr)
        )
        if self.accelerator.scaler is not None:
            # Accelerate has one for all runs of a command, which would begin with the scale that the last one left.
            self.accelerator.scaler = torch.amp.GradScaler(self.accelerator.device.type)
        prepared, optimizer = self.accelerator.prepare(model, optimizer)
        self.model = self.accelerator.unwrap_model(prepared)
        weights = None
        if options.class_weights == "balanced":
            weights = balanced_weights(session.class_counts, session.dataset.class_names)
        self.optimization = Optimization(
            prepared, optimizer, scheduler, inputs.source, inputs.labels, self.accelerator,
            label_smoothing=options.label_smoothing, class_weights=weights,
        )  # fmt: skip
        # Saved by their own state_dict, the same on every process.
        self._parts: dict[str, Any] = {"model": self.model, "optimizer": optimizer, "scheduler": scheduler}
        if self.accelerator.scaler is not None:
            self._parts["scaler"] = self.accelerator.scaler
        self.state = RunState()
        self.checkpointer = Checkpointer(folder, settings.checkpoints, self.accelerator, self.console)
        self.log: RunLog

    def let_go(self) -> None:
        """Drop the network, its optimizer and its features: this stage is over, and the next one needs the room."""
        del self.model, self.optimization, self._parts, self.inputs, self.held_out, self.stage
        self.state = RunState()

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Within this context epochs are recorded; curves are drawn and TensorBoard is closed however it ends."""
        images, state = len(self.session.positions), self.state
        log = RunLog(
            self.accelerator, self.folder, self.console, self.stage.last_epoch, images, state,
            run_title(self.config, self.folder.name), epochs_before=self.stage.epochs_before,
        )  # fmt: skip
        with log as self.log:
            if self.accelerator.is_main_process and state.epoch == self.stage.epochs_before + 1:
                if not state.history:
                    log_texts(log.writer, self.config)
                log_trained(log.writer, self.model, self.stage.epochs_before)
            log.go_on(state.progress.images, state.progress.seconds)
            yield

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of the block; a loss that is not finite in it is told with its epoch and what is left."""
        try:
            with self.watch.phase(name):
                yield
        except NonFiniteLossError as error:
            left = self.checkpointer.last_good()
            raise NonFiniteLossError(f"epoch {self.state.epoch}, {error} ({self.stage.rate_flag}); {left}") from None

    def epochs(self) -> Iterator[int]:
        """The epochs that are left to train."""
        yield from range(self.state.epoch, self.stage.last_epoch + 1)

    def batches(self, epoch: int) -> Iterator[np.ndarray]:
        """Batches of rows that are left of an epoch."""
        options, progress = self.stage.options, self.state.progress
        self.inputs.begin_epoch(options.seed, epoch)
        self.optimization.begin_epoch((options.seed, epoch), self.steps_per_epoch, progress)
        batches = epoch_batches(
            self.session.positions, self.inputs.source.num_samples, options.batch_size, options.seed, epoch,
            mirrored=options.hflip,
        )  # fmt: skip
        yield from islice(batches, progress.steps, None)

    def step(self, rows: np.ndarray) -> None:
        """Train on one batch; save, and stop, where it is time to.

        Raises:
            NonFiniteLossError: before the optimizer's step, if the loss or a gradient is not finite.
            InterruptedRunError: after saving, if Ctrl-C or SIGTERM came to any process.
        """
        self.optimization.step(rows)
        self.log.advance(len(rows))
        self._after_step()

    def _after_step(self) -> None:
        steps = self.state.progress.steps
        # Several processes must stop at the same step, and agreeing makes each wait for all; on a GPU no step may be
        # saved before it is known to be finite.
        alone = self.accelerator.num_processes == 1 or self.stage.number == 2  # whose steps take seconds on a CPU
        each = alone and self.accelerator.device.type == "cpu"
        # Not after an epoch's last step: the epoch is not whole before it is validated.
        if steps < self.steps_per_epoch and (each or steps % READ_STEPS == 0):
            self._save_if(due=False)

    def validate(self) -> dict[str, float]:
        """Figures of the held-out samples; nothing without any."""
        return self.inputs.validate(self.model, self.accelerator)

    def record(self, epoch: int, figures: dict[str, float]) -> None:
        """Take an epoch's figures: curves, the best so far, a snapshot and a checkpoint where they are asked for.

        Raises:
            InterruptedRunError: after saving, if Ctrl-C or SIGTERM came to any process.
        """
        self.log.epoch(epoch, figures)
        self.state.finish_epoch(figures, self.model.state_dict())
        if epoch in self.settings.run.snapshot_epochs:
            self._publish(snapshot_folder(self.folder, epoch), epoch, self.model.state_dict(), figures)
        self._save_if(due=self.checkpointer.is_due_after_epoch(epoch, self.settings.last_epoch))

    def publish(self) -> None:
        """Write the models of the best epoch and of the last."""
        state = self.state
        self._publish(self.folder / "model", state.best_epoch, state.best_state, state.best_figures)
        self._publish(self.folder / "last", self.stage.last_epoch, self.model.state_dict(), state.figures)

    def _publish(self, where: Path, epoch: int, weights: dict[str, Any], figures: dict[str, Any]) -> None:
        calibration = self.held_out.calibration(epoch, weights)
        if self.accelerator.is_main_process:
            trained = self.inputs.published_form(weights)
            frozen = self.session.backbone
            backbone = self.inputs.published_backbone(weights, frozen)
            about = ModelConfig.of_run(
                self.config, trained.skip.mode, epoch, figures, finetuned_layers=layers_that_differ(backbone, frozen)
            )
            about = replace(about, **calibration)
            publish(where, trained, backbone, about)
            share_files(where, self.folder)
            if where.name == "model":
                self.console.line(f"Probabilities of the best epoch's model: {about.calibration}")

    def _save_if(self, due: bool) -> None:
        save, number = self.checkpointer.look(due)
        saved = self._save() if save else None
        if number:
            done = self.state.progress.steps
            where = f"epoch {self.state.epoch}, step {done} of {self.steps_per_epoch}"
            self.checkpointer.stop(number, where, saved)

    def _save(self) -> Path | None:
        state, seconds = self.state, self.watch.seconds
        # Processes tell each other of it, and one may have no card of that number.
        own = {"random": random_state(self.accelerator.device), "totals": state.progress.totals.cpu()}
        whole = {
            "parts": {name: part.state_dict() for name, part in self._parts.items()},
            "run": state.as_dict(),
            "seconds": seconds | {"train": seconds.get("train", 0.0) + state.progress.seconds},
            "fixed": self.inputs.fixed_checksum,
            "stage": self.stage.number,
            "processes": gather_object([own]),
        }
        # Only what a whole epoch has shown: within one, the weights have moved on from what was validated.
        measured = state.progress.steps == 0 and "val_top1" in state.figures
        epochs = state.epoch - 1 - self.stage.epochs_before
        step = self.stage.steps_before + epochs * self.steps_per_epoch + state.progress.steps
        return self.checkpointer.save(step, whole, score_of(state.figures) if measured else None)

    def restore(self, name: str, saved: Any) -> None:
        """Take over a checkpoint of this stage.

        Raises:
            UserError: if it does not fit what is trained.
        """
        if saved.get("fixed") != self.inputs.fixed_checksum:
            raise UserError(
                f"--resume {self.folder}: the PCA basis is not the one that {name} was trained in (the feature cache "
                "was removed, and another machine or number of threads has made it again); bring the cache back, or "
                "start a new run"
            )
        seconds = self.watch.seconds
        try:
            for part, value in self._parts.items():
                value.load_state_dict(saved["parts"][part])
            self.state = RunState.from_dict(saved["run"])
            seconds.update({phase: s + seconds.get(phase, 0.0) for phase, s in saved["seconds"].items()})
            self._take_own(saved["processes"])
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise UserError(
                f"--resume {self.folder}: {name} does not fit this version ({str(error).splitlines()[0]}); "
                "start a new run"
            ) from None
        where = f"epoch {self.state.epoch}"
        if self.state.progress.steps:
            where += f", after {self.state.progress.steps} of {self.steps_per_epoch} steps"
        self.console.line(f"Going on with {self.folder.name} from {name}: {where}")

    def _take_own(self, processes: Sequence[dict[str, Any]]) -> None:
        """This process's random numbers and share of the epoch's sums, from those of all processes."""
        rank, progress = self.accelerator.process_index, self.state.progress
        if len(processes) == self.accelerator.num_processes:
            restore_random_state(processes[rank]["random"])
            progress.totals = processes[rank]["totals"]
            return
        self.console.line(
            f"It was saved by {len(processes)} process(es) and goes on with {self.accelerator.num_processes}: "
            "random numbers differ from those of an uninterrupted run"
        )
        totals = torch.stack([process["totals"] for process in processes]).sum(0)
        progress.totals = totals if rank == 0 else torch.zeros_like(totals)
