"""Checkpoints on disk: complete or absent, never half; the last ones and the best are kept."""

import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import load
from torch import Tensor

from alexnet_skip.system.files import file_digest, sync_folder, write_json
from alexnet_skip.system.tensors import flatten, rebuild, save_tensors

FORMAT_VERSION = 1
TENSORS, TREE, MARKER = "state.safetensors", "state.json", "complete.json"


class DamagedCheckpointError(ValueError):
    """A checkpoint is not what was written."""


class CheckpointStore:
    """The checkpoints of one run: folders ``step-00000120`` of a state as safetensors and JSON.

    A folder is written under another name, brought to the disk, renamed, and only then marked complete; the marker
    holds the digests of the other files. Nothing older is removed before that.

    Args:
        folder: where they lie; made when the first is saved.
        keep: how many of the newest to keep; the one with the best score is kept besides.
    """

    def __init__(self, folder: Path, keep: int) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, step: int, state: Any, score: Sequence[float] | None = None) -> Path:
        """Save a state (:func:`alexnet_skip.system.tensors.flatten`) as the checkpoint of a step, then remove old ones.

        Raises:
            OSError: if it can't be written; what was there before is left.
        """
        place = self.folder / f"step-{step:08d}"
        if place in self.complete() and not self._damage(place):
            return place  # saved before by a run that stopped at this very step
        temporary = self.folder / f"{place.name}.tmp"
        self.clear_unfinished()
        temporary.mkdir(parents=True)
        try:
            tree, tensors = flatten(state)
            save_tensors(temporary / TENSORS, tensors)
            write_json(temporary / TREE, tree)
            marker: dict[str, Any] = {"format_version": FORMAT_VERSION, "step": step, "score": score and list(score)}
            marker |= {name: file_digest(temporary / name) for name in (TENSORS, TREE)}
            sync_folder(temporary)
            shutil.rmtree(place, ignore_errors=True)
            temporary.rename(place)
            write_json(place / MARKER, marker)
            sync_folder(place)
            sync_folder(self.folder)
        except OSError:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
        self._remove_old()
        return place

    def complete(self) -> list[Path]:
        """Checkpoints that carry the marker, oldest first."""
        return sorted(path.parent for path in self.folder.glob(f"step-????????/{MARKER}"))

    def load(self, place: Path) -> Any:
        """Read a state back.

        Raises:
            DamagedCheckpointError: if any byte differs from what was written.
        """
        if reason := self._damage(place):
            raise DamagedCheckpointError(f"{place} is damaged ({reason})")
        tensors: dict[str, Tensor] = load((place / TENSORS).read_bytes())
        return rebuild(json.loads((place / TREE).read_text(encoding="utf-8")), tensors)

    def newest(self, report: Callable[[str], None]) -> tuple[Path, Any] | None:
        """The newest checkpoint that is whole, and its state; says of each newer one why it is not taken."""
        for path in sorted(self.folder.glob("step-*"), reverse=True):
            if path not in self.complete():
                report(f"{path} is incomplete (it was being written when the run was stopped): not used")
                continue
            try:
                return path, self.load(path)
            except DamagedCheckpointError as error:
                report(f"{error}: not used")
        return None

    def clear_unfinished(self) -> None:
        """Remove what interrupted attempts to save have left."""
        for path in self.folder.glob("step-*.tmp"):
            shutil.rmtree(path)

    def remove_all(self) -> None:
        """Remove every checkpoint."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _damage(self, place: Path) -> str | None:
        try:
            marker = json.loads((place / MARKER).read_text(encoding="utf-8"))
            if marker["format_version"] != FORMAT_VERSION or marker["step"] != int(place.name.removeprefix("step-")):
                return f"{MARKER} is of another version or step"
            wrong = [name for name in (TENSORS, TREE) if marker[name] != file_digest(place / name)]
            return f"{wrong[0]} does not fit its checksum" if wrong else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
            return f"{type(error).__name__}: {error}"

    def _remove_old(self) -> None:
        complete = self.complete()
        old = complete[: -self.keep]
        scores = {path: score for path in complete if (score := self._score(path)) is not None}
        # Of equal scores the newest: it is among the last ones more often than not.
        best = max(scores, key=lambda path: (scores[path], path.name), default=None)
        for path in old:
            if path != best:
                # The marker first: half a folder must not look whole.
                (path / MARKER).unlink()
                shutil.rmtree(path)

    def _score(self, place: Path) -> list[float] | None:
        try:
            score = json.loads((place / MARKER).read_text(encoding="utf-8"))["score"]
            return [float(value) for value in score] if score else None
        except (OSError, ValueError, KeyError, TypeError):
            return None
