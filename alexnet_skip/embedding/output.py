"""What embed.py leaves in the run folder and shows on screen."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet_skip.devices.launch import Job
from alexnet_skip.embedding import projector
from alexnet_skip.embedding.names import folder_name, name_beside
from alexnet_skip.embedding.samples import Points
from alexnet_skip.embedding.space import Embedding, metrics_of
from alexnet_skip.evaluation.tables import sample_columns, write_columns
from alexnet_skip.images.splits import limit_positions
from alexnet_skip.network.prediction import probabilities
from alexnet_skip.plots import embedding as embedding_plots
from alexnet_skip.plots import turntable
from alexnet_skip.plots.embedding import Cloud
from alexnet_skip.plots.style import minus, save_figure
from alexnet_skip.settings.embed import EmbedSettings
from alexnet_skip.statistics.separation import Separation
from alexnet_skip.system.commands import tensorboard_address
from alexnet_skip.system.console import Console, per_cent
from alexnet_skip.system.files import write_json

# Of the animation, in parts of its width; and inches for a line of the legend beside it.
LEAST_HEIGHT, LEGEND_INCHES = 0.6, 0.22

# Above this many classes only those with the weakest neighbourhoods are shown on screen.
MAX_CLASS_ROWS = 25


def cloud_of(embedding: Embedding, labels: np.ndarray) -> Cloud:
    """An embedding as the figures take it."""
    names = embedding.run.model.class_names
    return Cloud(embedding.scores, labels, embedding.pca.explained_variance_ratio_, names)


def write_all(
    embeddings: Sequence[Embedding], points: Points, logits: np.ndarray, job: Job[EmbedSettings]
) -> dict[str, Any]:
    """Write and show everything about the first embedding, beside the others; to be called by one process.

    Returns:
        The figures and paths a program needs.
    """
    embedding, *others = embeddings
    run, labels, console = embedding.run, points.labels, job.console
    dataset, split = points.dataset.name, points.samples.name
    name = folder_name(points, job.settings)
    where = run.folder / name
    where.mkdir(parents=True, exist_ok=True)
    # Made again it is whole or without its figures, by which it is found: never old ones beside new pictures.
    (where / "metrics.json").unlink(missing_ok=True)
    images = f"{dataset} {split}, {len(labels):,} images"
    axes = f"axes fitted on {embedding.fitted_on}"
    title = f"{embedding.space}: {images}; {run.folder.name} (epoch {run.model_config.epoch}); {axes}"
    summary = {"dataset": dataset, "split": split, "num_samples": len(labels)}
    summary |= {"images_sha256": points.samples.split.digest} | metrics_of(embedding)
    for each in embeddings:
        show_embedding(console, each, f"{each.space}: {images}; {each.run.folder.name}; {axes}")
    write_pictures(where, embedding, labels, title)
    compared = {"compared": [metrics_of(each) for each in others]} if others else {}
    if others:
        stem = f"compare-{name_beside(others[0].run.folder, run.folder)}"
        write_comparison(where / f"{stem}.png", embeddings, labels, f"{images}; {axes}")
        write_json(where / f"{stem}.json", summary | compared)
    embedding.pca.save(where / "pca.npz")
    write_coordinates(where / "coordinates.csv", embedding, points, logits)
    listed = write_projector(embedding, name, points, logits, job)
    write_json(where / "metrics.json", summary)
    console.line(
        f"Written to {where}; in TensorBoard's projector it is {listed!r} of {run.folder.name} (a TensorBoard that is "
        "running shows it when it is started again):"
    )
    console.commands(("tensorboard", "--logdir", run.folder.parent))
    console.line(f"then open {tensorboard_address('projector')} and choose Color by: true class")
    keys = ("dataset", "split", "num_samples", "space", "num_features", "fitted_on", "separation")
    figures = {key: summary[key] for key in keys} | compared
    return figures | {"run": str(run.folder), "embedding": str(where), "projector": listed}


def write_pictures(where: Path, embedding: Embedding, labels: np.ndarray, title: str) -> None:
    """Write pca_2d.png, explained_variance.png and, of three components, pca_3d.png and pca_3d.gif."""
    cloud = cloud_of(embedding, labels)
    save_figure(embedding_plots.pca_2d_figure(cloud, title), where / "pca_2d.png")
    variance = embedding_plots.explained_variance_figure(cloud.ratio, embedding.num_features, title)
    save_figure(variance, where / "explained_variance.png")
    if cloud.scores.shape[1] < 3:
        return
    save_figure(embedding_plots.pca_3d_figure(cloud, title), where / "pca_3d.png")
    turntable.save_turn(turning(cloud, title), where / "pca_3d.gif")


def turning(cloud: Cloud, title: str) -> list[Image.Image]:
    """Frames of the first three coordinates' turn, as high as the cloud needs at its width."""
    names, scores, width = cloud.class_names, cloud.scores[:, :3], embedding_plots.TURN_INCHES
    named = names if len(names) <= embedding_plots.MAX_NAMED_CLASSES else ()
    across, up = turntable.half_view(scores)
    height = max(width * float(np.clip(up / across, LEAST_HEIGHT, 1)), LEGEND_INCHES * (len(named) + 1))
    return turntable.turning_cloud(
        scores, cloud.labels, embedding_plots.class_colours(len(names)), ("PC1", "PC2", "PC3"), named,
        embedding_plots.turn_background(names, title, height),
        (round(width * embedding_plots.TURN_DPI), round(height * embedding_plots.TURN_DPI)),
    )  # fmt: skip


