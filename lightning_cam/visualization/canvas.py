"""From tiles and words to one picture: header, captions, frames and symbols, colour bar.

Text needs Pillow, and the equations hold nothing but torch: tiles arrive here as uint8 on the host.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from lightning_cam.typing import ColorTable
from lightning_cam.visualization.letters import Color, text_width, write

INK, FAINT, PAPER = (32, 32, 32), (110, 110, 110), (255, 255, 255)
# After Okabe and Ito: told apart by colour-blind readers.
RIGHT, WRONG, UNKNOWN = (0, 130, 95), (213, 94, 0), (130, 130, 130)
MARGIN, GAP, FRAME, LINE, BAR, BADGE, REMARK = 12, 14, 8, 18, 150, 20, 82
BESIDE_BAR = 8  # between a colour bar and its words
TOP = MARGIN + 2 * LINE + 14  # height of the header
FOOT = 2 * LINE + 10  # height of the key
BLANK = "blank map"  # written on a picture without a map
SYMBOLS = 232  # width of the key's symbols
NARROWEST = 192  # a caption needs this width, however narrow the image
CARD = 390 / 215  # width and height of an image in a card of TensorBoard, in pixels

# Both draw without torch, from tiles on the host: on any thread, some time later.
DrawOne = Callable[[], Image.Image]
Draw = Callable[[], Image.Image | list[Image.Image]]  # several: one after another, as an animation


@dataclass(frozen=True)
class Key:
    """What colours and lines mean; it stands at the foot of a picture.

    Args:
        colors: Of the colour bar.
        scale: What its upper end stands for, to its right.
        parts: Name and colour of each part, where maps are of parts: they stand in the place of the colour
            bar.
        lines: Meaning and colour of each line that is drawn.
        symbols: Whether right and wrong are told.
        low: What its lower end stands for, to its left.
        note: What else is to be known, in a line.
    """

    colors: ColorTable
    scale: str
    parts: Sequence[tuple[str, Color]] = ()
    lines: Sequence[tuple[str, Color]] = ()
    symbols: bool = True
    low: str = ""
    note: str = ""

    @property
    def width(self) -> int:
        """In pixels."""
        bar = bar_width(self.low, self.scale)
        below = SYMBOLS + BESIDE_BAR + text_width(self.note)
        below += sum(34 + text_width(name) for name, _ in self.lines)
        return math.ceil(max(bar, below))


def small_jpeg(picture: Image.Image) -> bytes:
    """JPEG of quality 80, to be kept in a page or a checkpoint."""
    buffer = io.BytesIO()
    picture.save(buffer, format="JPEG", quality=80, optimize=True)
    return buffer.getvalue()


def columns_for(count: int, cell: tuple[int, int]) -> int:
    """So many cells a row that a card shows the grid as large as it can.

    Args:
        cell: Width and height, with the gaps.
    """
    return arranged(count, cell)[0]


def arranged(
    count: int, cell: tuple[int, int], panel: tuple[int, int] = (0, 0)
) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """How many cells stand in a row, the size of them all with a panel beside or below them, and where the
    panel lies: so that a card shows it all as large as it can.
    """
    found = []
    for columns in range(1, count + 1):
        across, down = columns * cell[0], -(-count // columns) * cell[1]
        beside = (across + panel[0], max(down, panel[1])), (across, 0)
        below = (max(across, panel[0]), down + panel[1]), (0, down)
        for size, place in (beside, below):
            found.append((max(size[0] / CARD, size[1] + TOP + FOOT), columns, size, place))
    _, columns, size, place = min(found)
    return columns, size, place


def draw_header(draw: ImageDraw.ImageDraw, header: tuple[str, str], width: int) -> None:
    """When, and what was asked, at the head."""
    write(
        draw, (MARGIN, MARGIN - 2), fit_text(header[0], width - 2 * MARGIN, 16, bold=True), INK, 16, bold=True
    )
    write(draw, (MARGIN, MARGIN + LINE + 4), fit_text(header[1], width - 2 * MARGIN), FAINT)


def least_width(header: tuple[str, str], key: Key) -> int:
    """Wide enough for both lines and for the key, within reason."""
    lines = max(text_width(header[0], 16, bold=True), text_width(header[1]), 460, key.width)
    return 2 * MARGIN + min(900, math.ceil(lines))


def draw_words(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], words: tuple[str, str, str], room: float, color: Color
) -> None:
    """Three texts in a row, the middle one shortened to fit; apart, because a name written from right to left
    reorders its line.
    """
    x: float = place[0]
    before, name, after = words
    for text in (before, fit_text(name, room - text_width(before) - text_width(after)), after):
        write(draw, (x, place[1]), text, color)
        x += text_width(text)


def draw_key(picture: Image.Image, key: Key) -> None:
    """At the foot, in the left corner."""
    draw, y = ImageDraw.Draw(picture), picture.height - FOOT
    if key.parts:
        _legend(draw, (MARGIN, y), key.parts)
    else:
        draw_color_bar(picture, (MARGIN, y), key.colors, key.low, key.scale)
    y += LINE
    for meaning, right, offset in (
        (("right", True, 0), ("wrong", False, 70), ("no label", None, 146)) if key.symbols else ()
    ):
        draw_symbol(draw, (MARGIN + offset, y + 5), right)
        write(draw, (MARGIN + offset + 16, y + 2), meaning, answer_color(right))
    x = MARGIN + SYMBOLS + 8
    if key.parts:
        write(draw, (x, y + 2), "the stronger, the more opaque", FAINT)
        x += 30 + math.ceil(text_width("the stronger, the more opaque"))
    for meaning, color in key.lines:
        draw.line((x, y + 10, x + 18, y + 10), INK, 5)
        draw.line((x, y + 10, x + 18, y + 10), color, 3)
        write(draw, (x + 24, y + 2), meaning, FAINT)
        x += 34 + math.ceil(text_width(meaning))
    write(draw, (x, y + 2), key.note, FAINT)


def draw_color_bar(
    picture: Image.Image, place: tuple[int, int], colors: ColorTable, low: str, high: str
) -> None:
    """A colour table from left to right between the words for its lower and its upper end."""
    draw = ImageDraw.Draw(picture)
    x, y = place
    if low:
        write(draw, (x, y - 1), low, FAINT)
        x += math.ceil(text_width(low)) + BESIDE_BAR
    strip = Image.fromarray((255 * colors.cpu().numpy()).round().astype(np.uint8)[None]).resize((BAR, 12))
    picture.paste(strip, (x, y + 2))
    draw.rectangle((x - 1, y + 1, x + BAR, y + 14), outline=FAINT)
    write(draw, (x + BAR + BESIDE_BAR, y - 1), high, FAINT)


def bar_width(low: str, high: str) -> float:
    """Of a colour bar with its words, in pixels."""
    before = math.ceil(text_width(low)) + BESIDE_BAR if low else 0
    return before + BAR + BESIDE_BAR + text_width(high)


def _legend(draw: ImageDraw.ImageDraw, place: tuple[int, int], legend: Sequence[tuple[str, Color]]) -> None:
    x, y = place
    for name, color in legend:
        draw.rectangle((x, y + 2, x + 11, y + 13), fill=color, outline=FAINT)
        write(draw, (x + 16, y - 1), name, FAINT)
        x += 26 + math.ceil(text_width(name))


def draw_symbol(draw: ImageDraw.ImageDraw, place: tuple[int, int], right: bool | None) -> None:
    """A tick, a cross or a ring, 12 pixels wide, drawn so that no font has to have it."""
    x, y = place
    color = answer_color(right)
    if right is None:
        draw.ellipse((x + 1, y + 1, x + 10, y + 10), outline=color, width=2)
    elif right:
        draw.line((x, y + 6, x + 4, y + 10, x + 11, y + 1), fill=color, width=3, joint="curve")
    else:
        draw.line((x + 1, y + 1, x + 10, y + 10), fill=color, width=3)
        draw.line((x + 10, y + 1, x + 1, y + 10), fill=color, width=3)


def draw_plus(draw: ImageDraw.ImageDraw, center: tuple[int, int]) -> None:
    """A plus, 17 pixels wide."""
    x, y = center
    draw.rectangle((x - 8, y - 1, x + 8, y + 1), fill=INK)
    draw.rectangle((x - 1, y - 8, x + 1, y + 8), fill=INK)


def draw_arrow(draw: ImageDraw.ImageDraw, center: tuple[int, int]) -> None:
    """An arrow to the right, 22 pixels wide."""
    x, y = center
    draw.rectangle((x - 10, y - 1, x + 4, y + 1), fill=INK)
    draw.polygon(((x + 4, y - 7), (x + 4, y + 7), (x + 11, y)), fill=INK)


def answer_color(right: bool | None) -> Color:
    """Of a right, a wrong, or an unknown answer."""
    return UNKNOWN if right is None else RIGHT if right else WRONG


def draw_framed(picture: Image.Image, tiles: Sequence[Tensor], place: tuple[int, int], color: Color) -> None:
    """Tiles in a row, in one frame."""
    x, y = place
    height, width = tiles[0].shape[:2]
    right, bottom = x + len(tiles) * (width + FRAME) + FRAME - 1, y + height + 2 * FRAME - 1
    ImageDraw.Draw(picture).rectangle((x, y, right, bottom), fill=color)
    for number, tile in enumerate(tiles):
        picture.paste(image_of(tile), (x + FRAME + number * (width + FRAME), y + FRAME))


def draw_remark(draw: ImageDraw.ImageDraw, place: tuple[int, int], words: str) -> None:
    """A few words in the corner of a tile, on white."""
    x, y = place
    draw.rectangle((x, y, x + math.ceil(text_width(words, 11)) + 7, y + 16), fill=PAPER)
    write(draw, (x + 4, y + 2), words, INK, 11)


def image_of(tile: Tensor) -> Image.Image:
    """A tile as Pillow has it."""
    return Image.fromarray(tile.numpy())


def fit_text(text: str, room: float, size: int = 13, bold: bool = False) -> str:
    """The text, some of it left out, nearer to its end than to its beginning, where it is wider than ``room``
    pixels.
    """
    text = " ".join(text.split())
    text = text if len(text) < 300 else text[:150] + text[-150:]
    keep = len(text)
    shown = text
    while keep > 1 and text_width(shown, size, bold) > room:
        keep -= 1
        end = keep // 3
        shown = f"{text[: keep - end]}…{text[len(text) - end :]}"
    return shown


def wrap_text(text: str, room: float, most: int) -> list[str]:
    """The text in at most so many lines; where it needs more, an ellipsis in the last one says so."""
    lines: list[str] = []
    for paragraph in text.splitlines():
        lines.append("")
        for word in paragraph.split():
            longer = f"{lines[-1]} {word}".strip()
            if lines[-1] and text_width(longer) > room:
                lines.append(word)
            else:
                lines[-1] = longer
    kept = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [fit_text(line, room) for line in kept if line]
