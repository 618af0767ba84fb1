"""From tiles and words to one picture: header, captions, frames and symbols, colour bar.

A room of its own because text needs Pillow, and ``functional`` holds nothing but torch: tiles arrive here as uint8 on the host.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from lightning_cam.typing import ColorTable, Tiles

INK, FAINT, PAPER = (32, 32, 32), (110, 110, 110), (255, 255, 255)
RIGHT, WRONG, UNKNOWN = (0, 130, 95), (213, 94, 0), (130, 130, 130)  # after Okabe and Ito: told apart by colour-blind readers
MARGIN, GAP, FRAME, LINE, BAR, BADGE, REMARK = 12, 14, 4, 18, 150, 20, 82
NARROWEST = 232  # a caption needs this width, however narrow the image

Draw = Callable[[], Image.Image]  # draws without torch, from tiles on the host: on any thread, some time later


@dataclass(frozen=True)
class Caption:
    """What stands below an image.

    Args:
        right: Whether the prediction is the label; None where there is no label.
        label: The true class; None where nobody knows.
        predicted: The predicted class.
        confidence: Its probability, in [0, 1]; NaN where the scores are not finite.
        blank: Why the map is blank; empty where it is not.
    """

    right: bool | None
    label: str | None
    predicted: str
    confidence: float
    blank: str = ""


@dataclass(frozen=True)
class Column:
    """One look in the film strip: its title, and per row whether the prediction was right and a remark in place of the map."""

    title: str
    right: tuple[bool | None, ...]
    remarks: tuple[str, ...]


def overlay_grid(
    images: Tiles,
    overlays: Tiles,
    captions: Sequence[Caption],
    header: tuple[str, str],
    colors: ColorTable,
    legend: Sequence[tuple[str, tuple[int, int, int]]] = (),
) -> Image.Image:
    """Image and overlay side by side for each shown image, with its caption; cells fill rows to a shape that suits a screen.

    Args:
        header: Two lines: when, and what was asked.
        legend: Name and colour of each part, where the overlays show parts: it stands in the place of the colour bar.
    """
    height, width = images.shape[1:3]
    lines = 3 if any(caption.blank for caption in captions) else 2
    cell = (max(2 * width + 3 * FRAME, NARROWEST), height + 2 * FRAME + lines * LINE + 4)
    columns = _columns(len(captions), cell)
    rows = -(-len(captions) // columns)
    bar = 2 * LINE + 10
    top = MARGIN + 2 * LINE + 14
    canvas_width = max(2 * MARGIN + columns * cell[0] + (columns - 1) * GAP, _header_width(header))
    picture = Image.new("RGB", (canvas_width, top + rows * (cell[1] + GAP) + bar), PAPER)
    draw = ImageDraw.Draw(picture)
    _header(draw, header, canvas_width)
    for i, caption in enumerate(captions):
        x = MARGIN + i % columns * (cell[0] + GAP)
        y = top + i // columns * (cell[1] + GAP)
        color = _color(caption.right)
        draw.rectangle((x, y, x + 2 * width + 3 * FRAME - 1, y + height + 2 * FRAME - 1), fill=color)
        picture.paste(_image(images[i]), (x + FRAME, y + FRAME))
        picture.paste(_image(overlays[i]), (x + width + 2 * FRAME, y + FRAME))
        y += height + 2 * FRAME + 4
        percent = f" {100 * caption.confidence:.0f} %" if np.isfinite(caption.confidence) else " not finite"
        _symbol(draw, (x, y + 3), caption.right)
        indent, room = x + 16, cell[0] - 16
        _words(draw, (indent, y), ("predicted ", caption.predicted, percent), room, color)
        if caption.label is None:
            _words(draw, (indent, y + LINE), ("", "no label", ""), room, FAINT)
        else:
            _words(draw, (indent, y + LINE), ("label ", caption.label, ""), room, INK)
        if caption.blank:
            _words(draw, (indent, y + 2 * LINE), ("blank: ", caption.blank, ""), room, INK)
    if legend:
        _legend(draw, (MARGIN, picture.height - bar), legend)
    else:
        _color_bar(picture, (MARGIN, picture.height - bar), colors)
    _symbols(draw, (MARGIN, picture.height - bar + LINE))
    return picture


def film_strip(
    images: Tiles,
    overlays: Sequence[Tiles],
    columns: Sequence[Column],
    labels: Sequence[str],
    header: tuple[str, str],
    colors: ColorTable,
) -> Image.Image:
    """Rows are images, columns the looks so far.

    Args:
        overlays: One batch of tiles per column.
        labels: One name per row.
    """
    height, width = images.shape[1:3]
    step = (max(width, REMARK) + 6, max(height, LINE) + BADGE + 4)
    names = min(140, round(max(_width(label) for label in labels)) + 10)
    left, top = MARGIN + names, MARGIN + 2 * LINE + 14 + LINE
    bar = 2 * LINE + 10
    canvas_width = max(left + (1 + len(columns)) * step[0] + MARGIN, _header_width(header))
    picture = Image.new("RGB", (canvas_width, top + len(labels) * step[1] + 8 + bar), PAPER)
    draw = ImageDraw.Draw(picture)
    _header(draw, header, canvas_width)
    for i, title in enumerate(["image", *(column.title for column in columns)]):
        draw.text((left + i * step[0], top - LINE - 2), _fit(title, step[0] - 4), INK, _font())
    for row, label in enumerate(labels):
        y = top + row * step[1]
        draw.text((MARGIN, y + height // 2 - 8), _fit(label, names - 8), INK, _font())
        picture.paste(_image(images[row]), (left, y))
        for i, column in enumerate(columns, start=1):
            x = left + i * step[0]
            if column.remarks[row]:
                draw.rectangle((x, y, x + max(width, REMARK) - 1, y + max(height, LINE) - 1), fill=(232, 232, 232))
                draw.text((x + 4, y + 2), column.remarks[row], FAINT, _font(11))
            else:
                picture.paste(_image(overlays[i - 1][row]), (x, y))
            if column.remarks[row] and column.right[row] is None:
                continue
            # Below the tile, where it hides no evidence.
            below = y + max(height, LINE) + 1
            draw.rectangle((x, below, x + width - 1, below + 2), fill=_color(column.right[row]))
            _symbol(draw, (x + 1, below + 5), column.right[row])
    _color_bar(picture, (MARGIN, picture.height - bar), colors)
    _symbols(draw, (MARGIN, picture.height - bar + LINE))
    return picture


def small_jpeg(picture: Image.Image) -> bytes:
    """JPEG of quality 80, to be kept in a page or a checkpoint."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=80, optimize=True)
    return buffer.getvalue()


