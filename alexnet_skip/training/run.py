"""Train one run, from what a command has opened to the published model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from alexnet_skip.devices.agreement import on_main_process
from alexnet_skip.runs import folders
from alexnet_skip.settings.records import (
    CONFIG_NAME,
    PrecisionRecord,
    RunConfig,
    WeightsRecord,
    read_run_config,
)
from alexnet_skip.settings.train import TrainSettings
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import part_of_name, write_sealed_json
from alexnet_skip.system.locks import folder_lock
from alexnet_skip.system.machine import free_disk_bytes, peak_memory_mib
from alexnet_skip.system.versions import environment
from alexnet_skip.training.finetuning import second_trainer, stages
from alexnet_skip.training.inputs import open_inputs
from alexnet_skip.training.log import Stopwatch
from alexnet_skip.training.parent import require_parent, state_of_parent
from alexnet_skip.training.report import report_run
from alexnet_skip.training.saving import require_way_on
from alexnet_skip.training.session import Session, dataset_record, parent_digest
from alexnet_skip.training.stage import first_stage
from alexnet_skip.training.trainer import Trainer


def train_run(settings: TrainSettings, session: Session, watch: Stopwatch) -> dict[str, Any]:
    """Train one run, in a new folder or that of the run to go on with; returns the figures and paths programs need."""
    with _run_folder(settings, session) as folder:
        # What the run is, before it begins
        config = _write_config(folder, settings, session)

        # Frozen features, once per image; then what the model's first layer sees of them
        first = first_stage(settings, open_inputs(settings, session, watch))

        # Head, optimizer, schedule; of an interrupted run, where its last checkpoint stands
        with session.console.working("Preparing the head"):
            begun = _begin(Trainer(folder, config, settings, session, first, watch))
            del first  # a second stage needs its room
            on_main_process(session.accelerator, lambda: _try_publishing(begun))

        # Epochs: train, validate, keep the best; then publish the best and the last
        with begun.checkpointer:
            for trainer in stages(begun):
                with trainer.recording():
                    for epoch in trainer.epochs():
                        with trainer.phase("train"):
                            for rows in trainer.batches(epoch):
                                trainer.step(rows)
                            figures = trainer.optimization.epoch_figures()
                        with trainer.phase("validate"):
                            figures |= trainer.validate()
                        trainer.record(epoch, figures)
            with watch.phase("publish"), session.console.working("Publishing the models"):
                trainer.publish()

            # What TensorBoard shows beside its curves, and what is left to say
            summary = _summarize(trainer)
            with watch.phase("report"), session.console.working("Pictures for TensorBoard"):
                report_run(trainer, summary)
            if session.accelerator.is_main_process:
                write_sealed_json(folder / "summary.json", summary)
            trainer.checkpointer.finish()
            session.accelerator.wait_for_everyone()
    return summary | {"run": str(folder), "model": str(folder / "model")}


@contextmanager
def _run_folder(settings: TrainSettings, session: Session) -> Iterator[Path]:
    """A new folder, or that of the run to go on with, which no other process can go on with meanwhile."""
    accelerator = session.accelerator
    if settings.checkpoints.resume is None:
        if parent := settings.finetuning.finetune_from:
            now = describe_run(settings, session)
            require_parent(Path(parent), now.dataset, now.weights_digest)
        stem = f"{part_of_name(session.dataset.name)}-{'skip' if settings.skip else 'noskip'}"
        folder = folders.create_shared_run_folder(settings.run.runs_dir, settings.run.name, stem, accelerator)
    else:
        folder = Path(settings.checkpoints.resume)
        on_main_process(accelerator, lambda: require_way_on(folder, settings.run.snapshot_epochs))
    with ExitStack() as held:
        lock = folder_lock(folder, session.console.line, wait=False)
        on_main_process(accelerator, lambda: held.enter_context(lock))
        yield folder


def _begin(trainer: Trainer) -> Trainer:
    """The run's trainer, where the run stands: at its first step, at another run's model, or at its last checkpoint."""
    settings, console = trainer.settings, trainer.session.console
    newest = trainer.checkpointer.newest() if settings.checkpoints.resume is not None else None
    if newest is None:
        if settings.checkpoints.resume is not None:
            console.line(f"{trainer.folder} has no complete checkpoint: it begins with its first epoch again")
        if settings.finetuning.finetune_from is not None:
            trainer.state = state_of_parent(trainer)
        return trainer
    name, saved = newest
    if saved.get("stage", 1) == 2:
        trainer = second_trainer(trainer, saved.get("parts", {}).get("model"))
    trainer.restore(name, saved)
    return trainer


def _write_config(folder: Path, settings: TrainSettings, session: Session) -> RunConfig:
    config = describe_run(settings, session)
    if settings.checkpoints.resume is not None:
        config = read_run_config(folder).taken_up(config, folder)
    if session.accelerator.is_main_process:
        write_sealed_json(folder / CONFIG_NAME, config.as_json())
    return config


def _try_publishing(trainer: Trainer) -> None:
    """Do before the first epoch what publishing needs after the last: no run may find out then.

    Raises:
        UserError: if the model can't be brought into the form that is published, or there is no room for it.
    """
    try:
        model = trainer.inputs.published_form(trainer.model.state_dict())
    except (KeyError, RuntimeError) as error:
        raise UserError(
            f"the model can't be published as Accelerate has prepared it ({str(error).splitlines()[0]}); launch "
            "without options that change the model, or with `python train.py`"
        ) from None
    models = 2 + len(trainer.settings.run.snapshot_epochs)
    tensors = [*model.state_dict().values(), *trainer.session.backbone.state_dict().values()]
    needed, free = models * sum(t.nbytes for t in tensors), free_disk_bytes(trainer.folder)
    if free < needed:
        raise UserError(
            f"--runs-dir {trainer.folder.parent} has {free / 2**20:,.0f} MiB of room, but the {models} models of this "
            f"run need {needed / 2**20:,.0f} MiB; make room, or choose another --runs-dir"
        )


def _summarize(trainer: Trainer) -> dict[str, Any]:
    state, settings = trainer.state, trainer.settings
    return {
        "dataset": trainer.session.dataset.name,
        "skip_mode": settings.joined,
        "epochs": settings.last_epoch,
        "best_epoch": state.best_epoch,
        "best": state.best_figures,
        "last": state.figures,
        "seconds": trainer.watch.seconds,
        "peak_memory_mib": peak_memory_mib(),
    }


def describe_run(settings: TrainSettings, session: Session) -> RunConfig:
    """What config.json says of a run."""
    dataset, train, precision = session.dataset, session.dataset.splits["train"], session.precision
    return RunConfig(
        settings=settings,
        dataset=dataset_record(dataset),
        created=datetime.now(timezone.utc).isoformat(),
        weights=WeightsRecord(session.weights.source, session.weights.sha256),
        skipped_files=train.skipped,
        image_size=train.image_size,
        num_train=len(session.positions),
        num_val=session.num_val,
        device=str(session.accelerator.device),
        num_processes=session.accelerator.num_processes,
        precision=PrecisionRecord(precision.mixed_precision, precision.reason),
        parent_sha256=parent_digest(settings),
        environment=environment(),
    )
