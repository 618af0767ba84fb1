"""What shows that a model relies on a cue: the same images with the cue of their own class and with that of
another, how well each place tells the class, and what each class loses.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from PIL import Image, ImageDraw

from lightning_cam.checks import Normalization
from lightning_cam.typing import ColorTable, Images, Tiles
from lightning_cam.visualization.blend import color_table, displayable
from lightning_cam.visualization.canvas import (
    FAINT,
    GAP,
    INK,
    LINE,
    MARGIN,
    PAPER,
    UNKNOWN,
    WRONG,
    DrawOne,
    answer_color,
    draw_arrow,
    draw_symbol,
    draw_words,
    fit_text,
    image_of,
    wrap_text,
)
from lightning_cam.visualization.letters import Color, write
from lightning_cam.visualization.projection import drawn_size, flatten_to_pictures, tile

MOST_CLASS_ROWS = 10  # of the table of classes
MOST_LINES = 4  # of the statement
LIGHT = (225, 225, 225)
FRAME = 6  # thicker than in other pictures: in a thumbnail it tells right from wrong
SIDE = 168  # the longer side of a drawn image, at most
ROOM = SIDE + 2 * FRAME  # a column is so wide, however narrow the image
SIGN, BETWEEN_HALVES = 28, 24  # from an image to its answer, and from one half of a row to the other
HALVES = 0, 2 * ROOM + SIGN + BETWEEN_HALVES
COLUMNS = tuple(left + right for left in HALVES for right in (0, ROOM + SIGN))
WIDTH = COLUMNS[3] + ROOM
HEAD = 2 * LINE + 2  # of the words above the columns
CELL = 48
NAME, BETWEEN, BAR, COUNT = 168, 8, 118, 44  # of the table: a class, a gap, a bar, its number
COLUMN = 2 * BETWEEN + BAR + COUNT
TABLE = NAME + 2 * COLUMN
HEADS = (
    ("image", "as it is"),
    ("same class", "image + cue of its own class"),
    ("other image", "of another class"),
    ("other class", "image + cue of the other image"),
)
OF_ALL, OF_ONE_CLASS = "0 chance … 1 always", "F1 of this class: 1 always"  # what the map of places shows
DISCLAIMER = "This shows what the model uses. Whether it should is your decision."


@dataclass(frozen=True)
class Swap:
    """What is said of one image that received the cue twice: from an image of its own class, and of another.

    Args:
        image: The image's class.
        other: The class of the other image that gave the cue.
        answer_own: What the model answers with the cue of the own class.
        answer_other: What it answers with the cue of the other class.
        own_is_right: Whether the first answer is the image's class.
        other_is_right: Whether the second one is.
    """

    image: str
    other: str
    answer_own: str
    answer_other: str
    own_is_right: bool
    other_is_right: bool


@dataclass(frozen=True)
class ClassRow:
    """One line of the table of classes.

    Args:
        lost: Accuracy that images of this class lose by the cue of others, in [-1, 1].
        drawn: How far the cue of this class draws images of others to it, in [-1, 1].
        named: Whether the finding names it.
    """

    name: str
    lost: float
    drawn: float
    named: bool


def draw_shortcut(
    images: Images,
    others: Images,
    with_own: Images,
    with_other: Images,
    swaps: Sequence[Swap],
    cells: Sequence[Sequence[float]] | None,
    classes: Sequence[ClassRow],
    header: tuple[str, str],
    normalization: Normalization | None,
    scale: str = OF_ALL,
) -> DrawOne:
    """Draws each image with the cue of its own class and with that of another, and what the model answers;
    how well each place of the image tells the label; and what each class loses.

    Args:
        images: One for each of ``swaps``, as are the next three.
        others: The images of other classes that give the cue.
        with_own: The images with the cue from another image of their own class.
        with_other: The images with the cue of ``others``.
        cells: Of each cell of a grid how well it tells the class, in [-1, 1]; None where cells were not
            measured.
        classes: At most ten are shown, those that are named first.
        header: Title and statement.
        scale: What the numbers of ``cells`` mean.
    """
    shown, _ = displayable(torch.cat([images, with_own, others, with_other]), *(normalization or ((), ())))
    tiles = tile(flatten_to_pictures(shown, drawn_size(images, SIDE, SIDE))).cpu()
    return partial(
        _sheet, tiles, swaps, partial(_cells, cells, color_table("inferno"), scale), classes, header
    )


def _sheet(
    tiles: Tiles,
    swaps: Sequence[Swap],
    draw_cells: DrawOne,
    classes: Sequence[ClassRow],
    header: tuple[str, str],
) -> Image.Image:
    statement = wrap_text(header[1], WIDTH, MOST_LINES)
    rows, map_of_cells, table = _rows(tiles, swaps), draw_cells(), _classes(classes)
    top = MARGIN + (1 + len(statement)) * LINE + 18
    below = top + rows.height + 2 * GAP
    bottom = below + max(map_of_cells.height, table.height) + GAP
    sheet, draw = _panel(WIDTH + 2 * MARGIN, bottom + LINE + MARGIN)
    write(draw, (MARGIN, MARGIN - 2), fit_text(header[0], WIDTH, 16, bold=True), INK, 16, bold=True)
    for number, line in enumerate(statement, start=1):
        write(draw, (MARGIN, MARGIN + number * LINE + 4), line, INK)
    sheet.paste(rows, (MARGIN, top))
    sheet.paste(map_of_cells, (MARGIN, below))
    sheet.paste(table, (MARGIN + WIDTH - TABLE, below))
    write(draw, (MARGIN, bottom), DISCLAIMER, FAINT)
    return sheet


def _panel(width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    panel = Image.new("RGB", (width, height), PAPER)
    return panel, ImageDraw.Draw(panel)


def _rows(tiles: Tiles, swaps: Sequence[Swap]) -> Image.Image:
    """Tiles of all images, then of all with the cue of their own class, of all others, and of all with the
    cue of another: a row of four for each swap.
    """
    height, width = (side + 2 * FRAME for side in tiles.shape[1:3])
    step = height + LINE + GAP
    panel, draw = _panel(WIDTH, HEAD + len(swaps) * step - GAP)
    for x, (name, what) in zip(COLUMNS, HEADS, strict=True):
        write(draw, (x, 0), name, INK, 13, bold=True)
        write(draw, (x, LINE - 2), what, FAINT, 11)
    for number, swap in enumerate(swaps):
        y = HEAD + number * step
        captions = (
            (swap.image, None),
            (swap.answer_own, swap.own_is_right),
            (swap.other, None),
            (swap.answer_other, swap.other_is_right),
        )
        for x, picture, caption in zip(COLUMNS, tiles[number :: len(swaps)], captions, strict=True):
            color = LIGHT if caption[1] is None else answer_color(caption[1])
            draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
            panel.paste(image_of(picture), (x + FRAME, y + FRAME))
            _caption(draw, (x, y + height + 2), *caption)
        for left in HALVES:
            draw_arrow(draw, (left + (width + ROOM + SIGN) // 2, y + height // 2))
    return panel


def _caption(draw: ImageDraw.ImageDraw, place: tuple[int, int], name: str, right: bool | None) -> None:
    """A class, or an answer with a tick or a cross before it."""
    x, y = place
    if right is not None:
        draw_symbol(draw, (x, y + 3), right)
        x += 16
    color = INK if right is None else answer_color(right)
    draw_words(draw, (x, y), ("", name, ""), ROOM - (x - place[0]), color)


def _cells(cells: Sequence[Sequence[float]] | None, table: ColorTable, scale: str) -> Image.Image:
    """Where there is less than chance, 0 is shown: it tells as little."""
    side = CELL * (len(cells[0]) if cells else 4)
    panel, draw = _panel(side + BETWEEN, HEAD + 4 + (CELL * len(cells) + LINE if cells else LINE))
    for line, words in enumerate(("how well each place", "alone tells the class")):
        write(draw, (0, line * (LINE - 2)), words, INK, 13, bold=True)
    if cells is None:
        write(draw, (0, HEAD + 2), "not measured", FAINT)
        return panel
    colors = (255 * table.numpy()).round().astype(np.uint8)
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            x, y = column * CELL, HEAD + 2 + row * CELL
            shown = min(max(value, 0.0), 1.0)
            known = math.isfinite(value)
            color: Color = tuple(colors[round(255 * shown)].tolist()) if known else LIGHT
            draw.rectangle((x, y, x + CELL - 3, y + CELL - 3), fill=color)
            ink = INK if np.dot(color, (0.299, 0.587, 0.114)) > 128 else PAPER
            words = f"{shown:.2f}" if known else "–"
            write(draw, (x + CELL // 2 - 1, y + CELL // 2 - 1), words, ink, anchor="mm")
    write(draw, (0, panel.height - LINE + 1), scale, FAINT, 11)
    return panel


def _classes(classes: Sequence[ClassRow]) -> Image.Image:
    """The named classes first, then those that lose most or draw most."""
    if not classes:
        return _panel(TABLE, 1)[0]
    ranked = sorted(classes, key=lambda row: (not row.named, -max(row.lost, row.drawn)))
    shown, more = ranked[:MOST_CLASS_ROWS], len(classes) - MOST_CLASS_ROWS
    panel, draw = _panel(TABLE, HEAD + 4 + (len(shown) + (more > 0)) * LINE)
    write(draw, (0, 0), "class", INK, 13, bold=True)
    for left, title, what in (
        (NAME, "accuracy lost", "by its images, points"),
        (NAME + COLUMN, "drawn to it", "of other images, points"),
    ):
        write(draw, (left + BETWEEN, 0), title, INK, 13, bold=True)
        write(draw, (left + BETWEEN, LINE - 2), what, FAINT, 11)
    for number, row in enumerate(shown):
        y = HEAD + 4 + number * LINE
        write(draw, (0, y), fit_text(row.name, NAME, bold=row.named), INK, bold=row.named)
        color = WRONG if row.named else UNKNOWN
        for left, share in ((NAME, row.lost), (NAME + COLUMN, row.drawn)):
            _bar(draw, (left + BETWEEN, y), share, color)
    if more > 0:
        write(draw, (0, HEAD + 4 + len(shown) * LINE), f"… and {more} more", FAINT)
    return panel


def _bar(draw: ImageDraw.ImageDraw, place: tuple[int, int], share: float, color: Color) -> None:
    """From 0 to 100 points; what is below 0 has its number alone."""
    x, y = place
    draw.rectangle((x, y + 2, x + BAR - 1, y + LINE - 4), fill=LIGHT)
    length = round(BAR * min(max(share, 0.0), 1.0))
    if length:
        draw.rectangle((x, y + 2, x + length - 1, y + LINE - 4), fill=color)
    points = str(round(100 * share))
    write(draw, (x + BAR + BETWEEN, y), points.replace("-", "−"), INK)
