"""An animated turn of a cloud of points, drawn pixel by pixel: a hundred times faster than a plot for each frame."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from alexnet_skip.plots.style import short_name, style
from alexnet_skip.system.files import replacing

NUM_FRAMES = 60
FRAME_MILLISECONDS = 80
ELEVATION_DEGREES = 20.0
# Far points are mixed with white in this many steps, up to this much of it: what lies behind looks pale.
DEPTH_STEPS, MOST_WHITE = 6, 0.65
# The part of all points that stays inside the frame at every angle.
INSIDE = 0.97
# Palette entries for the text around the cloud; the rest of 256 is for the classes.
TEXT_COLOURS = 32
GREY, WHITE = TEXT_COLOURS, TEXT_COLOURS + 1
FIRST_SHADE = WHITE + 1


def half_view(scores: np.ndarray) -> np.ndarray:
    """Half the width and height (2,) that a cloud (N, 3) takes in a full turn, but for its outermost points."""
    elevation, radius = np.deg2rad(ELEVATION_DEGREES), np.hypot(scores[:, 0], scores[:, 1])
    highest = np.abs(scores[:, 2]) * np.cos(elevation) + radius * np.sin(elevation)
    return np.maximum(np.quantile((radius, highest), INSIDE, axis=1), 1e-9)


def turning_cloud(
    scores: np.ndarray,
    labels: np.ndarray,
    colours: np.ndarray,
    axis_names: tuple[str, str, str],
    class_names: Sequence[str],
    background: Figure,
    box: tuple[int, int],
) -> list[Image.Image]:
    """Frames of one full turn about the third axis.

    Args:
        scores: coordinates (N, 3), shown at one scale.
        labels: class of each (N,).
        colours: of each class (C, 4), from 0 to 1.
        class_names: C names that are written at the classes' means; none for no means.
        background: what stands around the cloud, drawn once.
        box: pixels, width and height, at its lower left that the cloud fills.
    """
    canvas = FigureCanvasAgg(background)
    canvas.draw()
    # A GIF has 256 colours: of very many classes, neighbours share one.
    kinds = min(len(colours), 256 - FIRST_SHADE)
    steps = min(DEPTH_STEPS, (256 - FIRST_SHADE) // kinds)
    palette = Image.new("P", (1, 1))
    palette.putpalette(_palette(colours[np.arange(kinds) * len(colours) // kinds], steps))
    kind = labels * kinds // len(colours)
    around = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
    base = around.quantize(palette=palette, dither=Image.Dither.NONE)
    font = _font([*axis_names, *class_names])
    right, bottom = min(box[0], base.width), base.height
    top = max(0, bottom - box[1])
    centre = np.array([right / 2, (top + bottom) / 2])
    spread = np.quantile(np.linalg.norm(scores, axis=1), 0.99) or 1.0
    scale = float((np.array(box) / 2 / half_view(scores)).min())
    offsets = _disc(2 if len(scores) > 1000 else 3)
    present = np.unique(labels) if class_names else np.arange(0)
    means = np.array([scores[labels == label].mean(axis=0) for label in present]).reshape(-1, 3)
    frames = []
    for angle in np.arange(NUM_FRAMES) * (2 * np.pi / NUM_FRAMES):
        turn = _rotation(angle)
        pixels = np.array(base)
        seen = scores @ turn.T  # (N, 3): right, up, towards the eye
        order = np.argsort(seen[:, 2])
        depth = np.clip((seen[order, 2] / spread + 1) / 2 * steps, 0, steps - 1).astype(np.int64)
        place = np.rint(centre + seen[order, :2] * (scale, -scale)).astype(np.int64)
        # One long list of pixels from far to near: where several fall on one, the last stays.
        x, y = (place[:, None, :] + offsets).reshape(-1, 2).T
        inside = (x >= 0) & (x < right) & (y >= top) & (y < bottom)
        value = np.repeat(FIRST_SHADE + kind[order] * steps + depth, len(offsets))
        pixels[y[inside], x[inside]] = value[inside]
        frame = Image.frombytes("P", base.size, pixels.tobytes())
        frame.putpalette(palette.getpalette() or [])
        _draw_axes(frame, turn * min(0.8 * spread * scale, 0.45 * min(box)), centre, axis_names, font)
        for which in np.argsort(means @ turn[2]):
            x, y = centre + (turn @ means[which])[:2] * (scale, -scale)
            label = present[which]
            colour = FIRST_SHADE + int(label * kinds // len(colours)) * steps + steps - 1
            _draw_mean(frame, (x, y), colour, short_name(class_names[label]), font)
        frames.append(frame)
    return frames


def save_turn(frames: list[Image.Image], path: Path) -> None:
    """Write frames as an endless GIF, whole or not at all."""
    with replacing(path) as temporary:
        frames[0].save(
            temporary, format="GIF", save_all=True, append_images=frames[1:], duration=FRAME_MILLISECONDS, loop=0,
            optimize=False,
        )  # fmt: skip


def _font(texts: Sequence[str]) -> ImageFont.FreeTypeFont:
    """The first font of the figures that has all letters of these texts, or the first of all."""
    paths = [font_manager.findfont(family) for family in style()["font.family"]]
    wanted = {ord(letter) for text in texts for letter in text}
    whole = [path for path in paths if wanted <= set(font_manager.get_font(path).get_charmap())]
    return ImageFont.truetype((whole or paths)[0], 12)


def _rotation(azimuth: float) -> np.ndarray:
    """Rows: the directions right, up and towards the eye, of one who looks from the azimuth, a little from above."""
    elevation = np.deg2rad(ELEVATION_DEGREES)
    right = np.array([-np.sin(azimuth), np.cos(azimuth), 0])
    eye = np.array([np.cos(azimuth) * np.cos(elevation), np.sin(azimuth) * np.cos(elevation), np.sin(elevation)])
    return np.stack([right, np.cross(eye, right), eye])


def _disc(radius: int) -> np.ndarray:
    """Pixels (P, 2) of a disc about the origin."""
    grid = np.stack(np.meshgrid(*[np.arange(-radius, radius + 1)] * 2), axis=-1).reshape(-1, 2)
    return grid[(grid**2).sum(axis=1) <= radius**2 + 0.5]


def _palette(colours: np.ndarray, steps: int) -> list[int]:
    """256 colours: shades of grey for the text, grey, white, then each class from far, mixed with white, to near."""
    greys = np.linspace(0, 255, TEXT_COLOURS).astype(int).repeat(3).tolist()
    white = np.linspace(MOST_WHITE, 0, steps)[None, :, None]
    shades = colours[:, None, :3] * (1 - white) + white
    entries = [*greys, 70, 70, 70, 255, 255, 255, *(255 * shades + 0.5).astype(int).ravel().tolist()]
    return entries + [255] * (768 - len(entries))


def _draw_axes(
    frame: Image.Image, axes: np.ndarray, centre: np.ndarray, names: tuple[str, str, str], font: ImageFont.FreeTypeFont
) -> None:
    """The three axes (3, 3), columns in pixels right, up and towards the eye, with their names at the ends."""
    pen = ImageDraw.Draw(frame)
    for name, (right, up, _) in zip(names, axes.T, strict=True):
        x, y = centre[0] + right, centre[1] - up
        pen.line([tuple(centre), (x, y)], fill=GREY, width=1)
        pen.rectangle(pen.textbbox((x, y), name, font=font, anchor="mm"), fill=WHITE)
        pen.text((x, y), name, fill=GREY, font=font, anchor="mm")


def _draw_mean(
    frame: Image.Image, place: tuple[float, float], colour: int, name: str, font: ImageFont.FreeTypeFont
) -> None:
    """A class's mean as a ringed disc, its name beside it."""
    pen = ImageDraw.Draw(frame)
    x, y = place
    pen.ellipse((x - 7, y - 7, x + 7, y + 7), fill=WHITE, outline=GREY)
    pen.ellipse((x - 5, y - 5, x + 5, y + 5), fill=colour)
    pen.text((x + 10, y), name, fill=0, font=font, anchor="lm", stroke_width=2, stroke_fill=WHITE)
