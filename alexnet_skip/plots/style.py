"""The one style of all figures: dark on light, safe for colour-blind eyes, and nothing left in matplotlib's state."""

import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any, ParamSpec

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.backend_bases import RendererBase
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from alexnet_skip.system.files import replacing

INK, SOFT_INK, GRID = "#222222", "#666666", "#e4e4e4"
# Blue and vermilion of Okabe and Ito's palette (2008), told apart with any kind of colour vision.
BLUE, VERMILION = "#0072B2", "#D55E00"
SHARES = mpl.colormaps["Blues"]

WORSE_BETTER = LinearSegmentedColormap.from_list("worse_better", (VERMILION, "white", BLUE))

TITLE_SIZE, SMALL_SIZE = 12.0, 8.5
# Class names may be in any script; matplotlib's own font has no Korean, Chinese or Japanese.
EAST_ASIAN_FONTS = (
    "Malgun Gothic", "Apple SD Gothic Neo", "Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "NanumBarunGothic",
    "NanumSquare", "UnDotum", "Noto Sans CJK JP", "Microsoft YaHei",
)  # fmt: skip

# A folder's name may have 255 letters, and is a class's.
MAX_NAME_LETTERS = 40

# Four times 4,000² bytes are drawn in 64 MB.
MAX_SIDE_PX = 4000

P = ParamSpec("P")


def missing_letters(names: Iterable[str]) -> str:
    """Letters of names, each once, that no font of the figures has; pictures show boxes for them.

    Fonts installed since matplotlib made its list are looked for first.
    """
    wanted = "".join(sorted({letter for name in names for letter in name if letter.isprintable()}))
    missing = _without_font(wanted)
    if missing:
        _list_new_fonts()
        missing = _without_font(missing)
    return missing


def _without_font(letters: str) -> str:
    for family in style()["font.family"]:
        if letters:
            font = font_manager.get_font(font_manager.findfont(family))
            letters = "".join(letter for letter in letters if not font.get_char_index(ord(letter)))
    return letters


def _list_new_fonts() -> None:
    """Add to matplotlib's list of fonts, which it keeps from run to run, those installed since."""
    known = {font.fname for font in font_manager.fontManager.ttflist}
    for path in sorted(set(font_manager.findSystemFonts()) - known):
        with suppress(Exception):  # whatever a font file may be that matplotlib can't read
            font_manager.fontManager.addfont(path)
    style.cache_clear()


@lru_cache(maxsize=1)
def style() -> dict[str, Any]:
    """Matplotlib settings of every figure, with those fonts for other scripts that are installed."""
    installed = {font.name for font in font_manager.fontManager.ttflist}
    return {
        "font.family": ["DejaVu Sans", *(name for name in EAST_ASIAN_FONTS if name in installed)],
        "font.size": 10.0,
        "axes.titlesize": 10.0,
        "axes.titlelocation": "left",
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.titlecolor": SOFT_INK,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.edgecolor": "#aaaaaa",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "legend.frameon": False,
        # A dollar sign in the name of a class or folder is no formula.
        "text.parse_math": False,
    }


@contextmanager
def in_style() -> Iterator[None]:
    """The style, whatever the user's own matplotlib settings are; those are back afterwards."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(style())  # type: ignore[arg-type, unused-ignore]
        yield


def styled(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Give a function that draws a figure the style."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> Figure:
        with in_style():
            return draw(*args, **kwargs)

    return wrapper


def minus(numbers: str) -> str:
    """Numbers with the minus sign of matplotlib's own ticks."""
    return numbers.replace("-", "−")


def short_name(name: str) -> str:
    """A class's name, its middle left out where it would take the picture from what it names."""
    return (
        name
        if len(name) <= MAX_NAME_LETTERS
        else f"{name[: MAX_NAME_LETTERS // 2 - 1]}…{name[-MAX_NAME_LETTERS // 2 :]}"
    )


class QuietFigure(Figure):
    """A figure that draws boxes for letters that no installed font has, without a warning for each of them."""

    def draw(self, renderer: RendererBase) -> None:
        """Draw the figure; part of matplotlib's interface."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing from")
            super().draw(renderer)


def titled_figure(width: float, height: float, title: str) -> Figure:
    """A figure of the given inches with its title at the top left, wrapped to the width."""
    figure = QuietFigure(figsize=(width, height), layout=ConstrainedLayoutEngine(h_pad=0.1, w_pad=0.1))
    # A bold letter is 0.7 of its size wide on average.
    letters = max(20, int((width - 0.3) * 72 / (0.7 * TITLE_SIZE)))
    wrapped = "\n".join(textwrap.wrap(title, letters, break_on_hyphens=False))
    figure.suptitle(wrapped, x=0.15 / width, ha="left", fontsize=TITLE_SIZE, fontweight="bold")
    return figure


def save_figure(figure: Figure, path: Path, dpi: int = 130) -> None:
    """Write a figure as PNG, whole or not at all; 130 dots per inch fill README's width with 7 inches.

    No side gets longer than :data:`MAX_SIDE_PX`, whatever the figure's size.
    """
    dpi = min(dpi, int(MAX_SIDE_PX / max(figure.get_size_inches())))
    # Much of a figure is decided only where it is written: its background, transparency and margins, and its letters.
    with replacing(path) as temporary, in_style():
        figure.savefig(temporary, format="png", dpi=dpi)
