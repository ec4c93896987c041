"""The picture of convolutions that learn: a panel for each, with the values of metrics.jsonl."""

import pytest

from alexnet_skip.plots.gradients import gradients_figure


def history(layers, skip=True) -> list[dict]:
    found: list[dict] = [{"epoch": 1, "train_loss": 2.0}]
    for epoch in (2, 3):
        entry: dict = {"epoch": epoch}
        for layer in layers:
            entry |= {f"layer{layer}_gradient_main": layer / epoch, f"layer{layer}_moved": epoch / 100}
            if skip and layer < 10:
                entry[f"layer{layer}_gradient_skip"] = 2 * layer / epoch
        found.append(entry)
    return found


@pytest.mark.parametrize("skip", [True, False])
@pytest.mark.parametrize("layers", [(10,), (8, 10), (6, 8, 10)])
def test_each_panel_shows_its_convolutions_figures(layers, skip):
    *panels, last = gradients_figure(history(layers, skip), "a run").axes
    assert len(panels) == len(layers)
    for layer, axes in zip(layers, panels, strict=True):
        assert axes.get_title(loc="left") == f"layer {layer}: norm of its gradient"
        lines = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
        assert lines["through the last convolution"] == [layer / 2, layer / 3]
        expected = [layer, 2 * layer / 3] if skip and layer < 10 else None
        assert lines.get("through the skip connection") == expected
    assert [list(line.get_ydata()) for line in last.lines] == [[0.02, 0.03]] * len(layers)


def test_a_run_without_a_second_stage_has_no_such_picture():
    with pytest.raises(ValueError, match="no epoch tells"):
        gradients_figure([{"epoch": 1, "train_loss": 2.0}], "a run")
