"""The clouds of points that embed.py has left, packed for the page: three coordinates, classes, thumbnails."""

import base64
import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from alexnet_skip.images.splits import limit_positions
from alexnet_skip.report.subject import Subject
from alexnet_skip.runs.predictions import DAMAGE
from alexnet_skip.statistics.separation import NAMES
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json

# What a page of 8 MB has room for: points of a cloud (11 bytes each), clouds, and bytes of all thumbnails.
MAX_POINTS, MAX_CLOUDS = 10_000, 12
SHEET_BYTES = 3_000_000
# Sides and qualities of thumbnails, tried in turn until they fit; multiples of 8 keep JPEG's blocks to one thumbnail.
SHEET_FORMS = ((32, 70), (24, 60), (16, 60), (16, 30), (8, 60))
# What the page tells of an embedding by its metrics.json, beside figures of its separation.
TOLD = frozenset(("epoch", "space", "split", "fitted_on"))
# Coordinates are given in this many steps from 0 to the farthest point.
STEPS = 32767


@dataclass(frozen=True)
class Cloud:
    """An embedding that embed.py has left.

    Attributes:
        run: its folder.
        about: its metrics.json.
        layer: which layer of the network, as its folder is called.
        scores: float32 (N, 3); the third is 0 where there are two.
        labels, predicted: classes (N,).
        confidence: of the prediction (N,).
        samples: stable ids of the images (N,).
        sprite: file of the thumbnails, row by row in a square; None without.
    """

    run: Path
    name: str
    about: dict[str, Any]
    scores: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    samples: np.ndarray
    sprite: Path | None

    @property
    def images(self) -> str:
        """SHA-256 of the split that the images are from."""
        return str(self.about.get("images_sha256", ""))

    def tiles(self) -> np.ndarray | None:
        """The thumbnails uint8 (N, side, side, 3); None where there are none, or their file is damaged."""
        if self.sprite is None:
            return None
        columns = math.ceil(math.sqrt(len(self.samples)))
        try:
            with Image.open(self.sprite) as opened:
                whole = np.asarray(opened.convert("RGB"))
            side = whole.shape[1] // columns
            grid = whole.reshape(columns, side, columns, side, 3).swapaxes(1, 2)
        except DAMAGE:
            return None
        return grid.reshape(-1, side, side, 3)[: len(self.samples)]


def find_clouds(subject: Subject) -> list[Cloud]:
    """Embeddings of the subject's runs with two coordinates or more, in the order of runs, layers and epochs."""
    found = []
    for run in subject.runs:
        of_run = []
        for path in sorted(run.glob("embedding/*/metrics.json")):
            tensors = sorted(path.parent.glob("tensor-*.bytes"))
            if tensors:
                of_run.append(_read(run, path.parent, tensors[-1], subject.class_names))
        found += sorted(of_run, key=lambda cloud: (str(cloud.about["space"]), cloud.about["epoch"] or 0, cloud.name))
    return found


def _read(run: Path, folder: Path, tensor: Path, class_names: Sequence[str]) -> Cloud:
    """One embedding from the files that TensorBoard's projector shows.

    Raises:
        UserError: if they are damaged or do not fit each other.
    """
    digest = tensor.stem.partition("-")[2]
    sprite = folder / f"sprite-{digest}.jpg"
    # As the table has them: see metadata_table of the room embedding.
    number = {" ".join(name.split()) or "-": label for label, name in enumerate(class_names)}
    try:
        table = (folder / f"metadata-{digest}.tsv").read_text(encoding="utf-8")
        rows = list(csv.DictReader(io.StringIO(table), delimiter="\t", quoting=csv.QUOTE_NONE))
        scores = np.frombuffer(tensor.read_bytes(), "<f4").reshape(len(rows), -1)[:, :3]
        about = read_json(folder / "metrics.json")
        if lacking := [*(TOLD - about.keys()), *(NAMES.keys() - about["separation"]["full"].keys())]:
            raise ValueError(f"its metrics.json lacks {', '.join(sorted(lacking))}")
        if scores.shape[1] < 3:
            scores = np.pad(scores, ((0, 0), (0, 3 - scores.shape[1])))
        return Cloud(
            run, folder.name, about, scores,
            np.array([number[row["true class"]] for row in rows]),
            np.array([number[row["predicted"]] for row in rows]),
            np.array([float(row["confidence"]) for row in rows]),
            np.array([int(row["sample"]) for row in rows]), sprite if sprite.is_file() else None,
        )  # fmt: skip
    except DAMAGE as error:
        raise UserError(f"{folder} is damaged ({error!r}); make it again: python embed.py --run {run}") from None


