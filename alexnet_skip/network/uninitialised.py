"""Modules whose values are not initialised, since others are loaded into them at once."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.overrides import TorchFunctionMode


class Uninitialised(TorchFunctionMode):
    """Within it, layers that are made keep their memory as it comes: ``torch.nn.init`` draws and fills nothing.

    Not by way of the meta device: where one of its tensors is first drawn, torch imports all of its symbolic shapes and
    SymPy with them, which takes longer than loading a model (measured).
    """

    def __torch_function__(
        self, func: Callable[..., Any], types: Sequence[type], args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # fmt: skip
        """Call what torch was asked for, unless it would give a tensor its first values."""
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"]
        return func(*args, **kwargs)
