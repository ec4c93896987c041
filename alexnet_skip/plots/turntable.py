"""An animated turn of a cloud of points, drawn pixel by pixel: a hundred times faster than a plot for each frame."""

import os
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont

from alexnet_skip.system.files import replacing

NUM_FRAMES = 60
FRAME_MILLISECONDS = 80
ELEVATION_DEGREES = 20.0
# Far points are mixed with white in this many steps, up to this much of it: what lies behind looks pale.
DEPTH_STEPS, MOST_WHITE = 6, 0.65
# Palette entries for the text around the cloud; the rest of 256 is for the classes.
TEXT_COLOURS = 32
GREY, WHITE = TEXT_COLOURS, TEXT_COLOURS + 1
FIRST_SHADE = WHITE + 1


def turning_cloud(
    scores: np.ndarray,
    labels: np.ndarray,
    colours: np.ndarray,
    axis_names: tuple[str, str, str],
    background: Figure,
    side: int,
) -> list[Image.Image]:
    """Frames of one full turn about the third axis.

    Args:
        scores: coordinates (N, 3), shown at one scale.
        labels: class of each (N,).
        colours: of each class (C, 4), from 0 to 1.
        background: what stands around the cloud, drawn once.
        side: pixels of the square at its lower left that the cloud fills.
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
    font = ImageFont.truetype(os.path.join(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf"), 11)
    right, bottom = min(side, base.width), base.height
    top = max(0, bottom - side)
    centre = np.array([right / 2, (top + bottom) / 2])
    # Outliers may touch the edge of the box: 99 of 100 points decide about the scale.
    spread = np.quantile(np.linalg.norm(scores, axis=1), 0.99) or 1.0
    scale = 0.5 * side / spread
    offsets = _disc(1 if len(scores) > 3000 else 2)
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
        _draw_axes(frame, turn * 0.8 * spread * scale, centre, axis_names, font)
        frames.append(frame)
    return frames


def save_turn(frames: list[Image.Image], path: Path) -> None:
    """Write frames as an endless GIF, whole or not at all."""
    with replacing(path) as temporary:
        frames[0].save(
            temporary, format="GIF", save_all=True, append_images=frames[1:], duration=FRAME_MILLISECONDS, loop=0,
            optimize=False,
        )  # fmt: skip


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