@dataclass(frozen=True)
class Sheet:
    """Thumbnails of the points of one or more clouds, as the page has them: a JPEG in a data URI."""

    uri: str
    side: int
    columns: int


def pack_clouds(clouds: Sequence[Cloud], titles: Sequence[str]) -> dict[str, Any]:
    """Clouds and their thumbnails, ready for JSON; those of the same images share one sheet of thumbnails."""
    sheets: dict[bytes, int] = {}
    tiles: list[np.ndarray] = []
    packed = []
    for cloud, title in zip(clouds, titles, strict=True):
        rows = limit_positions(cloud.labels, min(MAX_POINTS, len(cloud.labels)))
        key = cloud.images.encode() + cloud.samples[rows].tobytes()
        if key not in sheets and (own := cloud.tiles()) is not None:
            sheets[key] = len(tiles)
            tiles.append(own[rows])
        packed.append(_pack(cloud, rows, title) | {"sheet": sheets.get(key)})
    made = [vars(make_sheet(one, SHEET_BYTES // len(tiles))) for one in tiles]
    return {"clouds": packed, "sheets": made}


def _pack(cloud: Cloud, rows: np.ndarray, title: str) -> dict[str, Any]:
    # Outliers may lie outside: the others should fill the frame.
    scores = cloud.scores[rows]
    reach = float(np.quantile(np.abs(scores).max(axis=1), 0.998)) or 1.0
    steps = np.clip(np.round(scores / reach * (STEPS / 2)), -STEPS, STEPS)
    ratio = [round(value, 4) for value in cloud.about.get("explained_variance_ratio", [])[:3]]
    return {
        "title": title,
        "n": len(rows),
        "xyz": _base64(steps.astype("<i2")),
        "label": _base64(cloud.labels[rows].astype("<u2")),
        "predicted": _base64(cloud.predicted[rows].astype("<u2")),
        "confidence": _base64(np.round(100 * cloud.confidence[rows]).astype(np.uint8)),
        "ratio": ratio,
        "flat": not cloud.scores[:, 2].any(),
    }


def make_sheet(tiles: np.ndarray, most_bytes: int) -> Sheet:
    """Thumbnails (N, side, side, 3) in one JPEG, as large and good as so many bytes allow."""
    columns = math.ceil(math.sqrt(len(tiles)))
    height, width = tiles.shape[1:3]
    grid = np.zeros((columns**2, height, width, 3), np.uint8)
    grid[: len(tiles)] = tiles
    whole = grid.reshape(columns, columns, height, width, 3).swapaxes(1, 2).reshape(columns * height, -1, 3)
    forms = [form for form in SHEET_FORMS if form[0] <= height] or [(8, 60)]
    for side, quality in forms:
        buffer = io.BytesIO()
        # A box filter takes nothing from the thumbnail beside.
        image = Image.fromarray(whole).resize((columns * side, columns * side), Image.Resampling.BOX)
        image.save(buffer, "JPEG", quality=quality, subsampling=0)
        if len(buffer.getvalue()) <= most_bytes:
            break
    return Sheet(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", side, columns)


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(array.tobytes()).decode()