def _columns(count: int, cell: tuple[int, int]) -> int:
    """So many cells a row that the grid comes close to three to two and leaves few places empty."""

    def off(columns: int) -> float:
        rows = -(-count // columns)
        return abs(columns * cell[0] / (rows * cell[1]) - 1.5) + (rows * columns - count) / count

    return min(range(1, count + 1), key=off)


def _header(draw: ImageDraw.ImageDraw, header: tuple[str, str], width: int) -> None:
    draw.text((MARGIN, MARGIN - 2), _fit(header[0], width - 2 * MARGIN, 16, bold=True), INK, _font(16, bold=True))
    draw.text((MARGIN, MARGIN + LINE + 4), _fit(header[1], width - 2 * MARGIN), FAINT, _font())


def _header_width(header: tuple[str, str]) -> int:
    """Wide enough for both lines and for the legend, within reason."""
    lines = max(_width(header[0], 16, bold=True), _width(header[1]), 2 * NARROWEST)
    return 2 * MARGIN + min(900, math.ceil(lines))


def _words(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], words: tuple[str, str, str], room: float, color: tuple[int, int, int]
) -> None:
    """Three texts in a row, the middle one shortened to fit; apart, because a name written from right to left reorders its line."""
    x: float = place[0]
    before, name, after = words
    for text in (before, _fit(name, room - _width(before) - _width(after)), after):
        draw.text((x, place[1]), text, color, _font())
        x += _width(text)


