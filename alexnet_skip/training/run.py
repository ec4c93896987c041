"""Train one run, from what a command has opened to the published model."""

from contextlib import nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import set_seed

from alexnet_skip.devices import launch
from alexnet_skip.devices.precision import Precision
from alexnet_skip.images.dataset import Dataset
from alexnet_skip.images.loading import load_images
from alexnet_skip.images.splits import train_val_positions
from alexnet_skip.network import model as network
from alexnet_skip.network.backbone import FrozenAlexNet
from alexnet_skip.network.weights import AlexNetWeights, load_weights
from alexnet_skip.runs import folders
from alexnet_skip.settings.command_line import to_dict
from alexnet_skip.settings.stored import continue_config
from alexnet_skip.settings.train import BATCH_SIZE, TrainSettings
from alexnet_skip.system import machine
from alexnet_skip.system.console import Console
from alexnet_skip.system.files import read_json, write_sealed_json
from alexnet_skip.system.locks import folder_lock
from alexnet_skip.training import epoch as engine
from alexnet_skip.training.inputs import make_optimizer, open_inputs
from alexnet_skip.training.log import RunLog, Stopwatch
from alexnet_skip.training.report import report_run
from alexnet_skip.training.saving import Keeper
from alexnet_skip.training.tensorboard import log_texts


@dataclass(frozen=True)
class Session:
    """What every run of one command shares.

    Attributes:
        positions: samples of the train split to train on (N,).
        val_positions: those held out (M,); none where the dataset has a val split of its own.
    """

    accelerator: Accelerator
    precision: Precision
    console: Console
    dataset: Dataset
    weights: AlexNetWeights
    backbone: FrozenAlexNet
    positions: np.ndarray
    val_positions: np.ndarray


def open_session(settings: TrainSettings) -> Session:
    """Start Accelerate and load images and weights; one process may download, the others find what it got."""
    options = settings.training
    accelerator, precision = launch.start(
        options.mixed_precision, settings.run.runs_dir,
        force_precision=options.force_precision, batch_size=options.batch_size or BATCH_SIZE,
    )  # fmt: skip
    console = Console(settings.run.quiet, accelerator.is_main_process)
    console.line(
        f"Device {accelerator.device}, {accelerator.num_processes} process(es) of {torch.get_num_threads()} thread(s), "
        f"precision {precision.mixed_precision} ({precision.reason})"
    )
    with accelerator.main_process_first():
        weights = load_weights(settings.weights, console=console)
        dataset = load_images(settings.data, console)
    val_fraction = 0.0 if "val" in dataset.splits else settings.training.val_fraction
    positions, val_positions = train_val_positions(dataset.splits["train"].labels, val_fraction)
    console.line(
        f"{dataset.name}: {len(positions):,} images to train on, {len(val_positions):,} held out; {weights.source}"
    )
    backbone = FrozenAlexNet(weights.state).to(accelerator.device)
    return Session(accelerator, precision, console, dataset, weights, backbone, positions, val_positions)


def fit_to_images(settings: TrainSettings, session: Session) -> TrainSettings:
    """Settings as they are for as many images as there are to train on."""
    fitted = settings.for_images(len(session.positions))
    size, rate = fitted.training.batch_size, fitted.training.lr
    if rate != settings.training.lr:
        session.console.line(f"So few images are trained in smaller steps: --batch-size {size} --lr {rate:.2g}")
    return fitted


def train_run(settings: TrainSettings, session: Session, watch: Stopwatch) -> dict[str, Any]:
    """Train one run, in a new folder or that of the run to go on with; returns the figures and paths programs need."""
    stem = f"{session.dataset.name}-{'skip' if settings.skip else 'noskip'}"
    if settings.checkpoints.resume is None:
        run = settings.run
        folder = folders.create_shared_run_folder(run.runs_dir, run.name, stem, session.accelerator)
    else:
        folder = Path(settings.checkpoints.resume)
    # Two processes that go on with the same run would write over each other.
    main_process = session.accelerator.is_main_process
    with folder_lock(folder, session.console.line, wait=False) if main_process else nullcontext():
        return _train_in(folder, settings, session, watch)


