"""The network that the page draws: which of its layers are trained, and the lines of code that are the skip."""

import inspect
import textwrap

from alexnet_skip.network.head import SkipConnection
from alexnet_skip.network.layers import upper_layers
from alexnet_skip.report.names import side_name
from alexnet_skip.report.subject import Subject
from alexnet_skip.report.text import Text

# The lines of the backbone's second half that tap it: from the fourth convolution to what is kept of it.
TAPPED = ('x = layers["8"]', "tap =")


def finetuned(subject: Subject) -> int:
    """How many of the last convolutions are drawn as trained: as many as in any of the runs."""
    return max(side.config.settings.finetuning.finetune for side in subject.sides)


def trained_layers(subject: Subject, text: Text) -> list[str]:
    """Which layers are trained, in words: of all runs, or of each group that has its own."""
    groups: dict[int, list[str]] = {}
    for side in subject.sides:
        groups.setdefault(side.config.settings.finetuning.finetune, []).append(side_name(side, text))
    if len(groups) == 1:
        return [_trained(count, text) for count in groups]
    told = [f"{', '.join(names)}: {_trained(count, text)}" for count, names in groups.items()]
    return [*told, text("network.drawn", names=", ".join(groups[finetuned(subject)]))]


def _trained(count: int, text: Text) -> str:
    layers = "5" if count == 1 else f"{6 - count}–5"
    return text("network.finetuned", layers=layers) if count else text("network.frozen")


def skip_code() -> list[tuple[str, str]]:
    """The lines that are the skip, by the place they stand in: where it taps the network, and where it joins."""
    lines = [line.strip() for line in inspect.getsource(upper_layers).splitlines()]
    first, last = (next(n for n, line in enumerate(lines) if line.startswith(start)) for start in TAPPED)
    return [
        ("alexnet_skip/network/layers.py", "\n".join(lines[first : last + 1])),
        ("alexnet_skip/network/head.py", textwrap.dedent(inspect.getsource(SkipConnection.forward))),
    ]
