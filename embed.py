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
from alexnet_skip.system.console import Console, run_script


def embed(settings: EmbedSettings) -> tuple[dict[str, Any], bool]:
    """Embed one split of a run; returns the figures and paths a program needs, and whether this process prints them."""
    # Imported once the command line is understood: torch takes seconds, --help should not.
    from alexnet_skip.devices import launch
    from alexnet_skip.embedding import output
    from alexnet_skip.embedding.samples import choose_fit, choose_points, refuse_other_images
    from alexnet_skip.embedding.space import RunFeatures, embed_run
    from alexnet_skip.runs.opened import open_run

    # The run, and one beside it
    accelerator, _ = launch.start("no")
    console = Console(settings.quiet, accelerator.is_main_process)
    run = open_run(settings.runs_dir, settings.run, "best")
    others = [open_run(settings.runs_dir, settings.compare, "best")] if settings.compare else []

    # Which images are embedded, and on which the axes are fitted
    dataset = run.load_images(None, accelerator, console)
    samples = run.select(settings.split, dataset, console, own=True)
    positions = choose_points(samples, settings.max_points, console)
    fit = choose_fit(run, dataset, samples, positions, settings.fit, console)
    for other in others:
        refuse_other_images(run, other, dataset, samples, console)

    # Principal axes, coordinates, and how far the classes come apart
    tap = settings.skip_view == "tap"
    features = [RunFeatures(each, dataset, tap, accelerator, console) for each in (run, *others)]
    found = [embed_run(each, samples, positions, fit, settings) for each in features]
    logits = found[0][1]
    if logits is None:
        logits = features[0].logits(samples, positions)

    # Figures, pictures, projector
    result = {}
    if accelerator.is_main_process:
        all_embeddings = [embedding for embedding, _ in found if embedding is not None]
        result = output.write_all(all_embeddings, dataset.name, samples, positions, logits, settings, console)
    accelerator.wait_for_everyone()
    accelerator.end_training()
    return result, accelerator.is_main_process


def do_what_is_asked(settings: EmbedSettings) -> tuple[dict[str, Any], bool]:
    """Embed, or tell what that would take."""
    if settings.dry_run:
        from alexnet_skip.upkeep.dry_run import dry_run_pass

        return dry_run_pass("embed.py", settings.runs_dir, settings.run, "best", settings.split, quiet=settings.quiet)
    return embed(settings)


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and embed; returns the exit code."""
    return run_script(lambda: do_what_is_asked(parse_embed(argv)))


if __name__ == "__main__":
    sys.exit(main())