def _color_bar(picture: Image.Image, place: tuple[int, int], colors: ColorTable) -> None:
    draw = ImageDraw.Draw(picture)
    x, y = place
    strip = Image.fromarray((255 * colors.cpu().numpy()).round().astype(np.uint8)[None]).resize((BAR, 12))
    picture.paste(strip, (x, y + 2))
    draw.rectangle((x - 1, y + 1, x + BAR, y + 14), outline=FAINT)
    draw.text((x + BAR + 8, y - 1), "0 = no evidence … 1 = each map's maximum", FAINT, _font())


def _legend(draw: ImageDraw.ImageDraw, place: tuple[int, int], legend: Sequence[tuple[str, tuple[int, int, int]]]) -> None:
    x, y = place
    for name, color in legend:
        draw.rectangle((x, y + 2, x + 11, y + 13), fill=color, outline=FAINT)
        draw.text((x + 16, y - 1), name, FAINT, _font())
        x += 26 + math.ceil(_width(name))
    draw.text((place[0] + 240, y + LINE + 2), "the stronger, the more opaque", FAINT, _font())


def _symbols(draw: ImageDraw.ImageDraw, place: tuple[int, int]) -> None:
    x, y = place
    for meaning, right, offset in (("right", True, 0), ("wrong", False, 70), ("no label", None, 146)):
        _symbol(draw, (x + offset, y + 5), right)
        draw.text((x + offset + 16, y + 2), meaning, _color(right), _font())


def _symbol(draw: ImageDraw.ImageDraw, place: tuple[int, int], right: bool | None) -> None:
    """A tick, a cross or a ring, 12 pixels wide, drawn so that no font has to have it."""
    x, y = place
    color = _color(right)
    if right is None:
        draw.ellipse((x + 1, y + 1, x + 10, y + 10), outline=color, width=2)
    elif right:
        draw.line((x, y + 6, x + 4, y + 10, x + 11, y + 1), fill=color, width=3, joint="curve")
    else:
        draw.line((x + 1, y + 1, x + 10, y + 10), fill=color, width=3)
        draw.line((x + 10, y + 1, x + 1, y + 10), fill=color, width=3)


def _color(right: bool | None) -> tuple[int, int, int]:
    return UNKNOWN if right is None else RIGHT if right else WRONG


def _image(tile: Tensor) -> Image.Image:
    return Image.fromarray(tile.numpy())


def _fit(text: str, room: float, size: int = 13, bold: bool = False) -> str:
    """The text, its middle left out where it is wider than ``room`` pixels."""
    text = " ".join(text.split())
    text = text if len(text) < 300 else text[:150] + text[-150:]
    keep = len(text)
    shown = text
    while keep > 1 and _width(shown, size, bold) > room:
        keep -= 1
        shown = f"{text[: -(-keep // 2)]}…{text[len(text) - keep // 2 :]}"
    return shown


def _width(text: str, size: int = 13, bold: bool = False) -> float:
    return _font(size, bold).getlength(text)


@lru_cache(maxsize=10_000)
def drawable(text: str) -> bool:
    """Whether the font has every letter; it lacks, for one, Chinese."""
    missing = bytes(_font().getmask("\U0010ffff"))
    return all(bytes(_font().getmask(letter)) != missing for letter in text if not letter.isspace())


@cache
def _font(size: int = 13, bold: bool = False) -> ImageFont.FreeTypeFont:
    # matplotlib's own copy: the same letters on every machine.
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)
