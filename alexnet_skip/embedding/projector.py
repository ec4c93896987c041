"""Files for TensorBoard's embedding projector, from arrays; written so that a running TensorBoard shows them.

What its plugin does (tensorboard 2.21, ``plugins/projector/projector_plugin.py``) decides the order here: it fails
altogether on a config that names a missing file. So assets come first, under names that hold their digest; then the
config, which keeps other embeddings. It reads configs again only when it is started or the set of runs has changed. An
embedding is no run of its own all the same: that would stand among the others in every tab.
"""

import hashlib
import math
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from google.protobuf import text_format
from PIL import Image
from tensorboard.plugins.projector.projector_config_pb2 import EmbeddingInfo, ProjectorConfig

from alexnet_skip.images.file import squeeze
from alexnet_skip.images.split import Images, read_rows
from alexnet_skip.system.files import replacing, write_bytes, write_text
from alexnet_skip.system.locks import folder_lock

CONFIG_NAME = "projector_config.pbtxt"
# From 50 dimensions on the projector normalises points to unit length unasked, from 200 on it reduces them at random
# (THRESHOLD_DIM_NORMALIZE, and its PCA's limit).
MAX_DIMENSIONS = 49
# The largest side of a sprite that it accepts (MAX_SPRITE_IMAGE_SIZE_PX).
MAX_SPRITE_PX = 8192
SPRITE_QUALITY = 90
# Photographs that are in memory at their full size at once.
READ_ROWS = 512


