"""All processes of a launch have the same in hand, or none of them begins."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar, cast

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list, gather_object

from alexnet_skip.images.dataset import Dataset
from alexnet_skip.settings.command_line import flat, to_dict
from alexnet_skip.system.errors import UserError
from alexnet_skip.system.versions import code_digest, package_versions

Result = TypeVar("Result")

# What processes on several machines may have under another name, or show differently; what lies there must be the same.
MAY_DIFFER = frozenset((
    "dataset", "data_dir", "data_archive", "data_url", "weights", "cache_dir", "runs_dir", "quiet", "json", "resume",
    "run", "compare", "verify_images",
))  # fmt: skip

# Of a long value, such as the names of a thousand classes, the error shows so many characters around the difference.
SHOWN = 60


def in_common(settings: Any, dataset: Dataset) -> dict[str, Any]:
    """What the result of any command depends on, by the names that users know: images, settings and versions."""
    options = {name: value for name, value in flat(to_dict(settings)).items() if name not in MAY_DIFFER}
    # torch's own version says which build it is, for CPUs or for which CUDA.
    versions = package_versions() | {"torch": torch.__version__}
    return {
        "the classes": list(dataset.class_names),
        **{f"the number of {n} images": len(split.labels) for n, split in dataset.splits.items()},
        **{f"the {n} images (SHA-256)": split.digest for n, split in dataset.splits.items()},
        **{f"--{name.replace('_', '-')}": value for name, value in options.items()},
        **{f"the version of {name}": found for name, found in versions.items()},
        "the code of alexnet_skip (SHA-256)": code_digest(),
    }


def require_agreement(accelerator: Accelerator, describe: Callable[[], Mapping[str, Any]]) -> None:
    """Compare what decides the result between all processes; every process calls this, and each raises the same.

    Args:
        describe: returns JSON-ready values by the name that a user knows them by; called where there are several.

    Raises:
        UserError: naming the first entry that differs, and which process has which value.
    """
    if accelerator.num_processes > 1 and (told := find_difference(gather_object([dict(describe())]))):
        raise UserError(f"{told}; give every process the same images, weights, settings and versions")


def on_main_process(accelerator: Accelerator, work: Callable[[], Result]) -> Result:
    """What the main process finds or does, whose disk has what is published, told to all; every process calls this.

    Raises:
        UserError: on every process alike, if the main one refuses.
    """
    found: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            found = [work(), None]
        except UserError as error:
            found = [None, str(error)]
    result, refused = broadcast_object_list(found)
    if refused is not None:
        raise UserError(refused)
    return cast(Result, result)


def find_difference(records: Sequence[Mapping[str, Any]]) -> str | None:
    """The first entry in which the processes' records differ, in words, or None; an entry may be missing."""
    for name in dict.fromkeys(name for record in records for name in record):
        values = [json.dumps(record.get(name), sort_keys=True, ensure_ascii=False) for record in records]
        if len(set(values)) > 1:
            start = max(0, _first_difference(values) - SHOWN // 2)
            shown = {value: _excerpt(value, start) for value in values}
            ranks = {v: ", ".join(str(rank) for rank, other in enumerate(values) if other == v) for v in shown}
            told = "; ".join(f"process {ranks[value]} has {shown[value]}" for value in shown)
            return f"the processes differ in {name}: {told}"
    return None


def _first_difference(values: Sequence[str]) -> int:
    lengths = zip(*values, strict=False)
    return next((i for i, letters in enumerate(lengths) if len(set(letters)) > 1), min(len(value) for value in values))


def _excerpt(value: str, start: int) -> str:
    end = start + SHOWN
    return f"{'…' if start else ''}{value[start:end]}{'…' if end < len(value) else ''}"
