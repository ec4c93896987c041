"""What an evaluation computes, and what it leaves in the run folder."""

import dataclasses
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from alexnet_skip.devices.launch import Job
from alexnet_skip.evaluation.figures import draw_evaluation, show_evaluation, summarize_predictions
from alexnet_skip.evaluation.tables import write_predictions_csv
from alexnet_skip.features.source import FeatureSource, predict
from alexnet_skip.images.dataset import Dataset
from alexnet_skip.images.splits import Selection
from alexnet_skip.network.card import model_card
from alexnet_skip.runs.folders import ELSEWHERE, evaluation_folder, find_run, published_folder, published_name
from alexnet_skip.runs.opened import OpenedRun
from alexnet_skip.runs.own_images import find_split, load_images_of, split_of
from alexnet_skip.runs.predictions import Predictions, kept_predictions, published_digest, write_predictions
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.settings.records import CONFIG_NAME, read_model_config, read_run_config
from alexnet_skip.statistics.metrics import fit_temperature, is_determined
from alexnet_skip.system.commands import command_line
from alexnet_skip.system.console import Console
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json, write_sealed_json, write_text


@dataclass(frozen=True)
class EvaluationSet:
    """What a model is evaluated on.

    Attributes:
        dataset: name of the dataset.
        features: of the samples, among others; of both views where ``tta``.
        rows: of the samples (N,) in them.
        tta: whether the logits of both views are averaged.
        elsewhere: name of the images where they are not the run's own (:meth:`OpenedRun.name_elsewhere`).
    """

    dataset: str
    samples: Selection
    features: FeatureSource
    rows: np.ndarray
    tta: bool = False
    elsewhere: str = ""


@dataclass(frozen=True)
class Evaluation:
    """A finished evaluation: its folder, title, and figures (:func:`summarize_predictions`)."""

    folder: Path
    title: str
    summary: dict[str, Any]


def evaluation_title(summary: dict[str, Any], run: Path, checkpoint_name: str) -> str:
    """The title of every figure of an evaluation."""
    title = f"{summary['dataset']} {summary['split']}, {run.name}, {published_name(checkpoint_name)}"
    return title if checkpoint_name.startswith("epoch") else f"{title} (epoch {summary['epoch']})"


def evaluate_model(
    run: OpenedRun, on: EvaluationSet, accelerator: Accelerator, console: Console, *, topk: tuple[int, ...] = (),
    draw: bool = True,
) -> Evaluation:  # fmt: skip
    """Evaluate a run's model in one exact pass and write what comes of it; to be called on every process.

    Args:
        draw: whether to draw figures; they can be drawn later from what is written.
    """
    model, samples = run.model, on.samples
    logits = predict(model.trained.to(accelerator.device), on.features, on.rows, accelerator, tta=on.tta)
    digest = published_digest(run.folder, run.checkpoint_name)
    predictions = Predictions(
        logits, samples.labels, samples.index, samples.split.digest, digest, model.class_names, samples.files
    )
    summary = {"dataset": on.dataset, "split": samples.name, "tta": on.tta, "epoch": run.model_config.epoch}
    summary |= made_of(predictions)
    summary |= summarize_predictions(predictions, model.class_names, topk, run.model_config)
    title = evaluation_title(summary, run.folder, run.checkpoint_name)
    where = evaluation_folder(run.folder, samples.name, run.checkpoint_name, tta=on.tta, elsewhere=on.elsewhere)
    if accelerator.is_main_process:
        where.mkdir(parents=True, exist_ok=True)
        write_predictions(where, predictions)
        write_predictions_csv(where, predictions, model.class_names, run.model_config.temperature)
        picture = draw_evaluation(where, title, summary, predictions, samples.split) if draw else None
        write_sealed_json(where / "metrics.json", summary)
        images = where.name.replace(f"-{published_name(run.checkpoint_name)}", "", 1)
        log_evaluation(run.folder, images, summary, picture)
        add_to_card(run.folder, published_folder(run.folder, run.checkpoint_name), console)
    accelerator.wait_for_everyone()
    return Evaluation(where, title, summary)


def made_of(predictions: Predictions) -> dict[str, str]:
    """What metrics.json says of the images and the model; nothing of a model that is not known."""
    made_of = {"images_sha256": predictions.digest, "model_sha256": predictions.model}
    return {name: digest for name, digest in made_of.items() if digest}


def confused_pairs(summary: dict[str, Any], count: int = 5) -> list[tuple[str, str, int]]:
    """The strongest confusions as (true class, predicted class, images)."""
    return [(pair["true"], pair["predicted"], pair["images"]) for pair in summary["most_confused"][:count]]


def add_to_card(run_folder: Path, published: Path, console: Console) -> None:
    """Write every evaluation of a published model into its card; other images than the run's own are named as such."""
    config, mine = read_model_config(published), []
    for where, summary in _kept_summaries(run_folder, console):
        elsewhere = where.name.partition(ELSEWHERE)[2]
        known = config.model_sha256 and summary.get("model_sha256")
        if summary["epoch"] == config.epoch and known in (None, config.model_sha256):
            mine.append(summary | ({"dataset": elsewhere} if elsewhere else {}))
    write_text(published / "README.md", model_card(config, mine))


