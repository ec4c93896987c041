"""A temperature for a published model: fitted on the held-out images, stored with the model, never fitted on test."""

from pathlib import Path

from accelerate import Accelerator

from alexnet_skip.images.dataset import Dataset
from alexnet_skip.runs.folders import published_folder
from alexnet_skip.runs.opened import OpenedRun
from alexnet_skip.statistics.metrics import fit_temperature
from alexnet_skip.system.console import Console
from alexnet_skip.system.files import read_json, write_sealed_json
from alexnet_skip.training.epoch import predict


def calibrate(run: OpenedRun, which: str, dataset: Dataset, accelerator: Accelerator, console: Console) -> float:
    """Fit the temperature on the run's val split and store it in the model's config.json; on every process.

    Args:
        dataset: the run's own.

    Raises:
        UserError: if the run held nothing out.
    """
    samples = run.select("val", dataset, console, own=True)
    features = run.open_features(dataset, samples.stored, accelerator, console)
    logits = predict(run.model.trained.to(accelerator.device), features, samples.positions, accelerator)
    temperature = fit_temperature(logits, samples.labels)
    if accelerator.is_main_process:
        _store(published_folder(run.folder, which), temperature)
    accelerator.wait_for_everyone()
    console.line(f"Temperature {temperature:.3f}, fitted on {len(samples.labels):,} images of val")
    return temperature


def _store(published: Path, temperature: float) -> None:
    write_sealed_json(published / "config.json", read_json(published / "config.json") | {"temperature": temperature})
