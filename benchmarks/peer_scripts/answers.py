"""How a peer's script is started, and what it says on stdout: a line when its model is there, one when that is judged.

Nothing but torchvision and what the peer itself needs is imported here: fastai's Python has no more.
"""

import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from torchvision import transforms

MODEL_IS_THERE = "the model is there"
NUM_WORKERS = 2
IMAGE_SIZE = 224
# An image is enlarged whole, as alexnet_skip enlarges it; the figures are torchvision's for IMAGENET1K_V1.
WHOLE_IMAGE = transforms.Compose([transforms.Resize((IMAGE_SIZE, IMAGE_SIZE)), transforms.ToTensor()])
NORMALIZE = transforms.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))

Model = TypeVar("Model")


def answer(
    argv: Sequence[str] | None,
    train: Callable[[Path, int], Model],
    top1: Callable[[Model, Path], float],
    *,
    epochs: int,
    packages: Sequence[str],
) -> int:
    """Train on IMAGES/train, judge on IMAGES/test, and say so.

    Args:
        argv: IMAGES, and other epochs than the peer's own if there are to be fewer.
        train: returns the model; the epochs are those in which everything learns that learns at all.
        top1: fraction of the images of a folder ``<class>/*`` that the model gets right.
        packages: those whose versions are told.
    """
    images, *fewer = sys.argv[1:] if argv is None else argv
    settings: dict[str, Any] = {"epochs": int(fewer[0]) if fewer else epochs}
    with contextlib.redirect_stdout(sys.stderr):
        model = train(Path(images) / "train", settings["epochs"])
    print(MODEL_IS_THERE, flush=True)
    with contextlib.redirect_stdout(sys.stderr):
        settings["top1"] = top1(model, Path(images) / "test")
    print(json.dumps(settings | {"versions": {name: version(name) for name in packages}}), flush=True)
    return 0
