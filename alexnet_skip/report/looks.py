"""Where models look, as evaluate.py --explain has left it."""

import base64
import io
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from alexnet_skip.report.subject import Subject
from alexnet_skip.study.explain import STEM
from alexnet_skip.system.commands import shell_word
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import read_json

# Pixels of a picture's width, and its quality as a JPEG: what people still see in maps of 13×13.
WIDTH, QUALITY = 900, 80


@dataclass(frozen=True)
class Looks:
    """One picture: a data URI, and what each of its rows shows in words, for who cannot see it."""

    uri: str
    rows: list[str]


def find_looks(subject: Subject) -> list[Looks]:
    """The pictures of the models that the report is of, made of what they say now; others are left out."""
    if subject.last is None or len(subject.sides) < 2:
        return []
    known = {
        side.name: predictions[0].model
        for side, predictions in zip(subject.sides, subject.last.predictions, strict=True)
    }
    folder = subject.folder / "comparison" / f"{subject.split}-{subject.last.checkpoint_name}"
    return [looks for path in sorted(folder.glob(f"*-{STEM}.png")) if (looks := _read(path, known)) is not None]


def _read(path: Path, known: dict[str, str]) -> Looks | None:
    try:
        told = read_json(path.with_suffix(".json"))
        if any(known.get(name) != digest for name, digest in told["models_sha256"].items()):
            return None
        rows = []
        for image in told["images"]:
            said = ", ".join(f"{model['name']} {model['says']}" for model in image["models"])
            rows.append(f"{image['true']}: {said}")
        with Image.open(path) as picture:
            small = picture.convert("RGB")
        small.thumbnail((WIDTH, 100 * WIDTH))
    except (OSError, UserError, KeyError, TypeError, AttributeError):
        return None  # half there or not ours: the page is whole without
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=QUALITY)
    return Looks(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", rows)


def looks_wanted(subject: Subject) -> list[str]:
    """The command that makes such pictures."""
    of = (subject.study,) if subject.study is not None else [side.runs[0] for side in subject.sides[:2]]
    names = " ".join(shell_word(path.as_posix()) for path in of)
    return [f"python evaluate.py --explain 12 --compare {names}{subject.flags(subject.last)}"]
