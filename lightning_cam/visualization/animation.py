"""The looks one after another: how the maps moved over training."""

from collections.abc import Sequence
from functools import partial

from PIL import Image, ImageDraw

from lightning_cam.typing import Tiles
from lightning_cam.visualization.canvas import (
    FOOT,
    GAP,
    MARGIN,
    PAPER,
    TOP,
    Draw,
    Key,
    answer_color,
    columns_for,
    draw_header,
    draw_key,
    image_of,
    least_width,
)
from lightning_cam.visualization.evolution import BLUE, column_of
from lightning_cam.visualization.prepared import to_tiles
from lightning_cam.visualization.scene import Scene, legend_key

MOST_FRAMES, MOST_IMAGES = 16, 8


def frames(
    looks: Sequence[Tiles],
    titles: Sequence[str],
    rights: Sequence[Sequence[bool | None]],
    header: str,
    key: Key,
) -> list[Image.Image]:
    """One picture a look, all alike but for the overlays: to be shown one after another.

    Args:
        looks: One batch of overlays per look.
        rights: Per look and image whether the prediction was right.
    """
    count, height, width = looks[0].shape[:3]
    step = (width + GAP // 2, height + GAP)
    across = columns_for(count, step)
    down = -(-count // across)
    size = (
        max(2 * MARGIN + across * step[0], least_width(("", header), key)),
        TOP + down * step[1] + 4 + FOOT,
    )
    made = []
    for place, (tiles, title, right) in enumerate(zip(looks, titles, rights, strict=True)):
        picture = Image.new("RGB", size, PAPER)
        draw = ImageDraw.Draw(picture)
        draw_header(draw, (title, header), size[0])
        done = round((size[0] - 2 * MARGIN) * (place + 1) / len(looks))
        draw.rectangle((MARGIN, TOP - 7, MARGIN + done, TOP - 5), fill=BLUE)
        for i, tile in enumerate(tiles):
            x, y = MARGIN + i % across * step[0], TOP + i // across * step[1]
            picture.paste(image_of(tile), (x, y))
            if key.symbols:
                draw.rectangle(
                    (x, y + height + 1, x + width - 1, y + height + 4), fill=answer_color(right[i])
                )
        draw_key(picture, key)
        made.append(picture)
    return made


def draw_animation(scene: Scene) -> Draw | None:
    """Draws the first eight images at the looks of a fit one after another, those between which most changed,
    at most 16, at its end, where the style asks for it.
    """
    is_asked_for = scene.style.animation and scene.is_last
    if not scene.in_fit or not is_asked_for or len(scene.history) < 2:
        return None
    shown = slice(0, min(MOST_IMAGES, scene.shown.stop))
    looks = scene.history.columns(MOST_FRAMES)
    drawn, peaks = scene.strip.of(shown), scene.peaks(looks[-1].cams[shown].to(scene.images.device))
    masks = None if scene.probe.masks is None else scene.probe.masks[shown]

    # One look after another: together they would take as much of the device's memory as hundreds of images.
    tiles = []
    for look in looks:
        tiles += to_tiles(*drawn.around(masks, drawn.under(look.cams[shown], peaks, scene.strongest_of_run)))
    columns = [column_of(look, shown.stop, scene.is_judged) for look in looks]
    titles, rights = [column.title for column in columns], [column.right for column in columns]
    header = scene.header("")[1]
    key = legend_key(scene.style, masks is not None, is_judged=scene.is_judged)
    return partial(frames, tiles, titles, rights, header, key)
