"""Letters of pictures: matplotlib's own font, the same on every machine, and for letters that it lacks an
installed font that has them.
"""

from functools import cache, lru_cache
from itertools import groupby
from pathlib import Path

import matplotlib
from PIL import ImageDraw, ImageFont

Color = tuple[int, int, int]
FAMILY = "DejaVu Sans"
NO_LETTERS = "Last Resort"  # fonts of this name have a box for every letter


def write(
    draw: ImageDraw.ImageDraw,
    place: tuple[float, float],
    text: str,
    color: Color,
    size: int = 13,
    bold: bool = False,
    anchor: str = "la",
) -> None:
    """Draws a text.

    Args:
        anchor: What of the text lies at the place, in Pillow's two letters: left, middle or right; ascender
            or middle.
    """
    x, y = place
    across, down = anchor[0], anchor[1]
    x -= text_width(text, size, bold) * {"l": 0.0, "m": 0.5, "r": 1.0}[across]
    if down == "a":  # all fonts on the line of the first one
        y, down = y + _font(_bundled(bold), size).getmetrics()[0], "s"
    for file, part in _parts(text, bold):
        used = _font(file or _bundled(bold), size)
        draw.text((x, y), part, color, used, anchor=f"l{down}")
        x += used.getlength(part)


def text_width(text: str, size: int = 13, bold: bool = False) -> float:
    """In pixels."""
    parts = _parts(text, bold)
    return sum(_font(file or _bundled(bold), size).getlength(part) for file, part in parts)


def drawable(text: str) -> bool:
    """Whether some installed font has every letter."""
    return all(file for file, _ in _parts(text, bold=False))


def families(text: str) -> list[str]:
    """Names of the fonts that a text needs, as matplotlib takes them."""
    from matplotlib import font_manager

    files = dict.fromkeys(file for file, _ in _parts(text, bold=False) if file)
    found = [font_manager.get_font(file).family_name for file in files]
    return list(dict.fromkeys([FAMILY, *found]))


@lru_cache(maxsize=10_000)
def _parts(text: str, bold: bool) -> list[tuple[str | None, str]]:
    """The text in parts, each with the file of a font that has its letters; None where none has."""
    from matplotlib import font_manager

    own = font_manager.get_font(_bundled(bold))
    is_own = [letter.isspace() or bool(own.get_char_index(ord(letter))) for letter in text]
    found: list[tuple[str | None, str]] = []
    for known, letters in groupby(zip(is_own, text, strict=True), key=lambda one: one[0]):
        part = "".join(letter for _, letter in letters)
        found.append((_bundled(bold) if known else _file_with(part), part))
    return found


@lru_cache(maxsize=1_000)
def _file_with(letters: str) -> str | None:
    """The first installed font that has these letters and that Pillow can draw with."""
    from matplotlib import font_manager

    for file in _installed():
        try:
            face = font_manager.get_font(file)
            if all(face.get_char_index(ord(letter)) for letter in letters):
                _font(file, 13)
                return file
        except (OSError, RuntimeError):  # a font of pictures, or of a format that is not read
            continue
    return None


@cache
def _installed() -> list[str]:
    """Files of upright fonts, regular ones first, those of one width and with serifs last."""
    from matplotlib import font_manager

    fonts = [font for font in font_manager.fontManager.ttflist if font.style == "normal"]
    fonts = [font for font in fonts if NO_LETTERS not in font.name]

    def order(font: "font_manager.FontEntry") -> tuple[bool, bool, bool, str, str]:
        name = font.name.lower()
        return str(font.weight) not in ("400", "normal"), "mono" in name, "serif" in name, name, font.fname

    return list(dict.fromkeys(font.fname for font in sorted(fonts, key=order)))


@cache
def _font(file: str, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(file, size)


@cache
def _bundled(bold: bool) -> str:
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name)
