"""Draw the space that a run's images are embedded in: PCA, how far the classes come apart, TensorBoard projector.

python embed.py                                       the newest run, its test split
python embed.py --layer hidden2                       what the trained head makes of the features
python embed.py --run NAME --compare OTHER            two runs side by side
tensorboard --logdir runs                             to turn the cloud around, under "Projector"
"""

import sys
from collections.abc import Sequence
from typing import Any

from alexnet_skip.settings.embed import EmbedSettings, parse_embed
from alexnet_skip.system.script import run_script


def embed(settings: EmbedSettings) -> tuple[dict[str, Any], bool]:
    """Embed one split of a run; returns the figures and paths a program needs, and whether this process prints them."""
    # Imported once the command line is understood: torch takes seconds, --help should not.
    from alexnet_skip.devices.launch import start_job
    from alexnet_skip.embedding import output
    from alexnet_skip.embedding.samples import choose_fit, choose_points, refuse_other_images
    from alexnet_skip.embedding.space import RunFeatures, embed_run
    from alexnet_skip.runs.opened import open_run

    # The run, and one beside it
    job = start_job(settings)
    with job.console.working("Reading the model"):
        run = open_run(settings.runs_dir, settings.run, settings.checkpoint, job.console.line)
        others = [open_run(settings.runs_dir, settings.compare, settings.checkpoint)] if settings.compare else []

    # Which images are embedded, and on which the axes are fitted
    dataset = run.load_images(settings.dataset, job, own=True)
    samples = run.select(settings.split, dataset, job.console, is_training_dataset=True)
    elsewhere = run.name_elsewhere(dataset, samples) if settings.dataset is not None else ""
    if not elsewhere:
        run.tell_changed(samples, job.console)
    points = choose_points(dataset, samples, job, elsewhere)
    fit = choose_fit(run, points, job)
    for other in others:
        other.require_agreement(job)
        refuse_other_images(run, other, points, job.console)

    # Principal axes, coordinates, and how far the classes come apart
    features = [RunFeatures(each, dataset, job) for each in (run, *others)]
    with job.console.working("Principal axes and separation"):
        found = [embed_run(each, points, fit) for each in features]
        logits = found[0][1]
        if logits is None:
            logits = features[0].logits(points)

    # Figures, pictures, projector
    result = {}
    if job.accelerator.is_main_process:
        all_embeddings = [embedding for embedding, _ in found if embedding is not None]
        with job.console.working("Drawing"):
            result = output.write_all(all_embeddings, points, logits, job)
    job.accelerator.wait_for_everyone()
    job.accelerator.end_training()
    return result, job.accelerator.is_main_process


def do_what_is_asked(settings: EmbedSettings) -> tuple[dict[str, Any], bool]:
    """Embed, or tell what that would take."""
    return settings.mode.load()(settings) if settings.mode else embed(settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and embed; returns the exit code."""
    return run_script(lambda: parse_embed(argv), do_what_is_asked)


if __name__ == "__main__":
    sys.exit(main())