def _train_in(folder: Path, settings: TrainSettings, session: Session, watch: Stopwatch) -> dict[str, Any]:
    accelerator, console, dataset = session.accelerator, session.console, session.dataset
    options, num_classes = settings.training, len(dataset.class_names)

    # What the run is, before it begins
    config, resume = describe_run(settings, session), settings.checkpoints.resume
    if resume is not None:
        config = continue_config(read_json(folder / "config.json"), config, folder)
    told = ("created", "dataset", "weights", "settings", "num_train", "num_val", "environment", "image_size")
    published = {key: config[key] for key in told} | {"class_names": dataset.class_names}
    if accelerator.is_main_process:
        write_sealed_json(folder / "config.json", config)

    # Frozen features, once per image; then what the model's first layer sees of them
    inputs = open_inputs(
        settings, dataset, session.positions, session.val_positions, session.backbone, session.weights.sha256,
        accelerator, console, watch,
    )  # fmt: skip
    labels = torch.from_numpy(dataset.splits["train"].labels).to(accelerator.device)

    # Head, optimizer, schedule
    set_seed(options.seed)
    model = inputs.make_model(num_classes, options.dropout)
    steps_per_epoch = -(-len(session.positions) // options.batch_size)
    optimizer, scheduler = make_optimizer(settings, model, options.epochs * steps_per_epoch)
    model, optimizer = accelerator.prepare(model, optimizer)

    def publish(where: str, epoch: int, state: dict[str, Any], figures: dict[str, Any]) -> None:
        """Write the model of one epoch in the published form."""
        if accelerator.is_main_process:
            # Initialising the model to be filled draws random numbers: keeping a snapshot must not change the training.
            with torch.random.fork_rng(devices=[]):
                trained = inputs.published_form(state, num_classes)
            about = published | {"epoch": epoch, "metrics": figures}
            network.publish(folder / where, trained, session.backbone, about)

    # Epochs, from the first or from where the last checkpoint stands: train, validate, keep the best
    trained = accelerator.unwrap_model(model)
    parts = {"model": trained, "optimizer": optimizer, "scheduler": scheduler}
    parts |= {"scaler": accelerator.scaler} if accelerator.scaler else {}
    fixed = (inputs.basis.mean, inputs.basis.projection) if inputs.basis else ()
    keeper = Keeper(folder, settings.checkpoints, parts, fixed, watch.seconds, steps_per_epoch, accelerator, console)
    run = keeper.restore() if resume is not None else keeper.run

    def after_step(images: int) -> None:
        log.advance(images)
        keeper.after_step()

    with keeper:
        with RunLog(accelerator, folder, console, options.epochs, len(session.positions), run.history) as log:
            if accelerator.is_main_process and not run.history:
                log_texts(log.writer, config, trained)
            log.go_on(run.progress.images, run.progress.seconds)
            for epoch in range(run.epoch, options.epochs + 1):
                batches = engine.epoch_batches(
                    session.positions, inputs.source.num_samples, options.batch_size, options.seed, epoch,
                    mirrored=options.hflip,
                )  # fmt: skip
                with watch.phase("train"), keeper.told_where():
                    figures = engine.train_one_epoch(
                        model, inputs.source, labels, islice(batches, run.progress.steps, None), optimizer, scheduler,
                        accelerator, seed=(options.seed, epoch), label_smoothing=options.label_smoothing,
                        advance=after_step, progress=run.progress,
                    )  # fmt: skip
                with watch.phase("validate"), keeper.told_where():
                    figures |= inputs.validate(model, accelerator)
                log.epoch(epoch, figures)
                run.finish_epoch(figures, trained.state_dict())
                if epoch in settings.run.snapshot_epochs:
                    publish(f"snapshots/epoch-{epoch:04d}", epoch, trained.state_dict(), figures)
                keeper.after_epoch()

        # Publish the best epoch and the last
        with watch.phase("publish"):
            publish("model", run.best_epoch, run.best_state, run.best_figures)
            publish("last", options.epochs, trained.state_dict(), run.figures)
    summary = {
        "dataset": dataset.name,
        "skip_mode": settings.joined,
        "epochs": options.epochs,
        "best_epoch": run.best_epoch,
        "best": run.best_figures,
        "last": run.figures,
        "seconds": watch.seconds,
        "peak_memory_mib": machine.peak_memory_mib(),
    }
    # What TensorBoard shows beside its curves
    with watch.phase("report"):
        report_run(folder, config, summary, inputs, run.best_state, dataset, session.backbone, accelerator)
    if accelerator.is_main_process:
        write_sealed_json(folder / "summary.json", summary)
    keeper.finish()
    accelerator.wait_for_everyone()
    return summary | {"run": str(folder), "model": str(folder / "model")}


def describe_run(settings: TrainSettings, session: Session) -> dict[str, Any]:
    """What config.json says of a run."""
    dataset = session.dataset
    return {
        "created": datetime.now(timezone.utc).isoformat(),
        "settings": to_dict(settings),
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "class_names": dataset.class_names,
            "digest": dataset.splits["train"].digest,
        },
        "skipped_files": dataset.skipped,
        "image_size": dataset.splits["train"].images.shape[1:3],
        "num_train": len(session.positions),
        "num_val": len(dataset.splits["val"].labels) if "val" in dataset.splits else len(session.val_positions),
        "weights": {"source": session.weights.source, "sha256": session.weights.sha256},
        "device": str(session.accelerator.device),
        "num_processes": session.accelerator.num_processes,
        "precision": {
            "mixed_precision": session.precision.mixed_precision,
            "reason": session.precision.reason,
        },
        "environment": folders.environment(),
    }
