"""Nested states as JSON and named tensors: what PyTorch keeps in state_dicts, without pickle.

Every bit survives: floats are written with the digits that identify them, tensors as they are.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor


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
