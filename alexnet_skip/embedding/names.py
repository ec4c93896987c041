"""What an embedding is called: in its run's folder, in TensorBoard's projector, and beside another."""

import dataclasses
from pathlib import Path

from alexnet_skip.embedding.samples import Points
from alexnet_skip.runs.folders import ELSEWHERE, published_name
from alexnet_skip.settings.embed import EmbedSettings
from alexnet_skip.system.files import part_of_name

# Settings that decide what is written and are in an embedding's name where they are not the default.
NAMED = ("checkpoint", "fit", "components", "projector_components", "thumbnails")


def folder_name(points: Points, settings: EmbedSettings) -> str:
    """Folder of an embedding within the run, one for each of what decides its files: split, layer, view, the number of
    points where it is not all of them, each of :data:`NAMED` that is not the default, and images of another place.
    """
    name = f"embedding/{points.samples.name}-{settings.layer}"
    if settings.skip_view != "joined":
        name += f"-{settings.skip_view}"
    if len(points.positions) < len(points.samples.positions):
        name += f"-points-{len(points.positions)}"
    defaults = {field.name: field.default for field in dataclasses.fields(EmbedSettings)}
    for setting in NAMED:
        if (value := getattr(settings, setting)) != defaults[setting]:
            shown = published_name(value) if setting == "checkpoint" else value
            name += f"-{setting.replace('_', '-')}-{shown}"
    return f"{name}{ELSEWHERE}{points.elsewhere}" if points.elsewhere else name


def name_beside(other: Path, run: Path) -> str:
    """A run's name beside another's; with its study's before it where that is another: their runs are named alike."""
    folder = other.resolve()
    beside = folder.parent == run.resolve().parent
    return part_of_name(folder.name if beside else f"{folder.parent.name}-{folder.name}")