def write_coordinates(path: Path, embedding: Embedding, points: Points, logits: np.ndarray) -> None:
    """Write every principal coordinate of every image beside its true and predicted class."""
    split, names = points.samples.split, np.array(embedding.run.model.class_names)
    columns = sample_columns(split.index[points.positions], split.files_at(points.positions)) | {
        "true": names[points.labels].tolist(),
        "predicted": names[logits.argmax(axis=1)].tolist(),
    }
    # As NumPy's own float32, whose text is as short as it can be and still the same number.
    columns |= {f"PC{axis}": list(scores) for axis, scores in enumerate(embedding.scores.T, start=1)}
    write_columns(path, columns)


def write_comparison(path: Path, embeddings: Sequence[Embedding], labels: np.ndarray, title: str) -> None:
    """Write a picture of several embeddings of the same images side by side, with their figures."""
    figure = embedding_plots.comparison_figure(
        [cloud_of(embedding, labels) for embedding in embeddings],
        [f"{embedding.run.folder.name}, {embedding.space}" for embedding in embeddings],
        [_note(embedding) for embedding in embeddings],
        title,
    )
    save_figure(figure, path)


def _note(embedding: Embedding) -> str:
    dimensions = (embedding.components, embedding.num_features)
    lines = [
        f"{count:,}-D: kNN {_knn(figures, 1)}, silhouette {_stated(figures.silhouette, '+.3f')}, "
        f"between/within {_stated(figures.variance_ratio, '.3f')}"
        for count, figures in zip(dimensions, embedding.figures.values(), strict=True)
    ]
    return "\n".join(line for line in [*lines, embedding.figures["full"].remark] if line)


def _knn(figures: Separation, digits: int) -> str:
    return "not stated" if figures.knn_top1 is None else f"{per_cent(figures.knn_top1, digits)} %"


def _stated(value: float | None, form: str) -> str:
    return "not stated" if value is None else minus(f"{value:{form}}")


def _embedded(embedding: Embedding) -> str:
    return f"{embedding.components} components"


def _whole(embedding: Embedding) -> str:
    return f"all {embedding.num_features:,} dimensions"


def write_projector(
    embedding: Embedding, name: str, points: Points, logits: np.ndarray, job: Job[EmbedSettings]
) -> str:
    """Show the embedding in the projector of the run's TensorBoard; returns the name under which it is listed.

    Args:
        logits: (N, num_classes), of which prediction and confidence, as the model tells them, are shown beside the true
            class.
    """
    positions, split, thumbnail_px = points.positions, points.samples.split, job.settings.thumbnails
    kept = np.arange(len(positions))
    if thumbnail_px and len(kept) > projector.max_thumbnails(thumbnail_px):
        most = projector.max_thumbnails(thumbnail_px)
        kept = limit_positions(points.labels, most)
        job.console.line(
            f"The projector gets {most:,} of {len(positions):,} images, balanced over the classes: a sprite holds no "
            f"more thumbnails of {thumbnail_px} px (smaller --thumbnails, or 0 for none, give it more)"
        )
    names = np.array(embedding.run.model.class_names)
    labels, chances = points.labels[kept], probabilities(logits[kept], embedding.run.model_config.temperature)
    predicted = chances.argmax(axis=1)
    columns = {
        "true class": names[labels].tolist(),
        "predicted": names[predicted].tolist(),
        "right": np.where(predicted == labels, "right", "wrong").tolist(),
        "confidence": [f"{value:.3f}" for value in chances.max(axis=1)],
        "sample": split.index[positions[kept]].tolist(),
    }
    sprite = projector.make_sprite(split.subset(positions[kept]).images, thumbnail_px) if thumbnail_px else None
    coordinates = embedding.scores[kept, : job.settings.projector_components]
    share = float(embedding.pca.explained_variance_ratio_[: coordinates.shape[1]].sum())
    return projector.export_embedding(
        embedding.run.folder, name, coordinates, columns, sprite, thumbnail_px, share, job.console.line
    )


def show_embedding(console: Console, embedding: Embedding, title: str) -> None:
    """Print how far the classes come apart, and which are nearest to each other."""
    spaces = {_embedded(embedding): embedding.figures["embedding"], _whole(embedding): embedding.figures["full"]}
    rows = [
        [
            name, _knn(f, 2), _stated(f.silhouette, "+.4f"), _stated(f.variance_ratio, ".4f"), f"{f.num_queries:,}",
        ]
        for name, f in spaces.items()
    ]  # fmt: skip
    neighbours = embedding.figures["full"].num_neighbours
    columns = ("classes in", f"kNN top-1 ({neighbours} others)", "silhouette", "between/within", "images asked")
    console.table(title, columns, rows, optional=(4,))
    if remark := embedding.figures["full"].remark:
        console.line(remark, style="yellow")
    names = embedding.run.model.class_names
    asked = np.flatnonzero(embedding.figures["full"].asked)
    shown = sorted(asked, key=lambda label: embedding.figures["full"].neighbours[label, label])
    shown = sorted(shown[:MAX_CLASS_ROWS])
    table = []
    for label in shown:
        row = [names[label]]
        for figures in spaces.values():
            other, share = figures.nearest_confusable()[label]
            row += [per_cent(figures.neighbours[label, label]), names[other] if share else "–", per_cent(share)]
        table.append(row)
    short = (f"{embedding.components}-D", f"{embedding.num_features:,}-D")
    heads = [head for name in short for head in (f"own %, {name}", "nearest other", "its %")]
    which = "Whose neighbours they have" if len(shown) == len(asked) else f"The {len(shown)} least apart"
    console.table(f"{which}: share of a class's {neighbours} nearest images", ("class", *heads), table, optional=(3, 6))
    if left := len(names) - len(asked):
        console.line(f"{left:,} class(es) are not in this table: no image of theirs is among those asked")
