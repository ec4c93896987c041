"""Classify images of one's own with a trained network: table, JSON and contact sheet."""

import json
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet_skip.devices.launch import start_job
from alexnet_skip.images.file import as_rgb, squeeze
from alexnet_skip.images.listing import LeftOut, find_images
from alexnet_skip.images.loading import tell_missing_fonts
from alexnet_skip.network.model import PREDICT_IMAGES, AlexNetWithSkip, load_published
from alexnet_skip.network.prediction import Prediction
from alexnet_skip.plots.gallery import MAX_SHEET_IMAGES, THUMBNAIL_PX, contact_sheet_figure
from alexnet_skip.plots.style import save_figure
from alexnet_skip.runs import folders
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.settings.records import ModelConfig
from alexnet_skip.system.console import Console, per_cent
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import shown_path, write_text

DEFAULT_TOPK = 3
# More rows would scroll by unread; the JSON has them all.
MAX_TABLE_IMAGES = 50
BAR_LETTERS = 24
EIGHTHS = " ▏▎▍▌▋▊▉█"


def open_network(settings: EvaluateSettings, console: Console) -> tuple[AlexNetWithSkip, ModelConfig, Path]:
    """The network that --run and --checkpoint name, its config and folder; --run may be a published model itself.

    Raises:
        UserError: if there is none, or --checkpoint asks for another than --run is.
    """
    if settings.run is not None and (Path(settings.run) / "model.safetensors").is_file():
        folder = Path(settings.run)
        if settings.checkpoint != EvaluateSettings.checkpoint:
            raise UserError(
                f"--checkpoint is {settings.checkpoint}, but --run {folder} is one model already; give the run's "
                "folder, or leave --checkpoint out"
            )
    else:
        run = folders.find_run(settings.runs_dir, settings.run, console.line)
        folder = folders.published_folder(run, settings.checkpoint)
    return *load_published(folder), folder


def classify(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Classify the images of ``--images``; returns the figures and paths a program needs, and whether to print them."""
    # The network, on the main process: a few images are not worth several
    job = start_job(settings)
    if not job.accelerator.is_main_process:
        return {}, False
    console = job.console
    with console.working("Reading the model"):
        model, config, folder = open_network(settings, console)
    model = model.to(job.accelerator.device)
    settings.check_topk(len(model.class_names), str(folder))
    tell_missing_fonts(model.class_names, console)
    console.line(f"Probabilities: {config.calibration}")
    k = max(settings.topk or (), default=min(DEFAULT_TOPK, len(model.class_names)))

    # Files that can't be read stop the command if named, and are listed if found in a folder
    left_out = LeftOut()
    asked = settings.images or ()
    paths = find_images(asked, left_out)
    if str(left_out):
        console.line(f"--images, {left_out}", style="yellow")
    named = {path for path in asked if path.is_file()}
    with console.progress("Classify", len(paths)) as progress:
        read, predictions, thumbnails, failures = predict_files(model, paths, named, progress.advance)
    for reason in failures.values():
        console.line(f"Left out: {reason}", style="yellow")
    if not read:
        raise UserError(f"--images: none of the {len(paths)} image(s) can be read; give others")

    # What people see, what programs read
    show_predictions(console, read, predictions, k)
    run, stamp = folders.run_of_model(folder), datetime.now().strftime("%Y%m%d-%H%M%S")
    where = run / "predictions" / stamp if run is not None else folder / f"predictions-{stamp}"
    which = "" if folder.name == "model" else f", {folders.published_name(folder.name)}"
    title = f"{len(read)} image(s), {folder.name if run is None else run.name + which}"
    images = [
        {"path": shown_path(path), "top": [{"class": name, "probability": value} for name, value in prediction.top(k)]}
        for path, prediction in zip(read, predictions, strict=True)
    ]
    result = {"model": str(folder), "temperature": model.temperature, "images": images}
    result["unreadable"] = {shown_path(path): reason for path, reason in failures.items()}
    with console.working("Drawing the contact sheet"):
        figure = contact_sheet_figure(
            thumbnails, [shown_path(p.name) for p in read], [p.top(k) for p in predictions], title
        )
        written = write_predictions(where, result, figure)
    console.line(f"Contact sheet {written / 'contact_sheet.png'}, figures {written / 'predictions.json'}")
    return result | {"contact_sheet": str(written / "contact_sheet.png")}, True


def predict_files(
    model: AlexNetWithSkip, paths: list[Path], named: set[Path], advance: Callable[[int], None] = lambda _: None
) -> tuple[list[Path], list[Prediction], list[np.ndarray], dict[Path, str]]:
    """Predict files a few at a time.

    Args:
        advance: is told of how many more files were read.

    Returns:
        The files that could be read, their predictions, small copies of the first of them for the contact sheet, and
        for the others why they could not.

    Raises:
        UserError: if a file of ``named`` can't be read.
    """
    read: list[Path] = []
    predictions: list[Prediction] = []
    thumbnails: list[np.ndarray] = []
    failures: dict[Path, str] = {}
    for start in range(0, len(paths), PREDICT_IMAGES):
        images = []
        for path in paths[start : start + PREDICT_IMAGES]:
            try:
                images.append(as_rgb(path))
            except ValueError as error:
                if path in named:
                    raise UserError(f"--images: {error}; give another file or mend it") from None
                failures[path] = str(error)
                continue
            read.append(path)
            if len(thumbnails) < MAX_SHEET_IMAGES:
                small = Image.fromarray(images[-1])
                small.thumbnail((THUMBNAIL_PX, THUMBNAIL_PX))
                thumbnails.append(np.asarray(small))
            # As predict() would, but now: a photograph takes 36 MB at its full size.
            images[-1] = squeeze(images[-1], model.image_size)
        predictions += model.predict(images)
        advance(len(paths[start : start + PREDICT_IMAGES]))
    return read, predictions, thumbnails, failures


def bar(probability: float) -> str:
    """A bar of block characters, as long as the probability; 1 is ``BAR_LETTERS`` letters."""
    eighths = round(8 * BAR_LETTERS * probability)
    return ("█" * (eighths // 8) + EIGHTHS[eighths % 8]).rstrip()


def show_predictions(console: Console, paths: list[Path], predictions: list[Prediction], k: int) -> None:
    """Print one row per image and class, with a bar."""
    rows = []
    for path, prediction in list(zip(paths, predictions, strict=True))[:MAX_TABLE_IMAGES]:
        for place, (name, probability) in enumerate(prediction.top(k)):
            shown = shown_path(path.name) if place == 0 else ""
            rows.append([shown, name, f"{per_cent(probability)} %", bar(probability)])
    title = f"{len(paths)} image(s)"
    if len(paths) > MAX_TABLE_IMAGES:
        title = f"The first {MAX_TABLE_IMAGES} of {len(paths)} images (all in predictions.json)"
    console.table(title, ("image", "class", "probability", ""), rows, optional=(3,))


def write_predictions(where: Path, result: dict[str, Any], figure: Any) -> Path:
    """Write predictions.json and contact_sheet.png into a new folder; returns it."""
    folder, number = where, 1
    while folder.exists():
        number += 1
        folder = where.with_name(f"{where.name}-{number}")
    try:
        folder.mkdir(parents=True)
        write_text(
            folder / "predictions.json", json.dumps(result, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
        )
        save_figure(figure, folder / "contact_sheet.png")
    except OSError as error:
        raise UserError(f"{folder} can't be written ({error.strerror}); copy the model to a folder of yours") from None
    return folder
