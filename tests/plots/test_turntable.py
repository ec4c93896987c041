"""The animation turns once around, near points hide far ones, and the file is a GIF that browsers play."""

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from alexnet_skip.plots import turntable
from alexnet_skip.plots.embedding import class_colours, turn_background
from alexnet_skip.plots.turntable import half_view, save_turn, turning_cloud

SIDE = 200


def frames(scores, labels, classes=2, background=None, class_names=()):
    background = background or Figure(figsize=(2, 2), dpi=100)
    names, box = ("PC1", "PC2", "PC3"), (SIDE, SIDE)
    return turning_cloud(np.asarray(scores, float), labels, class_colours(classes), names, class_names, background, box)


def count(frame: Image.Image, colour: np.ndarray) -> int:
    return int((np.abs(np.array(frame.convert("RGB"), dtype=int) - 255 * colour[:3]).sum(axis=2) < 4).sum())


def test_a_near_point_hides_the_one_behind_it_and_is_hidden_half_a_turn_later(monkeypatch):
    monkeypatch.setattr(turntable, "ELEVATION_DEGREES", 0.0)
    monkeypatch.setattr(turntable, "DEPTH_STEPS", 1)
    monkeypatch.setattr(turntable, "MOST_WHITE", 0.0)
    monkeypatch.setattr(turntable, "_draw_axes", lambda *_: None)
    # Seen along the first axis, the first two are in one place; the others stand above and below.
    turn = frames([[5, 0, 0], [-5, 0, 0], [0, 0, 3], [0, 0, -3]], np.array([0, 1, 0, 1]))
    first, half = turn[0], turn[turntable.NUM_FRAMES // 2]
    (near, far), disc = class_colours(2), len(turntable._disc(3))
    assert (count(first, near), count(first, far)) == (2 * disc, disc)
    assert (count(half, near), count(half, far)) == (disc, 2 * disc)


def test_the_file_is_an_endless_gif_of_one_turn(tmp_path, rng):
    background = turn_background(["a", "b"], "title", 4.0)
    save_turn(frames(rng.standard_normal((50, 3)), np.arange(50) % 2, background=background), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.n_frames == turntable.NUM_FRAMES
        assert (gif.info["loop"], gif.info["duration"]) == (0, turntable.FRAME_MILLISECONDS)
        first = np.array(gif.convert("RGB"))
        gif.seek(turntable.NUM_FRAMES // 3)
        assert not np.array_equal(first, np.array(gif.convert("RGB")))
    assert [path.name for path in tmp_path.iterdir()] == ["a.gif"]


def test_more_classes_than_a_gif_has_colours_and_a_single_place_are_no_trouble(rng):
    labels = np.arange(600) % 300
    assert len(frames(rng.standard_normal((600, 3)), labels, classes=300)) == turntable.NUM_FRAMES
    assert len(frames(np.zeros((4, 3)), np.array([0, 1, 0, 1]))) == turntable.NUM_FRAMES


def test_the_frame_is_filled_at_every_angle_and_holds_nearly_all(rng):
    scores = rng.normal(size=(2000, 3)) * (5, 3, 1)
    half = half_view(scores)
    assert half[0] > half[1], "a flat cloud needs less height"
    reached = []
    for angle in np.linspace(0, 2 * np.pi, 12):
        seen = np.abs(scores @ turntable._rotation(angle).T)[:, :2]
        assert (seen <= half).all(axis=1).mean() > 0.93
        reached.append(np.quantile(seen / half, 0.99, axis=0))
    assert (np.max(reached, axis=0) > 0.8).all()


def test_class_means_stand_in_front_with_their_names(rng):
    labels = np.arange(400) % 2
    scores = rng.normal(size=(400, 3)) + np.where(labels, 5, -5)[:, None]
    plain, named = (frames(scores, labels, class_names=names)[0] for names in ((), ("cat", "고양이")))
    changed = np.asarray(plain.convert("RGB")) != np.asarray(named.convert("RGB"))
    # Two discs, and letters at their right.
    assert 150 < changed.any(axis=2).sum() < 4000
    assert count(named, class_colours(2)[0]) > len(turntable._disc(4))


def test_a_point_among_thousands_is_large_enough_to_be_seen(monkeypatch):
    monkeypatch.setattr(turntable, "MOST_WHITE", 0.0)
    monkeypatch.setattr(turntable, "_draw_axes", lambda *_: None)
    # One of ten thousand lies apart.
    scores = np.concatenate((np.zeros((9999, 3)), [[0, 0, 1e-10]]))
    assert count(frames(scores, np.arange(10_000) // 9999)[0], class_colours(2)[1]) >= 13
