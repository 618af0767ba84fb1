"""Names in scripts that the bundled font lacks: drawn with an installed font that has them."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib import font_manager
from PIL import Image, ImageDraw

from lightning_cam.visualization import letters
from lightning_cam.visualization.canvas import fit_text
from lightning_cam.visualization.explained import written_class
from lightning_cam.visualization.letters import drawable, families, text_width, write

BOX = "\U0002fa20"  # no character has this number, and so no font
UNKNOWN = "\U0002fa21"


def forget() -> None:
    for found in (letters._installed, letters._file_with, letters._parts):
        found.cache_clear()


@pytest.fixture
def boxes(tmp_path: Path) -> Iterator[Path]:
    """A font with one letter, a black box, among the installed ones."""
    pen = TTGlyphPen(None)
    for move, at in (
        ("moveTo", (100, 0)),
        ("lineTo", (100, 700)),
        ("lineTo", (900, 700)),
        ("lineTo", (900, 0)),
    ):
        getattr(pen, move)(at)
    pen.closePath()
    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder([".notdef", "box"])
    made.setupCharacterMap({ord(BOX): "box"})
    made.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "box": pen.glyph()})
    made.setupHorizontalMetrics({".notdef": (1000, 0), "box": (1000, 100)})
    made.setupHorizontalHeader(ascent=800, descent=-200)
    made.setupNameTable({"familyName": "Boxes of a test", "styleName": "Regular"})
    made.setupOS2()
    made.setupPost()
    path = tmp_path / "boxes.ttf"
    made.save(path)
    before = list(font_manager.fontManager.ttflist)
    font_manager.fontManager.addfont(str(path))
    forget()
    yield path
    font_manager.fontManager.ttflist[:] = before
    forget()


def drawn(text: str, **how: object) -> np.ndarray:
    picture = Image.new("RGB", (200, 40), "white")
    write(ImageDraw.Draw(picture), (10, 5), text, (0, 0, 0), 20, **how)
    return np.asarray(picture)[..., 0]


def test_without_such_a_font_a_letter_is_not_drawable() -> None:
    assert not drawable(BOX)
    assert drawable("Größe кошка γάτα ← …")
    assert drawable("")
    assert drawable(" \n\t")
    assert families("cat") == ["DejaVu Sans"]
    assert written_class(["cat", BOX], 1) == "class 1"


def test_an_installed_font_is_taken_for_what_the_bundled_one_lacks(boxes: Path) -> None:
    assert drawable(f"cat {BOX}")
    assert not drawable(f"{BOX}{UNKNOWN}")
    assert families(f"cat {BOX}") == ["DejaVu Sans", "Boxes of a test"]
    assert written_class(["cat", BOX], 1) == BOX
    box = drawn(BOX)
    rows, columns = (np.nonzero((box < 128).any(axis=axis))[0] for axis in (1, 0))
    assert (columns[0], columns[-1]) == (12, 27), "16 of 20 pixels wide, 2 from the left"
    assert len(rows) == 14
    assert (box[rows[0] : rows[-1] + 1, 12:28] < 128).all()


def test_both_fonts_stand_on_one_line_and_one_after_the_other(boxes: Path) -> None:
    mixed, alone = drawn(f"H{BOX}H"), drawn("H")
    assert text_width(f"H{BOX}H", 20) == 2 * text_width("H", 20) + 20
    assert (mixed[:, :24] == alone[:, :24]).all()
    assert np.nonzero((mixed < 128).any(axis=1))[0][-1] == np.nonzero((alone < 128).any(axis=1))[0][-1]
    right = drawn(f"H{BOX}H", anchor="ra")
    assert (right[:, 10:] == 255).all(), "all of it lies to the left of the place"


def test_a_text_in_two_fonts_is_shortened_to_fit(boxes: Path) -> None:
    short = fit_text(BOX * 30, 100)
    assert "…" in short
    assert text_width(short) <= 100
    assert drawable(short)
