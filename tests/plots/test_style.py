"""Figures are drawn as we draw them, whatever the letters and the user's settings, and are written whole."""

import warnings

import matplotlib as mpl
import numpy as np
import pytest
from PIL import Image

from alexnet_skip.plots.confusion import confusion_matrix_figure
from alexnet_skip.plots.style import save_figure, titled_figure

NAMES = ["cat", "dog", "ship"]
CONFUSION = np.array([[7, 0, 1], [2, 5, 1], [0, 0, 8]])


def test_dollar_signs_and_letters_without_a_font_are_no_error(tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = confusion_matrix_figure(CONFUSION, ["$x_", "a$\\frac$", "\U000f0000"], "$5 and $6_")
        save_figure(figure, tmp_path / "a.png")


def test_the_users_matplotlib_settings_neither_matter_nor_change():
    with mpl.rc_context({"font.size": 30, "text.color": "red", "axes.facecolor": "black"}):
        before = dict(mpl.rcParams)
        ours = confusion_matrix_figure(CONFUSION, NAMES, "t")
        assert dict(mpl.rcParams) == before
    assert ours.axes[0].get_facecolor() == (1, 1, 1, 1)
    assert ours.axes[0].title.get_fontsize() < 15


def test_a_figure_that_fails_to_draw_leaves_the_old_file_and_no_other(tmp_path, monkeypatch):
    path = tmp_path / "a.png"
    path.write_bytes(b"old")
    figure = titled_figure(4, 3, "t")

    def fail(file, **_):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save_figure(figure, path)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]


def test_the_users_matplotlib_settings_do_not_change_what_is_written(tmp_path):
    figure = confusion_matrix_figure(CONFUSION, NAMES, "t")
    save_figure(figure, tmp_path / "ours.png")
    with mpl.rc_context({"savefig.facecolor": "black", "savefig.transparent": True, "savefig.bbox": "tight"}):
        before = dict(mpl.rcParams)
        save_figure(figure, tmp_path / "theirs.png")
        assert dict(mpl.rcParams) == before
    with Image.open(tmp_path / "theirs.png") as theirs, Image.open(tmp_path / "ours.png") as ours:
        assert theirs.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)
        assert np.array_equal(theirs, ours)
