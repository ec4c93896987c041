"""predictions.npz: what an evaluation keeps of every sample, so that figures and comparisons need no model."""

import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from alexnet_skip.runs.folders import ELSEWHERE, evaluation_folder, published_folder, published_name
from alexnet_skip.settings.records import read_model_config, read_run_config
from alexnet_skip.system.commands import command_line
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.files import file_digest, read_json, replacing

FILE_NAME = "predictions.npz"
# What reading raises where bytes are not what they should be: a zip's directory, its streams, an array's header.
DAMAGE = (
    OSError, EOFError, LookupError, TypeError, ValueError, AttributeError, RuntimeError, SyntaxError, MemoryError,
    OverflowError, zipfile.BadZipFile, zlib.error, struct.error,
)  # fmt: skip


@dataclass(frozen=True)
class Predictions:
    """Predictions of one model.

    Attributes:
        logits: float32 (N, num_classes).
        labels: true classes (N,).
        index: stable sample ids (N,): positions in the whole split as read, without files that were left out.
        digest: of the split that the samples come from.
        model: SHA-256 of the model's file, or of the list of its files; empty in predictions from before it was told.
        class_names: C names; none in predictions from before they were recorded.
        files: of the samples (N,) within the dataset's folder; none of other datasets, and from before.
    """

    logits: np.ndarray
    labels: np.ndarray
    index: np.ndarray
    digest: str
    model: str = ""
    class_names: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def predicted(self) -> np.ndarray:
        """Predicted classes (N,)."""
        return self.logits.argmax(axis=1)

    @property
    def correct(self) -> np.ndarray:
        """Whether each prediction is right, bool (N,)."""
        return self.predicted == self.labels

    def same_samples(self, other: "Predictions") -> bool:
        """Whether the other's rows are of the same samples of the same images, in the same order."""
        return (
            self.digest == other.digest
            and np.array_equal(self.index, other.index)
            and np.array_equal(self.labels, other.labels)
        )


def write_predictions(folder: Path, predictions: Predictions) -> None:
    """Write ``predictions.npz`` into a folder, whole or not at all; a metrics.json there is of others, and goes."""
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        logits=predictions.logits.astype(np.float32),
        labels=predictions.labels,
        index=predictions.index,
        digest=np.array(predictions.digest),
        model=np.array(predictions.model),
        class_names=np.array(predictions.class_names, dtype=str),
        files=np.array(predictions.files, dtype=str),
    )
    with replacing(folder / FILE_NAME) as temporary:
        temporary.write_bytes(buffer.getvalue())
        # Not before these have found their room, and not after: no figures stand beside predictions of others.
        (folder / "metrics.json").unlink(missing_ok=True)


def read_predictions(folder: Path) -> Predictions:
    """Read an evaluation folder's ``predictions.npz``.

    Raises:
        FileNotFoundError: if there is none; who asks knows the command that makes it.
        UserError: if the file is damaged.
    """
    path = folder / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(path)
    try:
        # Without pickle: a file that asks for it is refused, not run.
        with np.load(io.BytesIO(path.read_bytes()), allow_pickle=False) as file:
            model = str(file["model"]) if "model" in file else ""
            names = [tuple(file[n].tolist()) if n in file else () for n in ("class_names", "files")]
            read = Predictions(file["logits"], file["labels"], file["index"], str(file["digest"]), model, *names)
        fits = read.logits.ndim == 2 and len(read.logits) > 0 and np.isfinite(read.logits).all()
        fits = fits and read.labels.shape == read.index.shape == read.logits.shape[:1]
        fits = fits and len(read.files) in (0, len(read.labels))
        fits = fits and len(read.class_names) in (0, read.logits.shape[1])
        if not (fits and read.labels.min() >= 0 and read.labels.max() < read.logits.shape[1]):
            raise ValueError("its arrays do not fit each other")
    except DAMAGE as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{path} is damaged ({reason}); delete it and evaluate the run again") from None
    return read


