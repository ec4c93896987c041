"""Evaluate a trained run: top-k accuracy with intervals, per-class figures and the confusion matrix.

python evaluate.py --topk 1 3                         the newest run, on its test split
python evaluate.py --run NAME --split val --tta
python evaluate.py --images photo.jpg my_photos       classify images of one's own
python evaluate.py --export onnx                      the whole network in one file
python evaluate.py --compare runs/study-cifar10       does the skip help? also: RUN RUN ...
python evaluate.py --table runs/study-cifar10         the source report's table, with ours beside it
"""

import sys
from collections.abc import Sequence
from typing import Any

from alexnet_skip.evaluation.figures import show_evaluation
from alexnet_skip.settings.evaluate import EvaluateSettings, parse_evaluate
from alexnet_skip.system.console import Console, run_script


def evaluate(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Evaluate one run; returns the figures and paths a program needs, and whether this process prints them."""
    # Imported once the command line is understood: torch takes seconds, --help should not.
    from alexnet_skip.devices import launch
    from alexnet_skip.evaluation.evaluate import confused_pairs, evaluate_model
    from alexnet_skip.runs.opened import open_run
    from alexnet_skip.system.errors import UserError

    # The run and its published model
    accelerator, _ = launch.start("no")
    console = Console(settings.quiet, accelerator.is_main_process)
    run = open_run(settings.runs_dir, settings.run, settings.checkpoint)
    names, folder = run.model.class_names, run.folder
    if max(settings.topk or (), default=1) > len(names):
        raise UserError(
            f"--topk is {max(settings.topk or ())}, but {folder.name} has {len(names)} classes; give 1 to {len(names)}"
        )

    # The images it is evaluated on
    dataset = run.load_images(settings.dataset, accelerator, console)
    samples = run.select(settings.split, dataset, console, own=settings.dataset is None)

    # A temperature, fitted on held-out images and kept with the model
    if settings.fit_temperature:
        from alexnet_skip.evaluation.evaluate import calibrate

        own = dataset if settings.dataset is None else run.load_images(None, accelerator, console)
        run = calibrate(run, settings.checkpoint, own, accelerator, console)

    # One exact pass: every sample once, whatever the number of processes; every figure from its predictions
    features = run.open_features(dataset, samples.stored, accelerator, console, mirrored=settings.tta)
    evaluation = evaluate_model(
        run.model, run.model_config, folder, settings.checkpoint, dataset.name, samples, features, accelerator,
        topk=settings.topk or (), tta=settings.tta,
    )  # fmt: skip
    summary = evaluation.summary
    show_evaluation(console, evaluation.title, summary, confused_pairs(summary))
    if "temperature" in summary and samples.name == "val":
        console.line("The temperature was fitted on these very images: what it gives on them flatters", style="yellow")
    console.line(f"Written to {evaluation.folder}")
    accelerator.end_training()
    figures = {key: summary[key] for key in ("dataset", "split", "num_samples", "topk", "top1_ci95", "nll", "ece")}
    return figures | {"run": str(folder), "evaluation": str(evaluation.folder)}, accelerator.is_main_process


def do_what_is_asked(settings: EvaluateSettings) -> tuple[dict[str, Any], bool]:
    """Classify own images, draw again, compare runs, make the report's table, export the network, or evaluate."""
    if settings.images:
        from alexnet_skip.evaluation.classify import classify

        return classify(settings)
    if settings.redraw:
        from alexnet_skip.evaluation.evaluate import redraw

        return redraw(settings)
    if settings.compare is not None:
        from alexnet_skip.study.compare import compare_runs

        return compare_runs(settings)
    if settings.table is not None:
        from alexnet_skip.study.table import report_table

        return report_table(settings)
    if settings.export != "none":
        from alexnet_skip.evaluation.export import export

        return export(settings)
    if settings.dry_run:
        from alexnet_skip.upkeep.dry_run import dry_run_pass

        return dry_run_pass(
            "evaluate.py", settings.runs_dir, settings.run, settings.checkpoint, settings.split,
            dataset=settings.dataset, mirrored=settings.tta, quiet=settings.quiet,
        )  # fmt: skip
    return evaluate(settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and evaluate; returns the exit code."""
    return run_script(lambda: do_what_is_asked(parse_evaluate(argv)))


if __name__ == "__main__":
    sys.exit(main())
