"""evaluate.py --redraw: the figures of an evaluation once more, from its predictions."""

from typing import Any

from alexnet_skip.evaluation.evaluate import confused_pairs, evaluation_folder, evaluation_title
from alexnet_skip.evaluation.figures import draw_evaluation, summarize_predictions
from alexnet_skip.runs.folders import find_run, published_folder, published_name
from alexnet_skip.runs.predictions import read_predictions
from alexnet_skip.runs.samples import find_split
from alexnet_skip.settings.evaluate import EvaluateSettings
from alexnet_skip.system.console import Console, show_evaluation
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json, write_sealed_json


def redraw(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Make metrics.json and the figures of an evaluation again; returns the figures and paths a program needs."""
    # The predictions, of test or of what stood in for it
    console = Console(settings.quiet)
    run = find_run(settings.runs_dir, settings.run)
    which = published_name(settings.checkpoint)
    splits = ("test", "val") if settings.split == "test" else (settings.split,)
    places = [evaluation_folder(run, split, which, tta=settings.tta) for split in splits]
    where = next((place for place in places if (place / "predictions.npz").is_file()), None)
    if where is None:
        raise UserError(
            f"{run} has no predictions of {which} on {settings.split}; make them first: "
            f"python evaluate.py --run {run} --split {settings.split} --checkpoint {which}"
        )
    predictions = read_predictions(where)

    # What they are called, and the temperature that is stored with the model
    config, form = read_json(run / "config.json"), read_json(published_folder(run, which) / "config.json")
    written = read_json(where / "metrics.json") if (where / "metrics.json").is_file() else {}
    about = {"dataset": written.get("dataset", config["dataset"]["name"]), "split": where.name.partition("-")[0]}
    about |= {"tta": settings.tta, "epoch": form["epoch"]}
    title = evaluation_title(about, run, which)

    # Figures and files
    topk = settings.topk or ()
    summary = about | summarize_predictions(predictions, form["class_names"], topk, form.get("temperature"))
    draw_evaluation(where, title, summary, predictions, find_split(config, predictions, console))
    write_sealed_json(where / "metrics.json", summary)
    show_evaluation(console, title, summary, confused_pairs(summary))
    console.line(f"Drawn again in {where}")
    return {"run": str(run), "evaluation": str(where), "topk": summary["topk"]}, True
