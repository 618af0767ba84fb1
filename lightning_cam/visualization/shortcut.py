"""What shows that a cue decides: images before and after they receive it, where it lies, and the classes it
stands for.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw
from torch import Tensor

from lightning_cam.checks import Normalization
from lightning_cam.typing import ColorTable, Images, Tiles
from lightning_cam.visualization.blend import color_table, displayable
from lightning_cam.visualization.canvas import (
    BAR,
    FAINT,
    FRAME,
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
    draw_plus,
    draw_symbol,
    draw_words,
    fit_text,
    font,
    image_of,
    wrap_text,
)
from lightning_cam.visualization.projection import drawn_size, flatten_to_pictures, tile

MOST_CLASS_ROWS = 10  # of the table of classes
MOST_LINES = 3  # of the statement
LIGHT = (225, 225, 225)
NARROWEST_TILE = 172  # its caption needs this width, however narrow the image
SIGN = 36  # width of the plus and of the arrow between two tiles
NAME, BETWEEN, COUNT, CELL = 176, 8, 56, 48
PANEL = NAME + BAR + 2 * BETWEEN + 2 * COUNT
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
) -> DrawOne:
    """Draws each image with the cue of its own class and with that of another, and what the model answers;
    how well each place of the image tells the label; and what each class loses.

    Args:
        cells: Cohen's kappa of each cell of a grid, in [-1, 1]; None where cells were not measured.
        header: Title and statement.
    """
    tiles = _tiles(torch.cat([images, others, with_own, with_other]), normalization)
    return partial(_sheet, tiles, swaps, cells, color_table("inferno"), classes, header)


def _sheet(
    tiles: Tiles,
    triples: Sequence[Swap],
    patterns: UInt8[Tensor, "p h w 3"],
    pattern_names: Sequence[str],
    cells: Sequence[Sequence[float]] | None,
    colors: ColorTable,
    classes: Sequence[ClassRow],
    header: tuple[str, str],
) -> Image.Image:
    beside = [_patterns(patterns, pattern_names)] if len(patterns) else []
    table = [_classes(classes)] if classes else []
    columns = _columns([_triples(tiles, triples), *beside, _cells(cells, colors), *table])
    widths, heights = zip(
        *[(max(block.width for block in column), _height(column)) for column in columns], strict=True
    )
    width = 2 * MARGIN + widths[0] + 2 * GAP + widths[1]
    statement = wrap_text(header[1], width - 2 * MARGIN, MOST_LINES)
    top = MARGIN + (1 + len(statement)) * LINE + 18
    bottom = top + max(heights)
    sheet = Image.new("RGB", (width, bottom + LINE + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (MARGIN, MARGIN - 2), fit_text(header[0], width - 2 * MARGIN, 16, bold=True), INK, font(16, bold=True)
    )
    for number, line in enumerate(statement, start=1):
        draw.text((MARGIN, MARGIN + number * LINE + 4), line, INK, font())
    for x, column in zip((MARGIN, MARGIN + widths[0] + 2 * GAP), columns, strict=True):
        for number, block in enumerate(column):
            sheet.paste(block, (x, top + _height(column[:number])))
    draw.text((MARGIN, bottom), DISCLAIMER, FAINT, font())
    return sheet


def _tiles(images: Images, normalization: Normalization | None = None) -> Tiles:
    shown, _ = displayable(images, *(normalization or ((), ())))
    return tile(flatten_to_pictures(shown, drawn_size(images))).cpu()


def _columns(blocks: Sequence[Image.Image]) -> tuple[Sequence[Image.Image], Sequence[Image.Image]]:
    """Blocks below each other in two columns, as equal in height as their order allows."""
    split = min(
        range(1, len(blocks)), key=lambda count: max(_height(blocks[:count]), _height(blocks[count:]))
    )
    return blocks[:split], blocks[split:]


def _height(blocks: Sequence[Image.Image]) -> int:
    """Of blocks below each other, each with a gap under it."""
    return sum(block.height + GAP for block in blocks)


def _panel(title: str, width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    panel = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(panel)
    draw.text((0, 0), title, INK, font(13, bold=True))
    return panel, draw


def _triples(tiles: Tiles, triples: Sequence[Swap]) -> Image.Image:
    """Tiles of all hosts, then of all donors, then of all transplants: a row of three for each triple."""
    height, width = (side + 2 * FRAME for side in tiles.shape[1:3])
    room = max(width, NARROWEST_TILE)
    places = [i * (room + SIGN) for i in range(3)]
    step = height + 2 * LINE + GAP
    panel, draw = _panel("image", places[2] + room, LINE + 4 + len(triples) * step - GAP)
    draw.text((places[1], 0), "cue from", INK, font(13, bold=True))
    draw.text((places[2], 0), "image with the cue", INK, font(13, bold=True))
    for row, triple in enumerate(triples):
        y = LINE + 4 + row * step
        right = None if triple.follows is None else not triple.follows
        color = answer_color(right)
        for x, picture, frame in zip(places, tiles[row :: len(triples)], (LIGHT, LIGHT, color), strict=True):
            draw.rectangle((x, y, x + width - 1, y + height - 1), fill=frame)
            panel.paste(image_of(picture), (x + FRAME, y + FRAME))
        draw_plus(draw, ((places[0] + width + places[1]) // 2, y + height // 2))
        draw_arrow(draw, ((places[1] + width + places[2]) // 2, y + height // 2))
        y += height + 2
        below = y + LINE - 3
        percent = f" {100 * triple.confidence:.0f} %"
        for x, words in zip(places, ("host, answered right:", "gives the cue:"), strict=False):
            draw.text((x, y), words, FAINT, font(11))
        draw.text((places[2], y), f"answer, {DONOR_WINS[triple.follows]}:", color, font(11))
        draw_symbol(draw, (places[0], below + 3), True)
        draw_words(draw, (places[0] + 16, below), ("", triple.host, ""), room - 16, INK)
        draw_words(draw, (places[1], below), ("", triple.donor, ""), room, INK)
        draw_symbol(draw, (places[2], below + 3), right)
        draw_words(draw, (places[2] + 16, below), ("", triple.answer, percent), room - 16, color)
    return panel


def _patterns(tiles: Tiles, names: Sequence[str]) -> Image.Image:
    height, width = tiles.shape[1:3]
    room = max(width, PANEL // 2 - GAP)
    rows = -(-len(names) // 2)
    top = 2 * LINE + 2
    step = height + LINE + BETWEEN
    panel, draw = _panel("mean pattern", max(PANEL, 2 * room + GAP), top + rows * step)
    draw.text((0, LINE - 2), "mid-grey: no difference", FAINT, font(11))
    for i, name in enumerate(names):
        x, y = i % 2 * (room + GAP), top + i // 2 * step
        panel.paste(image_of(tiles[i]), (x, y))
        draw.text((x, y + height + 2), fit_text(name, room), INK, font())
    return panel


def _cells(cells: Sequence[Sequence[float]] | None, table: ColorTable) -> Image.Image:
    title = "who wins, cell by cell"
    if cells is None:
        panel, draw = _panel(title, PANEL, 2 * LINE + 4)
        draw.text((0, LINE + 2), "not tested", FAINT, font())
        return panel
    colors = (255 * table.numpy()).round().astype(np.uint8)
    top = LINE + 4
    panel, draw = _panel(title, PANEL, top + len(cells) * CELL + LINE + 6)
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            x, y = column * CELL, top + row * CELL
            tested = math.isfinite(value)
            color = tuple(colors[round(255 * value)].tolist()) if tested else LIGHT
            draw.rectangle((x, y, x + CELL - 3, y + CELL - 3), fill=color)
            ink = INK if np.dot(color, (0.299, 0.587, 0.114)) > 128 else PAPER
            words = f"{100 * value:.0f} %" if tested else "–"
            draw.text((x + CELL // 2 - 1, y + CELL // 2 - 1), words, ink, font(), anchor="mm")
    y = panel.height - LINE
    panel.paste(Image.fromarray(colors[None]).resize((BAR, 12)), (0, y))
    untested = "" if all(math.isfinite(value) for values in cells for value in values) else " · – not tested"
    draw.text((BAR + BETWEEN, y - 3), f"0 % host … 100 % donor{untested}", FAINT, font())
    return panel


def _classes(classes: Sequence[ClassRow]) -> Image.Image:
    """The named classes first, then those whose cue wins most often."""
    ranked = sorted(
        classes, key=lambda row: (not row.named, 1.0 if math.isnan(row.dominance) else -row.dominance)
    )
    shown = ranked[:MOST_CLASS_ROWS]
    more = len(ranked) - len(shown)
    top = 2 * LINE + 4
    panel, draw = _panel(
        "how often the cue of each class wins", PANEL, top + (len(shown) + bool(more)) * LINE
    )
    bar, colon = NAME + BETWEEN, PANEL - COUNT
    for x, words, anchor in (
        (bar, "0 %", "la"),
        (bar + BAR // 2, "50 %", "ma"),
        (bar + BAR, "100 %", "ra"),
        (colon, "donor : host", "ma"),
    ):
        draw.text((x, LINE + 4), words, FAINT, font(11), anchor=anchor)
    for number, row in enumerate(shown):
        y = top + number * LINE
        draw.text((0, y), fit_text(row.name, NAME, bold=row.named), INK, font(bold=row.named))
        if math.isnan(row.dominance):
            draw.text((bar, y), "no conflict", FAINT, font())
            continue
        draw.rectangle((bar, y + 2, bar + BAR - 1, y + LINE - 4), fill=LIGHT)
        length = round(BAR * row.dominance)
        if length:
            draw.rectangle((bar, y + 2, bar + length - 1, y + LINE - 4), fill=WRONG if row.named else UNKNOWN)
        draw.line((bar + BAR // 2, y, bar + BAR // 2, y + LINE - 1), fill=INK)
        draw.text((colon - 5, y), str(row.donor), INK, font(), anchor="ra")
        draw.text((colon, y), ":", INK, font(), anchor="ma")
        draw.text((colon + 5, y), str(row.host), INK, font())
    if more:
        draw.text((0, top + len(shown) * LINE), f"… and {more} more", FAINT, font())
    return panel