def published_digest(run: Path, checkpoint_name: str) -> str:
    """SHA-256 of one of a run's published models: of its file, or of the list of its files.

    Raises:
        UserError: if the run does not have it, or its config is damaged.
        FileNotFoundError: if its config does not say and the file is gone.
    """
    folder = published_folder(run, checkpoint_name)
    return read_model_config(folder).model_sha256 or file_digest(folder / "model.safetensors")


def of_another_model(predictions: Predictions, where: Path, run: Path, checkpoint_name: str) -> bool:
    """Whether an evaluation's predictions are known to be another model's than the run has under that name now.

    Those that do not say whose they are count as this model's, unless the metrics.json beside them names another epoch:
    there is nothing else to tell by, and older runs are to be compared as before.
    """
    try:
        if predictions.model:
            return predictions.model != published_digest(run, checkpoint_name)
        told = read_json(where / "metrics.json").get("epoch")
        epoch = read_model_config(published_folder(run, checkpoint_name)).epoch
    except (OSError, UserError):
        return False  # a side is gone or damaged: nothing contradicts
    return None not in (told, epoch) and told != epoch


def kept_predictions(
    run: Path,
    split: str,
    checkpoint_name: str,
    *,
    tta: bool = False,
    dataset: str | None = None,
    wanted: Callable[[Predictions], bool] | None = None,
) -> tuple[Path, Predictions]:
    """The folder of an evaluation of a run's own images and its predictions.

    For test of a dataset that has none, val, which stood in for it; where that isn't known (older runs), not unasked.

    Args:
        dataset: of other images, as it is to be given to make them.
        wanted: tells the evaluation that is meant, on the run's own images or on others; the run's own without it.

    Raises:
        UserError: if there is none, it is damaged, or of another model than the run has now; says how to make it.
    """
    # Of other images only they themselves say which splits they have.
    stands_in = split == "test" and (wanted is not None or read_run_config(run).dataset.lacks_test)
    splits = ("test", "val") if stands_in else (split,)
    places = [evaluation_folder(run, split, checkpoint_name, tta=tta) for split in splits]
    if wanted is not None:
        places += [found for place in places for found in sorted(place.parent.glob(f"{place.name}{ELSEWHERE}*"))]
    found = ((place, read_predictions(place)) for place in places if (place / FILE_NAME).is_file())
    where, predictions = next((pair for pair in found if wanted is None or wanted(pair[1])), (None, None))
    more = (*(("--dataset", dataset) if dataset is not None else ()), *(("--tta",) if tta else ()))
    if where is None or predictions is None:
        raise UserError(no_predictions(run, split, checkpoint_name, *more))
    if of_another_model(predictions, where, run, checkpoint_name):
        raise UserError(another_model(run, where.name.partition("-")[0], checkpoint_name, *more))
    return where, predictions


def no_predictions(run: Path, split: str, checkpoint_name: str, *more: str) -> str:
    """What to tell who wants predictions that there are none of, which are made with ``more`` flags."""
    held_out = evaluation_folder(run, "val", checkpoint_name, tta="--tta" in more) / FILE_NAME
    instead = ", or ask for those on val (--split val, which it has)" if split == "test" and held_out.is_file() else ""
    return (
        f"{run} has no predictions of {published_name(checkpoint_name)} on {split}; make them first{instead}:"
        f"{command_making(run, split, checkpoint_name, *more)}"
    )


def another_model(run: Path, split: str, checkpoint_name: str, *more: str) -> str:
    """What to tell who wants such predictions, which are made with ``more`` flags."""
    name = published_name(checkpoint_name)
    return (
        f"{run}: the predictions of {name} on {split} are another model's than it has now; make them again:"
        f"{command_making(run, split, checkpoint_name, *more)}"
    )


def command_making(run: Path, split: str, checkpoint_name: str, *more: str) -> str:
    """The command that makes predictions, as the end of a message."""
    name = published_name(checkpoint_name)
    return command_line("python", "evaluate.py", "--run", run, "--split", split, "--checkpoint", name, *more)
