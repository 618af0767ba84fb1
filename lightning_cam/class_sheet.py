"""What the model looks at in each class, on average, and what tells two classes apart."""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from lightning_cam.picture import (
    FAINT,
    FOOT,
    GAP,
    INK,
    LINE,
    MARGIN,
    PAPER,
    TOP,
    Key,
    _color_bar,
    _fit,
    _font,
    _header,
    _image,
    _key,
    _least_width,
)
from lightning_cam.typing import ColorTable, Tiles

NARROWEST_TILE = 104  # a name needs this width


@dataclass(frozen=True, eq=False)
class Pairs:
    """Differences of two classes' mean maps.

    Args:
        tiles: One per pair.
        names: The class that is looked at more where the colour is the table's last, and the other.
        why: Why these two, in a few words.
        most: What the ends of the colours stand for, as a share of a map's maximum.
        colors: From the second class to the first.
    """

    tiles: Tiles
    names: Sequence[tuple[str, str]]
    why: Sequence[str]
    most: float
    colors: ColorTable


def class_sheet(
    means: Tiles, overlays: Tiles, names: Sequence[str], counts: Sequence[str], pairs: Pairs, header: tuple[str, str], key: Key
) -> Image.Image:
    """A column per class: its mean image, and its mean map over it; below, pairs of classes.

    Args:
        counts: How many images, in words.
    """
    height, width = means.shape[1:3]
    step = max(width, NARROWEST_TILE) + GAP
    across = max(len(names), len(pairs.names))
    scale = f"the second class … 0 … the first; ends: {pairs.most:.2f} of a map's maximum"
    canvas_width = max(2 * MARGIN + across * step - GAP, _least_width(header, key), 2 * MARGIN + Key(key.colors, scale).width)
    second = TOP + 2 * LINE + 2 * (height + 4) + GAP
    picture = Image.new("RGB", (canvas_width, second + 5 * LINE + 10 + height + FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    _header(draw, header, canvas_width)
    for i, (name, count) in enumerate(zip(names, counts, strict=True)):
        x, y = MARGIN + i * step, TOP
        draw.text((x, y), _fit(name, step - 6), INK, _font())
        draw.text((x, y + LINE - 2), _fit(count, step - 6, 11), FAINT, _font(11))
        picture.paste(_image(means[i]), (x, y + 2 * LINE))
        picture.paste(_image(overlays[i]), (x, y + 2 * LINE + height + 4))
    draw.text((MARGIN, second), "where one class is looked at more than another", INK, _font(14, bold=True))
    _color_bar(picture, (MARGIN, second + LINE + 4), pairs.colors, scale)
    for i, ((one, other), why) in enumerate(zip(pairs.names, pairs.why, strict=True)):
        x, y = MARGIN + i * step, second + 2 * LINE + 8
        picture.paste(_image(pairs.tiles[i]), (x, y))
        draw.text((x, y + height + 2), _fit(one, step - 6), INK, _font())
        draw.text((x, y + height + LINE), _fit(f"less {other}", step - 6), INK, _font())
        draw.text((x, y + height + 2 * LINE), _fit(why, step - 6, 11), FAINT, _font(11))
    _key(picture, key)
    return picture
