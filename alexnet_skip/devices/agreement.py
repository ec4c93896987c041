"""All processes of a launch have the same in hand, or none of them begins."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object

from alexnet_skip.system.errors import UserError

# Of a long value, such as the names of a thousand classes, the error shows so many characters around the difference.
SHOWN = 60


def require_agreement(accelerator: Accelerator, record: Mapping[str, Any]) -> None:
    """Compare what decides the result between all processes; every process calls this, and each raises the same.

    Args:
        record: JSON-ready values by the name that a user knows them by.

    Raises:
        UserError: naming the first entry that differs, and which process has which value.
    """
    if accelerator.num_processes > 1 and (told := find_difference(gather_object([dict(record)]))):
        raise UserError(f"{told}; give every process the same images, weights, settings and versions")


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
