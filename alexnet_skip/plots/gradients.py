"""What convolutions do while they learn: the gradient that reaches each, by its way, and how far each has moved."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from alexnet_skip.plots.style import BLUE, SOFT_INK, VERMILION, styled, titled_figure

# Of each panel's lines: the end of a figure's name in metrics.jsonl, name in the legend, colour, kind of line, marker.
WAYS = (
    ("gradient_main", "through the last convolution", BLUE, "--", "o"),
    ("gradient_skip", "through the skip connection", VERMILION, "-", "s"),
)


@styled
def gradients_figure(history: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """A panel for each convolution with its gradient by the way that it came, and one of how far all have moved.

    Args:
        history: one mapping per epoch, as in metrics.jsonl: ``epoch``, and ``layer6_gradient_main``,
            ``layer6_gradient_skip``, ``layer6_moved`` and so on; epochs without any are left out.

    Raises:
        ValueError: if no epoch has any.
    """
    tuned = [entry for entry in history if any(name.startswith("layer") for name in entry)]
    if not tuned:
        raise ValueError("no epoch tells of convolutions that learn")
    layers = sorted({int(name[5:].partition("_")[0]) for name in tuned[0] if name.startswith("layer")})
    epochs = [entry["epoch"] for entry in tuned]
    figure = titled_figure(3.2 * (len(layers) + 1), 3.6, title)
    *panels, last = figure.subplots(1, len(layers) + 1)
    for layer, axes in zip(layers, panels, strict=True):
        for name, label, colour, line, marker in WAYS:
            if f"layer{layer}_{name}" in tuned[0]:
                values = [entry[f"layer{layer}_{name}"] for entry in tuned]
                axes.plot(epochs, values, line, color=colour, marker=marker, markersize=3.5, label=label)
        axes.set(title=f"layer {layer}: norm of its gradient", xlabel="epoch")
    panels[0].legend(loc="best")
    for layer, shade in zip(layers, ("-", "--", ":"), strict=False):
        moved = [entry[f"layer{layer}_moved"] for entry in tuned]
        last.plot(epochs, moved, shade, color=SOFT_INK, marker="o", markersize=3.5, label=f"layer {layer}")
    last.set(title="moved, as a part of its norm", xlabel="epoch")
    last.yaxis.set_major_formatter(PercentFormatter(1, decimals=1, symbol=" %"))
    last.legend(loc="best")
    for axes in (*panels, last):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_ylim(0, 1.05 * axes.get_ylim()[1])
        axes.grid()
    return figure
