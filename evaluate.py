"""Evaluate a trained run: top-k accuracy with intervals, per-class figures and the confusion matrix.

python evaluate.py --topk 1 3                         the newest run, on its test split
python evaluate.py --run NAME --split val --tta
python evaluate.py --images photo.jpg my_photos       classify images of one's own
python evaluate.py --export onnx                      the whole network in one file
python evaluate.py --compare runs/study-cifar10       does the skip help? also: RUN RUN ...
python evaluate.py --explain 12                       where does it look? with --compare: where do two look?
python evaluate.py --report                           all of it on one page, for any browser
python evaluate.py --table runs/study-cifar10         the source report's table, with ours beside it
"""

import sys
from collections.abc import Sequence
from typing import Any

from alexnet_skip.settings.evaluate import EvaluateSettings, parse_evaluate
from alexnet_skip.system.script import run_script


def evaluate(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Evaluate one run; returns the figures and paths a program needs, and whether this process prints them."""
    # Imported once the command line is understood: torch takes seconds, --help should not.
    from alexnet_skip.devices.launch import start_job
    from alexnet_skip.evaluation.evaluate import EvaluationSet, calibrate, confused_pairs, evaluate_model
    from alexnet_skip.evaluation.figures import show_evaluation
    from alexnet_skip.runs.opened import open_run

    # The run and its published model
    job = start_job(settings)
    accelerator, console = job.accelerator, job.console
    with console.working("Reading the model"):
        run = open_run(settings.runs_dir, settings.run, settings.checkpoint, console.line)
    settings.check_topk(len(run.model.class_names), run.folder.name)

    # The images it is evaluated on
    dataset = run.load_images(settings.dataset, job)
    samples = run.select(settings.split, dataset, console, is_training_dataset=settings.dataset is None)
    elsewhere = run.name_elsewhere(dataset, samples) if settings.dataset is not None else ""
    if not elsewhere:
        run.tell_changed(samples, console)

    # A temperature, fitted on held-out images and kept with the model
    if settings.fit_temperature:
        at_hand = settings.dataset is None or run.trained_on(dataset)
        own = dataset if at_hand else run.load_images(None, job)
        run = calibrate(run, own, job)

    # One exact pass: every sample once, whatever the number of processes; every figure from its predictions
    features, rows = run.open_features(
        dataset, samples.source_split, samples.positions, job, tap=run.needs_tap, mirrored=settings.tta
    )
    on = EvaluationSet(dataset.name, samples, features, rows, tta=settings.tta, elsewhere=elsewhere)
    with console.working("Predicting and drawing"):
        evaluation = evaluate_model(run, on, accelerator, console, topk=settings.topk or ())
    summary = evaluation.summary
    show_evaluation(console, evaluation.title, summary, confused_pairs(summary))
    if "temperature" in summary and samples.name == "val" and not elsewhere:
        console.line("The temperature was fitted on these very images: what it gives on them flatters", style="yellow")
    console.line(f"Written to {evaluation.folder}")
    accelerator.end_training()
    keys = ("dataset", "split", "num_samples", "topk", "top1_ci95", "balanced_accuracy", "macro_f1", "nll", "ece")
    fitted = [key for key in ("temperature", "nll_calibrated", "ece_calibrated") if key in summary]
    figures = {key: summary[key] for key in (*keys, *fitted)}
    return figures | {"run": str(run.folder), "evaluation": str(evaluation.folder)}, accelerator.is_main_process


def do_what_is_asked(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Evaluate, or what a flag asks for instead."""
    return settings.mode.load()(settings) if settings.mode else evaluate(settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and evaluate; returns the exit code."""
    return run_script(lambda: parse_evaluate(argv), do_what_is_asked)


if __name__ == "__main__":
    sys.exit(main())
