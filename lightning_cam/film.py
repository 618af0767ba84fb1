"""How attention evolved: a film strip, rows of images and columns of looks, and the same as moving pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from lightning_cam.picture import (
    BADGE,
    FAINT,
    FOOT,
    GAP,
    INK,
    LINE,
    MARGIN,
    PAPER,
    REMARK,
    TOP,
    Color,
    Key,
    _color,
    _columns,
    _fit,
    _font,
    _header,
    _image,
    _key,
    _least_width,
    _symbol,
    _width,
)
from lightning_cam.typing import Tiles

CHART, LEAST_TOP = 110, 0.05  # width of a row's chart in pixels, and what its height stands for at least, in bits
BLUE = (0, 114, 178)  # after Okabe and Ito


@dataclass(frozen=True)
class Column:
    """One look in the film strip: its title, and per row whether the prediction was right and a remark in place of the map."""

    title: str
    right: tuple[bool | None, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One image in the film strip.

    Args:
        name: Of its class.
        remarks: What is to be said of it now, in a few words, each in its colour.
        changes: Of each look so far, how far the map lies from that of the look before, in bits; NaN where nobody knows.
    """

    name: str
    remarks: tuple[tuple[str, Color], ...] = ()
    changes: tuple[float, ...] = ()


def film_strip(
    images: Tiles,
    overlays: Sequence[Tiles],
    columns: Sequence[Column],
    rows: Sequence[Row],
    header: tuple[str, str],
    key: Key,
) -> Image.Image:
    """Rows are images, columns the looks so far; on the right, where maps changed, a chart of how far, look by look.

    Args:
        overlays: One batch of tiles per column.
    """
    height, width = images.shape[1:3]
    step = (max(width, REMARK) + 6, max(height, LINE) + BADGE + 4)
    names = min(140, round(max(_width(text) for row in rows for text in (row.name, *(said for said, _ in row.remarks)))) + 10)
    left, top = MARGIN + names, TOP + LINE
    most = max((change for row in rows for change in row.changes if math.isfinite(change)), default=0.0)
    chart = left + (1 + len(columns)) * step[0] if most else 0
    canvas_width = max(left + (1 + len(columns)) * step[0] + (CHART if most else 0) + MARGIN, _least_width(header, key))
    picture = Image.new("RGB", (canvas_width, top + len(rows) * step[1] + 8 + FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    _header(draw, header, canvas_width)
    for i, title in enumerate(["image", *(column.title for column in columns)]):
        draw.text((left + i * step[0], top - LINE - 2), _fit(title, step[0] - 4), INK, _font())
    if most:
        draw.text((chart, top - LINE - 2), "change, bit", INK, _font())
    for number, row in enumerate(rows):
        y = top + number * step[1]
        said = [(row.name, INK), *row.remarks]
        first = y + height // 2 - 8 if len(said) == 1 else max(y, y + height // 2 - len(said) * 8)
        for line, (text, color) in enumerate(said):
            draw.text((MARGIN, first + 16 * line), _fit(text, names - 8), color, _font())
        picture.paste(_image(images[number]), (left, y))
        for i, column in enumerate(columns, start=1):
            x = left + i * step[0]
            if column.remarks[number]:
                draw.rectangle((x, y, x + max(width, REMARK) - 1, y + max(height, LINE) - 1), fill=(232, 232, 232))
                draw.text((x + 4, y + 2), column.remarks[number], FAINT, _font(11))
            else:
                picture.paste(_image(overlays[i - 1][number]), (x, y))
            if column.remarks[number] and column.right[number] is None:
                continue
            # Below the tile, where it hides no evidence.
            below = y + max(height, LINE) + 1
            draw.rectangle((x, below, x + width - 1, below + 2), fill=_color(column.right[number]))
            _symbol(draw, (x + 1, below + 5), column.right[number])
        if most:
            _chart(draw, (chart, y), (CHART - 6, max(height, LINE)), row.changes, max(most, LEAST_TOP))
    _key(picture, key)
    return picture


def frames(
    looks: Sequence[Tiles], titles: Sequence[str], rights: Sequence[Sequence[bool | None]], header: str, key: Key
) -> list[Image.Image]:
    """One picture a look, all alike but for the overlays: to be shown one after another.

    Args:
        looks: One batch of overlays per look.
        rights: Per look and image whether the prediction was right.
    """
    count, height, width = looks[0].shape[:3]
    step = (width + GAP // 2, height + GAP)
    across = _columns(count, step)
    down = -(-count // across)
    size = (max(2 * MARGIN + across * step[0], _least_width(("", header), key)), TOP + down * step[1] + 4 + FOOT)
    made = []
    for place, (tiles, title, right) in enumerate(zip(looks, titles, rights, strict=True)):
        picture = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(picture)
        _header(draw, (title, header), size[0])
        done = round((size[0] - 2 * MARGIN) * (place + 1) / len(looks))
        draw.rectangle((MARGIN, TOP - 7, MARGIN + done, TOP - 5), fill=BLUE)
        for i, tile in enumerate(tiles):
            x, y = MARGIN + i % across * step[0], TOP + i // across * step[1]
            picture.paste(_image(tile), (x, y))
            draw.rectangle((x, y + height + 1, x + width - 1, y + height + 4), fill=_color(right[i]))
        _key(picture, key)
        made.append(picture)
    return made


def _chart(draw: ImageDraw.ImageDraw, place: tuple[int, int], size: tuple[int, int], values: Sequence[float], most: float) -> None:
    """A line over the looks, from zero to ``most``; below it the last value and the largest one."""
    (x, y), (width, height) = place, size
    draw.line((x, y + height - 1, x + width, y + height - 1), (210, 210, 210), 1)
    known = [(i, value) for i, value in enumerate(values) if math.isfinite(value)]
    if not known:
        return
    across = width / max(1, len(values) - 1)
    points = [(x + i * across, y + (height - 2) * (1 - value / most)) for i, value in known]
    draw.line(points, BLUE, 2, joint="curve")
    last_x, last_y = points[-1]
    draw.ellipse((last_x - 3, last_y - 3, last_x + 3, last_y + 3), fill=BLUE)
    largest = max(value for _, value in known)
    draw.text((x, y + height + 3), f"last {known[-1][1]:.2f}, most {largest:.2f}", FAINT, _font(11))
