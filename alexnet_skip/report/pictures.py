"""The images that only one side gets right, as pictures within the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from alexnet_skip.images.dataset import Split
from alexnet_skip.report.names import side_name
from alexnet_skip.report.space import Cloud
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text
from alexnet_skip.runs.own_images import images_at, load_images_of, split_of
from alexnet_skip.runs.predictions import Predictions
from alexnet_skip.study.only_one import Contested, clearest
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
    images, first = Images(subject, clouds), subject.last.predictions[0][0]
    told = [
        side.probabilities(of_side, subject.last.checkpoint_name)
        for side, of_side in zip(subject.sides, subject.last.predictions, strict=True)
    ]
    names = [side_name(side, text) for side in subject.sides]
    pairs = []
    for number, one in enumerate(subject.last.comparisons, start=1):
        pairs += [(number, 0, one.only_b), (0, number, one.only_a)]
    chosen = [clearest(rows, first.labels, told[right], told[wrong], MAX_PICTURES) for right, wrong, rows in pairs]
    rows = np.array([one.row for of_pair in chosen for one in of_pair], int)
    pictures = dict(zip(rows.tolist(), images.at(first, rows), strict=True))
    return [
        OnlyOne(
            names[right], names[wrong], len(all_rows), len(first.labels),
            [_picture(one, subject.class_names, pictures[one.row]) for one in of_pair],
        )
        for (right, wrong, all_rows), of_pair in zip(pairs, chosen, strict=True)
    ]  # fmt: skip


def _picture(one: Contested, names: Sequence[str], image: np.ndarray | None) -> Picture:
    chances = (per_cent(one.chance, 0), per_cent(one.other_chance, 0))
    return Picture(as_uri(image) if image is not None else "", names[one.label], names[one.taken_for], chances)


def as_uri(image: np.ndarray) -> str:
    """An image uint8 (H, W, 3) as a JPEG in a data URI, no larger than :data:`SIDE`."""
    picture = Image.fromarray(image)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
