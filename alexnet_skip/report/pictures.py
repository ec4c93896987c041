"""The images that only one side gets right, as pictures within the page."""

import base64
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from alexnet_skip.images.dataset import Split
from alexnet_skip.report.findings import side_name
from alexnet_skip.report.space import Cloud
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.runs.opened import images_at, load_images_of, split_of
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.statistics.metrics import softmax
from alexnet_skip.system.console import Console, per_cent
from alexnet_skip.system.errors import UserError

# For each side of each pair.
MAX_PICTURES = 12
# Larger ones are made smaller; the page shows them at 64 px.
SIDE, QUALITY = 96, 85


@dataclass(frozen=True)
class Picture:
    """One image: a data URI (empty where the image isn't at hand), its true class, and what the other side took it for.

    Attributes:
        chances: of the true class by the side that is right, and of the other's choice, in per cent.
    """

    uri: str
    true: str
    taken_for: str
    chances: tuple[str, str]


@dataclass(frozen=True)
class OnlyOne:
    """Images that one side alone gets right, with every seed: how many, and the clearest of them."""

    name: str
    other: str
    count: int
    of: int
    pictures: list[Picture]

    @property
    def seen(self) -> bool:
        """Whether the images were at hand."""
        return all(picture.uri for picture in self.pictures)


class Images:
    """Images by row of predictions: the thumbnails that embed.py has left, or the run's own images."""

    def __init__(self, subject: Subject, clouds: Sequence[Cloud]) -> None:
        self._subject, self._clouds = subject, clouds
        self._known: dict[int, np.ndarray] | None = None

    def at(self, predictions: Predictions, rows: np.ndarray) -> list[np.ndarray | None]:
        """The images of rows; None for those that are not at hand."""
        if self._known is None:
            self._known = self._thumbnails(predictions)
        ids = predictions.index[rows].tolist()
        if any(sample not in self._known for sample in ids):
            split = _split_at_hand(self._subject, predictions)
            if split is not None:
                self._known |= dict(zip(ids, images_at(split, predictions, rows), strict=True))
        return [self._known.get(sample) for sample in ids]

    def _thumbnails(self, predictions: Predictions) -> dict[int, np.ndarray]:
        for cloud in self._clouds:
            if cloud.images == predictions.digest and (tiles := cloud.tiles()) is not None:
                return dict(zip(cloud.samples.tolist(), tiles, strict=True))
        return {}


def _split_at_hand(subject: Subject, predictions: Predictions) -> Split | None:
    """The run's own images that predictions are of, where they are on this machine: a report downloads nothing."""
    try:
        return split_of(predictions, load_images_of(subject.config, None, Console(quiet=True), read_only=True))
    except UserError:
        return None


def only_one_right(subject: Subject, clouds: Sequence[Cloud], text: Text) -> list[OnlyOne]:
    """For every side but the first: the images that it alone gets right, and those that the first alone does."""
    if len(subject.sides) < 2 or subject.last is None:
        return []
    images = Images(subject, clouds)
    means = [np.mean([softmax(one.logits) for one in side], axis=0) for side in subject.last.predictions]
    first, reference = subject.last.predictions[0][0], side_name(subject.sides[0], text)
    chosen = []
    for number, one in enumerate(subject.last.comparisons, start=1):
        name = side_name(subject.sides[number], text)
        chosen += [
            (name, reference, one.only_b, number, 0),
            (reference, name, one.only_a, 0, number),
        ]
    rows = [_clearest(first, all_rows, means[better], means[worse]) for _, _, all_rows, better, worse in chosen]
    pictures = dict(zip(np.concatenate(rows).tolist(), images.at(first, np.concatenate(rows)), strict=True))
    return [
        OnlyOne(
            name, other, len(all_rows), len(first.labels),
            [
                _picture(subject, row, means[better], means[worse], subject.last.predictions[worse], pictures[row])
                for row in of_side.tolist()
            ],
        )
        for (name, other, all_rows, better, worse), of_side in zip(chosen, rows, strict=True)
    ]  # fmt: skip


def _clearest(first: Predictions, rows: np.ndarray, better: np.ndarray, worse: np.ndarray) -> np.ndarray:
    """The rows whose true class gains most."""
    labels = first.labels[rows]
    gain = better[rows, labels] - worse[rows, labels]
    return rows[np.argsort(-gain, kind="stable")[:MAX_PICTURES]]


def _picture(
    subject: Subject,
    row: int,
    better: np.ndarray,
    worse: np.ndarray,
    wrong: Sequence[Predictions],
    image: np.ndarray | None,
) -> Picture:
    names, label = subject.class_names, int(wrong[0].labels[row])
    # What most seeds say; the mean of their chances could well be highest for the true class, which none of them says.
    said = Counter(int(one.logits[row].argmax()) for one in wrong).most_common(1)[0][0]
    chances = (per_cent(float(better[row, label]), 0), per_cent(float(worse[row, said]), 0))
    return Picture(as_uri(image) if image is not None else "", names[label], names[said], chances)


def as_uri(image: np.ndarray) -> str:
    """An image uint8 (H, W, 3) as a JPEG in a data URI, no larger than :data:`SIDE`."""
    picture = Image.fromarray(image)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
