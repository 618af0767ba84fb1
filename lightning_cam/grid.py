"""The sheet of one look: each image beside its overlay, and below, where label and prediction differ, what speaks for which."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from lightning_cam.picture import (
    FAINT,
    FOOT,
    FRAME,
    GAP,
    INK,
    LINE,
    MARGIN,
    NARROWEST,
    PAPER,
    TOP,
    WRONG,
    Color,
    Key,
    _color,
    _color_bar,
    _columns,
    _fit,
    _font,
    _header,
    _image,
    _key,
    _least_width,
    _symbol,
    _words,
)
from lightning_cam.typing import ColorTable, Tiles

AGAINST = "for the predicted class … 0 … for the label"


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

    @property
    def percent(self) -> str:
        """The probability in words, after a space."""
        return f" {100 * self.confidence:.0f} %" if np.isfinite(self.confidence) else " not finite"


@dataclass(frozen=True, eq=False)
class RivalTiles:
    """Of some images whose prediction is not their label.

    Args:
        rows: Which images these are.
        predicted: Overlays of the predicted class' maps, one a row.
        contrast: Overlays of what speaks for the label, and for the predicted class.
        colors: From the predicted class to the label.
    """

    rows: Sequence[int]
    predicted: Tiles
    contrast: Tiles
    colors: ColorTable


def overlay_grid(
    images: Tiles,
    overlays: Tiles,
    captions: Sequence[Caption],
    header: tuple[str, str],
    key: Key,
    rivals: RivalTiles | None = None,
) -> Image.Image:
    """Image and overlay side by side for each shown image, with its caption; cells fill rows to a shape that suits a screen.

    Args:
        header: Two lines: when, and what was asked.
    """
    height, width = images.shape[1:3]
    lines = 3 if any(caption.blank for caption in captions) else 2
    cell = (max(2 * width + 3 * FRAME, NARROWEST), height + 2 * FRAME + lines * LINE + 4)
    columns = _columns(len(captions), cell)
    rows = -(-len(captions) // columns)
    canvas_width = max(2 * MARGIN + columns * cell[0] + (columns - 1) * GAP, _least_width(header, key))
    below = TOP + rows * (cell[1] + GAP)
    wide = 4 * width + 5 * FRAME
    across = max(1, (canvas_width - 2 * MARGIN + GAP) // (wide + GAP))
    if rivals is not None:
        canvas_width = max(canvas_width, 2 * MARGIN + wide)
    deep = height + 2 * FRAME + 3 * LINE + GAP
    more = 0 if rivals is None else -(-len(rivals.rows) // across) * deep + 2 * LINE + 8
    picture = Image.new("RGB", (canvas_width, below + more + FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    _header(draw, header, canvas_width)
    for i, caption in enumerate(captions):
        x = MARGIN + i % columns * (cell[0] + GAP)
        y = TOP + i // columns * (cell[1] + GAP)
        color = _color(caption.right)
        _framed(picture, [images[i], overlays[i]], (x, y), color)
        y += height + 2 * FRAME + 4
        _symbol(draw, (x, y + 3), caption.right)
        indent, room = x + 16, cell[0] - 16
        _words(draw, (indent, y), ("predicted ", caption.predicted, caption.percent), room, color)
        if caption.label is None:
            _words(draw, (indent, y + LINE), ("", "no label", ""), room, FAINT)
        else:
            _words(draw, (indent, y + LINE), ("label ", caption.label, ""), room, INK)
        if caption.blank:
            _words(draw, (indent, y + 2 * LINE), ("blank: ", caption.blank, ""), room, INK)
    if rivals is not None:
        draw.text((MARGIN, below), "where label and prediction differ", INK, _font(14, bold=True))
        _color_bar(picture, (MARGIN, below + LINE + 4), rivals.colors, AGAINST)
        for i, row in enumerate(rivals.rows):
            place = MARGIN + i % across * (wide + GAP), below + 2 * LINE + 8 + i // across * deep
            tiles = [images[row], overlays[row], rivals.predicted[i], rivals.contrast[i]]
            _framed(picture, tiles, place, WRONG)
            x, y = place[0] + FRAME, place[1] + height + 2 * FRAME + 2
            for number, title in enumerate(("image", "label", "predicted", "contrast")):
                draw.text((x + number * (width + FRAME), y), _fit(title, width, 11), FAINT, _font(11))
            caption = captions[row]
            _words(draw, (x, y + LINE - 2), ("label ", caption.label or "", ""), wide, INK)
            _words(draw, (x, y + 2 * LINE - 4), ("predicted ", caption.predicted, caption.percent), wide, WRONG)
    _key(picture, key)
    return picture


def _framed(picture: Image.Image, tiles: Sequence[Tensor], place: tuple[int, int], color: Color) -> None:
    """Tiles in a row, in one frame."""
    x, y = place
    height, width = tiles[0].shape[:2]
    right, bottom = x + len(tiles) * (width + FRAME) + FRAME - 1, y + height + 2 * FRAME - 1
    ImageDraw.Draw(picture).rectangle((x, y, right, bottom), fill=color)
    for number, tile in enumerate(tiles):
        picture.paste(_image(tile), (x + FRAME + number * (width + FRAME), y + FRAME))