def _kept_summaries(run_folder: Path, console: Console) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The folder and metrics.json of every evaluation of a run; one that can't be used is told, and left out."""
    for path in sorted(run_folder.glob("evaluation/*/metrics.json")):
        summary: dict[str, Any] = {}
        with suppress(UserError):
            summary = read_json(path)
        if not {"dataset", "split", "num_samples", "epoch"} <= summary.keys():
            console.line(
                f"{path} is damaged and left out of the model's card; make it again:{_redraw_command(path.parent)}",
                style="yellow",
            )
            continue
        yield path.parent, summary


def _redraw_command(where: Path) -> str:
    """The command that makes an evaluation's metrics.json again, as the end of a message."""
    name, elsewhere, _ = where.name.partition(ELSEWHERE)
    split, _, checkpoint_name = name.removesuffix("-tta").partition("-")
    more = (*(("--tta",) if name.endswith("-tta") else ()), *(("--dataset", "FOLDER") if elsewhere else ()))
    run = where.parents[1]
    named = ("--run", run, "--split", split, "--checkpoint", checkpoint_name)
    return command_line("python", "evaluate.py", "--redraw", *named, *more)


def log_evaluation(run_folder: Path, images: str, summary: dict[str, Any], picture: Path | None) -> None:
    """Show an evaluation in the run's TensorBoard: top-k, NLL and, where it is drawn, the confusion matrix.

    Args:
        images: what they are called: evaluations of several epochs on the same ones are points of one curve.
        picture: of the confusion matrix; as it is written, since drawing it again takes half a second.
    """
    writer = SummaryWriter(str(run_folder))
    for k, value in summary["topk"].items():
        writer.add_scalar(f"9 {images}/top-{k}", value, summary["epoch"])
    writer.add_scalar(f"9 {images}/loss", summary["nll"], summary["epoch"])
    if picture is not None:
        pixels = np.asarray(Image.open(picture).convert("RGB"))
        writer.add_image(f"9 {images}/confusion matrix", pixels, summary["epoch"], dataformats="HWC")
    writer.close()


def calibrate(run: OpenedRun, dataset: Dataset, job: Job[Any]) -> OpenedRun:
    """Fit the temperature on the run's val split and store it in the model's config.json; on every process.

    Args:
        dataset: the run's own.

    Returns:
        The run with its calibrated model.

    Raises:
        UserError: if the run held nothing out, or what it held out determines no temperature.
    """
    accelerator = job.accelerator
    samples = run.select("val", dataset, job.console, is_training_dataset=True)
    features, rows = run.open_features(dataset, samples.source_split, samples.positions, job, tap=run.needs_tap)
    with job.console.working("Fitting the temperature"):
        logits = predict(run.model.trained.to(accelerator.device), features, rows, accelerator)
        temperature, count = fit_temperature(logits, samples.labels), len(samples.labels)
    if not is_determined(temperature):
        raise UserError(
            f"--fit-temperature: the {count:,} held-out images of {run.folder.name} determine no temperature (all of "
            "them are right, or nearly all wrong); leave it out"
        )
    fitted: dict[str, Any] = {"temperature": temperature, "temperature_images": count}
    if accelerator.is_main_process:
        config = published_folder(run.folder, run.checkpoint_name) / CONFIG_NAME
        # All that stands there is kept, whatever version has written it.
        write_sealed_json(config, read_json(config) | fitted)
    accelerator.wait_for_everyone()
    job.console.line(f"Temperature {temperature:.3f}, fitted on {count:,} images of val")
    return dataclasses.replace(run, model_config=dataclasses.replace(run.model_config, **fitted))


def redraw(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Make metrics.json and the figures of an evaluation again; returns the figures and paths a program needs."""
    # The predictions, of test or of what stands in for it
    console = Console(settings.quiet)
    run = find_run(settings.runs_dir, settings.run, console.line)
    checkpoint_name = published_name(settings.checkpoint)
    config = read_run_config(run)
    images = None if settings.dataset is None else load_images_of(config, settings.dataset, console)
    where, predictions = kept_predictions(
        run, settings.split, checkpoint_name, tta=settings.tta, dataset=settings.dataset,
        wanted=None if images is None else lambda predictions: split_of(predictions, images) is not None,
    )  # fmt: skip

    # What they are called, and the temperature that is stored with the model
    published = published_folder(run, checkpoint_name)
    model_config = read_model_config(published)
    settings.check_topk(len(model_config.class_names), run.name)
    written: dict[str, Any] = {}
    with suppress(UserError):  # gone or damaged: it is what is made again
        written = read_json(where / "metrics.json")
    name = config.dataset.name if images is None else images.name
    about = {"dataset": written.get("dataset", name), "split": where.name.partition("-")[0]}
    about |= {"tta": settings.tta, "epoch": model_config.epoch} | made_of(predictions)
    title = evaluation_title(about, run, checkpoint_name)

    # Figures and files
    topk = settings.topk or ()
    summary = about | summarize_predictions(predictions, model_config.class_names, topk, model_config)
    write_predictions_csv(where, predictions, model_config.class_names, model_config.temperature)
    drawn = split_of(predictions, images) if images is not None else find_split(config, predictions, console)
    with console.working("Drawing"):
        draw_evaluation(where, title, summary, predictions, drawn)
    write_sealed_json(where / "metrics.json", summary)
    add_to_card(run, published, console)
    show_evaluation(console, title, summary, confused_pairs(summary))
    console.line(f"Drawn again in {where}")
    return {"run": str(run), "evaluation": str(where), "topk": summary["topk"]}, True
