"""Tensors moved and kept: to a device, whose room is known, into files written whole; nested states without pickle."""

import errno
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from alexnet_skip.system.files import replacing, sync_file


def flatten(value: Any) -> tuple[Any, dict[str, Tensor]]:
    """Take a state apart.

    Args:
        value: dicts (keys are text or whole numbers), lists, tuples, tensors, arrays, numbers, text and None, nested.

    Returns:
        A JSON-ready tree that names the tensors, and the tensors, on the CPU and contiguous.

    Raises:
        TypeError: for anything else; it could only be pickled.
    """
    tensors: dict[str, Tensor] = {}

    def take(value: Any) -> Any:
        if value is None or isinstance(value, bool | int | str):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else {"float": repr(value)}
        if isinstance(value, Tensor | np.ndarray):
            kind, name = "tensor" if isinstance(value, Tensor) else "array", str(len(tensors))
            tensor = (
                value.detach().cpu() if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
            )
            # Cloned: safetensors refuses two names for one piece of memory.
            tensors[name] = tensor.clone(memory_format=torch.contiguous_format)
            return {kind: name}
        if isinstance(value, Mapping):
            if not all(isinstance(key, str | int) and not isinstance(key, bool) for key in value):
                raise TypeError(f"keys must be text or whole numbers, found {list(value)[:3]}")
            return {"dict": [[key, take(item)] for key, item in value.items()]}
        if isinstance(value, list | tuple):
            return {"list" if isinstance(value, list) else "tuple": [take(item) for item in value]}
        raise TypeError(f"a state holds a {type(value).__name__}, which has no form without pickle")

    return take(value), tensors


def rebuild(tree: Any, tensors: Mapping[str, Tensor]) -> Any:
    """Undo :func:`flatten`.

    Raises:
        ValueError: if the tree is not one that :func:`flatten` makes, or a tensor is missing.
    """
    if not isinstance(tree, dict):
        return tree
    try:
        ((kind, content),) = tree.items()
        if kind == "float":
            return float(content)
        if kind in ("tensor", "array"):
            return tensors[content] if kind == "tensor" else tensors[content].numpy()
        if kind == "dict":
            return {key: rebuild(item, tensors) for key, item in content}
        if kind in ("list", "tuple"):
            items = [rebuild(item, tensors) for item in content]
            return items if kind == "list" else tuple(items)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"this is no flattened state: {error}") from None
    raise ValueError(f"this is no flattened state: it holds {kind!r}")


def save_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Replace a safetensors file atomically.

    Raises:
        OSError: if it can't be written (safetensors has an error of its own for that); what was there is left.
    """
    try:
        with replacing(path) as temporary:
            save_file(tensors, str(temporary), metadata={"format": "pt"})
            sync_file(temporary)
    except SafetensorError as error:
        told = re.search(r"([^:]+) \(os error (\d+)\)", str(error))
        words, code = (told[1].strip(), int(told[2])) if told else (os.strerror(errno.EIO), errno.EIO)
        # The number is the system's own. Windows has others than errno, which Python takes from the fourth argument
        # there, and nowhere else.
        raise OSError(code, words, str(path), code if told else None) from None


def to_device(values: np.ndarray, device: torch.device) -> Tensor:
    """The array's values as a tensor on the device.

    To a GPU through pinned memory: a copy from ordinary memory makes the host wait for all that was queued before it.
    """
    tensor = torch.from_numpy(values)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def free_device_bytes(device: torch.device) -> int:
    """Memory that this process can still have on a GPU: what is free there, and what torch keeps without using it.

    0 on a CPU, where what is in memory need not be brought anywhere.
    """
    if device.type != "cuda":
        return 0
    free, _ = torch.cuda.mem_get_info(device)
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