def max_thumbnails(size_px: int) -> int:
    """How many square thumbnails of a size fit into one sprite."""
    return (MAX_SPRITE_PX // size_px) ** 2


def make_sprite(images: Images, size_px: int) -> Image.Image:
    """All images in one, row by row in a square grid: the projector takes rows and columns to be equally many.

    Args:
        images: uint8 (N, H, W, 3), read :data:`READ_ROWS` at a time.
        size_px: side of a thumbnail.

    Raises:
        ValueError: if they do not fit.
    """
    if len(images) > max_thumbnails(size_px):
        raise ValueError(
            f"{len(images):,} thumbnails of {size_px} px do not fit into a sprite of {MAX_SPRITE_PX} px a side; "
            f"at most {max_thumbnails(size_px):,} do"
        )
    columns = math.ceil(math.sqrt(len(images)))
    grid = np.full((columns**2, size_px, size_px, 3), 255, np.uint8)
    parts = [slice(start, min(start + READ_ROWS, len(images))) for start in range(0, len(images), READ_ROWS)]
    for part, block in zip(parts, read_rows(images, parts), strict=True):
        grid[part] = [squeeze(image, (size_px, size_px)) for image in block]
    grid = grid.reshape(columns, columns, size_px, size_px, 3).swapaxes(1, 2)
    return Image.fromarray(grid.reshape(columns * size_px, columns * size_px, 3))


def metadata_table(columns: Mapping[str, Sequence[object]]) -> str:
    """A table for the projector: a header where there are several columns, and no tab or line break in any cell."""

    def clean(value: object) -> str:
        # An empty cell would be read as "no value".
        return " ".join(str(value).split()) or "-"

    lines = ["\t".join(clean(value) for value in row) for row in zip(*columns.values(), strict=True)]
    header = ["\t".join(clean(name) for name in columns)] if len(columns) > 1 else []
    return "\n".join(header + lines) + "\n"


def export_embedding(
    run_folder: Path,
    name: str,
    coordinates: np.ndarray,
    columns: Mapping[str, Sequence[object]],
    sprite: Image.Image | None,
    size_px: int,
    share: float,
    report: Callable[[str], None],
) -> str:
    """Show an embedding in the projector of a run, beside those that are there; one of the same name is replaced.

    With thumbnails it is listed twice, the second time as dots: thumbnails hide the colours.

    Args:
        run_folder: a run of TensorBoard; it holds the config.
        name: folder of the embedding within the run, as in ``embedding/test-features``.
        coordinates: (N, K) with K from 2 to :data:`MAX_DIMENSIONS`.
        columns: N values for each column of metadata, by its name.
        sprite: from :func:`make_sprite`, with thumbnails of ``size_px``, or None.
        share: part of the whole variance that the coordinates hold, for the name: the projector's own "total variance
            described" is of the coordinates that it is given.
        report: told whom it waits for, where another program is just doing the same to the run.

    Returns:
        The name under which the projector lists it first.

    Raises:
        ValueError: if there are too few or too many dimensions, a value is not finite, or a column has another length.
    """
    num_points, dimensions = coordinates.shape
    if not 2 <= dimensions <= MAX_DIMENSIONS:
        raise ValueError(f"the projector leaves 2 to {MAX_DIMENSIONS} dimensions as they are, not {dimensions}")
    if not np.isfinite(coordinates).all():
        raise ValueError("coordinates must be finite")
    uneven = [column for column, values in columns.items() if len(values) != num_points]
    if uneven or not columns:
        raise ValueError(f"metadata must have one value for each of {num_points} points; see {uneven or 'no column'}")

    folder = run_folder / name
    folder.mkdir(parents=True, exist_ok=True)
    tensor = np.ascontiguousarray(coordinates, dtype="<f4")
    table = metadata_table(columns)
    digest = hashlib.sha256(tensor.tobytes() + table.encode() + (sprite.tobytes() if sprite else b"")).hexdigest()[:8]
    tensor_file, table_file, sprite_file = (
        folder / f"{kind}-{digest}.{ending}"
        for kind, ending in (("tensor", "bytes"), ("metadata", "tsv"), ("sprite", "jpg"))
    )
    write_bytes(tensor_file, tensor.tobytes())
    write_text(table_file, table)
    if sprite is not None:
        _write_sprite(sprite_file, sprite)
    listed = f"{Path(name).name} ({100 * share:.1f} % of variance)"
    dots = EmbeddingInfo(
        tensor_name=listed, tensor_shape=[num_points, dimensions], tensor_path=f"{name}/{tensor_file.name}",
        metadata_path=f"{name}/{table_file.name}",
    )  # fmt: skip
    own = [dots]
    if sprite is not None:
        pictures = EmbeddingInfo()
        pictures.CopyFrom(dots)
        pictures.sprite.image_path = f"{name}/{sprite_file.name}"
        pictures.sprite.single_image_dim.extend([size_px, size_px])
        dots.tensor_name += " as dots"
        own.insert(0, pictures)
    with folder_lock(folder.parent, report):  # the run's own lock is its training's
        config = _other_embeddings(run_folder, name)
        config.embeddings.extend(own)
        write_text(run_folder / CONFIG_NAME, text_format.MessageToString(config))
    _remove_others(folder, digest)
    return listed


def _other_embeddings(run_folder: Path, name: str) -> ProjectorConfig:
    """The config as it is, without the embedding of this name and without those whose files are gone."""
    config = ProjectorConfig()
    try:
        text_format.Parse((run_folder / CONFIG_NAME).read_text(encoding="utf-8"), config)
    except (OSError, text_format.ParseError, UnicodeDecodeError):
        return ProjectorConfig()  # none yet, or one that TensorBoard could not read either
    kept = [
        entry
        for entry in config.embeddings
        if entry.tensor_path.rpartition("/")[0] != name and (run_folder / entry.tensor_path).is_file()
    ]
    del config.embeddings[:]
    config.embeddings.extend(kept)
    return config


def _write_sprite(path: Path, sprite: Image.Image) -> None:
    with replacing(path) as temporary:
        sprite.save(temporary, format="JPEG", quality=SPRITE_QUALITY, subsampling=0)


def _remove_others(folder: Path, digest: str) -> None:
    """What earlier exports of this embedding left; what another program holds open stays."""
    for path in folder.iterdir():
        kind, _, rest = path.name.partition("-")
        if kind == "projector":
            # A run of its own, which earlier versions made.
            shutil.rmtree(path, ignore_errors=True)
        elif kind in ("tensor", "metadata", "sprite") and not rest.startswith(digest):
            with suppress(OSError):
                path.unlink()
