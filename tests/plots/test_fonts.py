"""Letters in class names that no font has are known before a picture shows boxes."""

import pytest
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

from alexnet_skip.images.loading import MAX_LETTERS, tell_missing_fonts
from alexnet_skip.plots import style
from alexnet_skip.plots.style import missing_letters
from alexnet_skip.system.console import Console

# A letter that DejaVu Sans lacks and another font of matplotlib's own has, standing in for a Korean one.
OTHER_FONT = font_manager.findfont("STIXGeneral")


@pytest.fixture
def letter():
    dejavu = FT2Font(font_manager.findfont("DejaVu Sans")).get_charmap()
    return chr(max(set(FT2Font(OTHER_FONT).get_charmap()) - set(dejavu)))


@pytest.fixture
def only_dejavu(monkeypatch):
    """A system whose list of fonts, as matplotlib keeps it, has nothing but DejaVu Sans."""
    manager = font_manager.FontManager.__new__(font_manager.FontManager)
    manager.__dict__ = dict(font_manager.fontManager.__dict__)
    manager.ttflist = [font for font in font_manager.fontManager.ttflist if font.name == "DejaVu Sans"]
    monkeypatch.setattr(font_manager, "fontManager", manager)
    monkeypatch.setattr(font_manager, "findfont", manager.findfont)
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [])
    monkeypatch.setattr(style, "EAST_ASIAN_FONTS", ("STIXGeneral",))
    style.style.cache_clear()
    yield manager
    style.style.cache_clear()


def test_letters_that_no_font_has_are_found_each_once(only_dejavu):
    assert missing_letters(["cat", "고양이", "고래", "é ñ ≠", "hot dog"]) == "고래양이"


def test_a_font_installed_after_the_list_was_made_is_used(only_dejavu, monkeypatch, letter):
    assert missing_letters([letter]) == letter
    monkeypatch.setattr(font_manager, "findSystemFonts", lambda: [OTHER_FONT, "/no/such/font.ttf"])
    assert missing_letters([letter]) == ""
    assert style.style()["font.family"] == ["DejaVu Sans", "STIXGeneral"]


def test_one_line_says_which_font_to_install(only_dejavu, capsys):
    tell_missing_fonts(["cat"], Console())
    assert capsys.readouterr().err == ""
    tell_missing_fonts(["고양이", "가나다라마바사아자차카타파하"], Console())
    (line,) = capsys.readouterr().err.splitlines()
    assert "fonts-noto-cjk" in line
    assert len([letter for letter in line if "가" <= letter <= "힣"]) == MAX_LETTERS
