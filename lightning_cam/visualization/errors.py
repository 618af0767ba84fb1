"""Where label and prediction differ: the image, its map for either class, and what speaks for which."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw

from lightning_cam.typing import ColorTable, Tiles
from lightning_cam.visualization.blend import color_bar
from lightning_cam.visualization.canvas import (
    FAINT,
    FRAME,
    GAP,
    INK,
    LINE,
    PAPER,
    WRONG,
    bar_width,
    draw_color_bar,
    draw_framed,
    draw_words,
    fit_text,
)
from lightning_cam.visualization.captions import Caption
from lightning_cam.visualization.letters import write
from lightning_cam.visualization.prepared import CONTRAST, to_tiles
from lightning_cam.visualization.scene import Scene

MOST_ERRORS = 4  # images whose two maps are set against each other
ENDS = "for the predicted class", "for the label"
TITLE = "where label and prediction differ"


@dataclass(frozen=True, eq=False)
class ErrorTiles:
    """Of some images whose prediction is not their label.

    Args:
        rows: Which images these are.
        tiles: The images; under the maps of their label; under those of the predicted class; under what
            speaks for the label, and for the predicted class.
        colors: From the predicted class to the label.
        count: How many errors there are in the probe.
    """

    rows: Sequence[int]
    tiles: Sequence[Tiles]
    colors: ColorTable
    count: int


def errors_of(scene: Scene, wrong: Sequence[int]) -> ErrorTiles | None:
    """The first four of the shown images that are answered wrongly, ``wrong``; None where there are none, or
    no maps of their predicted classes.
    """
    if scene.confusions is None or not wrong:
        return None
    kept = list(wrong[:MOST_ERRORS])
    rows, peaks = torch.tensor(kept), scene.peaks(scene.cams[scene.shown])
    ends, some = None if peaks is None else peaks[rows], scene.strip.of(rows)
    predicted, contrast = (maps[rows] for maps in scene.confusions)
    label, other = (some.under(maps, ends, scene.strongest) for maps in (scene.cams[rows], predicted))
    tiles = to_tiles(some.pictures, label, other, some.opposed(contrast))
    return ErrorTiles(kept, tiles, color_bar(CONTRAST, signed=True), scene.right.count(False))


def error_panel(errors: ErrorTiles, captions: Sequence[Caption]) -> Image.Image:
    """The errors one below the other, each four tiles wide."""
    height, width = errors.tiles[0].shape[1:3]
    across = math.ceil(max(4 * (width + FRAME) + FRAME, bar_width(*ENDS)))
    head, step = 3 * LINE + 8, height + 2 * FRAME + 3 * LINE + GAP
    panel = Image.new("RGB", (across, head + len(errors.rows) * step), PAPER)
    draw = ImageDraw.Draw(panel)
    many = f"{errors.count} error{'s' if errors.count > 1 else ''}"
    said = many if len(errors.rows) == errors.count else f"{len(errors.rows)} of {many} shown"
    write(draw, (0, 0), TITLE, INK, 14, bold=True)
    write(draw, (0, LINE), said, INK)
    draw_color_bar(panel, (0, 2 * LINE + 2), errors.colors, *ENDS)
    for i, row in enumerate(errors.rows):
        top = head + i * step
        draw_framed(panel, [tiles[i] for tiles in errors.tiles], (0, top), WRONG)
        y = top + height + 2 * FRAME + 2
        for number, title in enumerate(("image", "label", "predicted", "contrast")):
            write(draw, (FRAME + number * (width + FRAME), y), fit_text(title, width, 11), FAINT, 11)
        caption = captions[row]
        draw_words(draw, (FRAME, y + LINE - 2), ("label ", caption.label or "", ""), across, INK)
        words = ("predicted ", caption.predicted, caption.percent)
        draw_words(draw, (FRAME, y + 2 * LINE - 4), words, across, WRONG)
    return panel
