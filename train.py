"""Train a head on a frozen AlexNet, without or with a skip connection.

accelerate launch train.py --skip                     one GPU, or a CPU
accelerate launch --multi_gpu train.py --skip         several GPUs
python train.py --recipe report                       the source report's training
"""

import copy
import sys
from collections.abc import Sequence
from datetime import datetime, timezone
from typing import Any

from alexnet_skip.config import TrainSettings, parse, to_dict
from alexnet_skip.console import Console, run_script


def train(settings: TrainSettings) -> tuple[dict[str, Any], bool]:
    """Train one run; returns the figures and paths a program needs, and whether this process prints them."""
    # Imported once the command line is understood: torch takes seconds, --help should not.
    import torch
    from accelerate.utils import set_seed

    from alexnet_skip import checkpoint, engine, launch
    from alexnet_skip.backbone import FrozenAlexNet
    from alexnet_skip.data import train_val_positions
    from alexnet_skip.files import write_json
    from alexnet_skip.inputs import load_images, make_optimizer, open_inputs
    from alexnet_skip.runlog import RunLog, Stopwatch
    from alexnet_skip.weights import load_weights

    options, mode, watch = settings.training, settings.joined, Stopwatch()

    # Device, processes, precision
    accelerator, precision = launch.start(options.mixed_precision, settings.run.runs_dir)
    console = Console(settings.run.quiet, accelerator.is_main_process)
    console.line(
        f"Device {accelerator.device}, {accelerator.num_processes} process(es) of {torch.get_num_threads()} thread(s), "
        f"precision {precision.mixed_precision} ({precision.reason})"
    )

    # Images and weights; one process may download, the others find what it got
    with watch.phase("load"):
        with accelerator.main_process_first():
            weights = load_weights(settings.weights)
            dataset = load_images(settings.data, console)
        train_split = dataset.splits["train"]
        val_fraction = 0.0 if "val" in dataset.splits else options.val_fraction
        positions, val_positions = train_val_positions(train_split.labels, val_fraction)
        console.line(
            f"{dataset.name}: {len(positions):,} images to train on, {len(val_positions):,} held out; {weights.source}"
        )
        backbone = FrozenAlexNet(weights.state).to(accelerator.device)

    # Run folder; the name is the main process's, on every process
    stem = f"{dataset.name}-{'skip' if settings.skip else 'noskip'}"
    folder = checkpoint.create_shared_run_folder(settings.run.runs_dir, settings.run.name, stem, accelerator)

    # Frozen features, once per image; then what the model's first layer sees of them
    inputs = open_inputs(
        settings, dataset, positions, val_positions, backbone, weights.sha256, accelerator, console, watch
    )
    labels = torch.from_numpy(train_split.labels).to(accelerator.device)

    # Head, optimizer, schedule
    set_seed(options.seed)
    model = inputs.make_model(len(dataset.class_names), options.dropout)
    num_steps = options.epochs * -(-len(positions) // options.batch_size)
    optimizer, scheduler = make_optimizer(settings, model, num_steps)
    model, optimizer = accelerator.prepare(model, optimizer)

    # What the run is, before it begins
    config = {
        "created": datetime.now(timezone.utc).isoformat(),
        "settings": to_dict(settings),
        "dataset": {
            "name": dataset.name,
            "source": dataset.source,
            "class_names": dataset.class_names,
            "digest": train_split.digest,
        },
        "skipped_files": dataset.skipped,
        "num_train": len(positions),
        "num_val": len(val_positions),
        "weights": {"source": weights.source, "sha256": weights.sha256},
        "device": str(accelerator.device),
        "num_processes": accelerator.num_processes,
        "precision": {"mixed_precision": precision.mixed_precision, "reason": precision.reason},
        "environment": checkpoint.environment(),
    }
    published = {key: config[key] for key in ("created", "dataset", "weights")} | {"class_names": dataset.class_names}
    if accelerator.is_main_process:
        write_json(folder / "config.json", config)

    def publish(where: str, epoch: int, state: dict[str, Any], figures: dict[str, Any]) -> None:
        """Write the model of one epoch in the published form."""
        if accelerator.is_main_process:
            trained = inputs.published_form(state, len(dataset.class_names))
            checkpoint.publish(folder / where, trained, backbone, published | {"epoch": epoch, "metrics": figures})

    # Epochs: train, validate, keep the best
    best: tuple[float, float] | None = None
    best_epoch, best_state, best_figures, figures, state = 0, {}, {}, {}, {}
    with RunLog(accelerator, folder, console, options.epochs, len(positions)) as log:
        for epoch in range(1, options.epochs + 1):
            batches = engine.epoch_batches(
                positions, inputs.source.num_samples, options.batch_size, options.seed, epoch, mirrored=options.hflip
            )
            with watch.phase("train"):
                figures = engine.train_one_epoch(
                    model, inputs.source, labels, batches, optimizer, scheduler, accelerator,
                    label_smoothing=options.label_smoothing, advance=log.advance,
                )  # fmt: skip
            with watch.phase("validate"):
                figures |= inputs.validate(model, accelerator)
            log.epoch(epoch, figures)
            state = accelerator.unwrap_model(model).state_dict()
            # Without a validation split there is nothing to choose by: the last epoch is published.
            score = (figures["val_top1"], -figures["val_loss"]) if "val_top1" in figures else (float(epoch), 0.0)
            if best is None or score > best:
                best, best_epoch, best_state, best_figures = score, epoch, copy.deepcopy(state), figures
            if epoch in settings.run.snapshot_epochs:
                publish(f"snapshots/epoch-{epoch:04d}", epoch, state, figures)

    # Publish the best epoch and the last
    with watch.phase("publish"):
        publish("model", best_epoch, best_state, best_figures)
        publish("last", options.epochs, state, figures)
    summary = {
        "dataset": dataset.name,
        "skip_mode": mode,
        "epochs": options.epochs,
        "best_epoch": best_epoch,
        "best": best_figures,
        "last": figures,
        "seconds": watch.seconds,
        "peak_memory_mib": launch.peak_memory_mib(),
    }
    if accelerator.is_main_process:
        write_json(folder / "summary.json", summary)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    console.line(f"Model of epoch {best_epoch} in {folder / 'model'}. Next:")
    console.line(f"  python evaluate.py --topk 1 3 --run {folder}\n  tensorboard --logdir {settings.run.runs_dir}")
    return summary | {"run": str(folder), "model": str(folder / "model")}, accelerator.is_main_process


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and train; returns the exit code."""
    return run_script(lambda: train(parse(TrainSettings, argv, "train.py")))


if __name__ == "__main__":
    sys.exit(main())
