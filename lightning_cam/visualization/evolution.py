"""How the maps changed over training: one row an image, one column a look; and the same as an animation."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from PIL import Image, ImageDraw

from lightning_cam.data.history import History
from lightning_cam.data.probe import Probe
from lightning_cam.typing import Cams, Images, Tiles
from lightning_cam.visualization.canvas import (
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
    WRONG,
    Color,
    Draw,
    Key,
    answer_color,
    columns_for,
    draw_header,
    draw_key,
    draw_symbol,
    fit_text,
    font,
    image_of,
    least_width,
    text_width,
)
from lightning_cam.visualization.scene import (
    STRIP_TILES,
    Style,
    drawn_name,
    is_right,
    legend_key,
    prepare_images,
    shared_peaks,
    shown_labels,
    to_tiles,
    with_layout,
)

CHART, LEAST_TOP = (
    110,
    0.05,
)  # width of a row's chart in pixels, and what its height stands for at least, in bits
BLUE = (0, 114, 178)  # after Okabe and Ito


@dataclass(frozen=True)
class Column:
    """One look in the film strip: its title, and per row whether the prediction was right and a remark in
    place of the map.
    """

    title: str
    right: tuple[bool | None, ...]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One image in the film strip.

    Args:
        name: Of its class.
        remarks: What is to be said of it now, in a few words, each in its colour.
        changes: Of each look so far, how far the map lies from that of the look before, in bits; NaN where
            nobody knows.
    """

    name: str
    remarks: tuple[tuple[str, Color], ...] = ()
    changes: tuple[float, ...] = ()


def evolution_picture(
    images: Tiles,
    overlays: Sequence[Tiles],
    columns: Sequence[Column],
    rows: Sequence[Row],
    header: tuple[str, str],
    key: Key,
) -> Image.Image:
    """Rows are images, columns the looks so far; on the right, where maps changed, a chart of how far, look
    by look.

    Args:
        overlays: One batch of tiles per column.
    """
    height, width = images.shape[1:3]
    step = (max(width, REMARK) + 6, max(height, LINE) + BADGE + 4)
    names = min(
        140,
        round(
            max(text_width(text) for row in rows for text in (row.name, *(said for said, _ in row.remarks)))
        )
        + 10,
    )
    left, top = MARGIN + names, TOP + LINE
    most = max((change for row in rows for change in row.changes if math.isfinite(change)), default=0.0)
    chart = left + (1 + len(columns)) * step[0] if most else 0
    canvas_width = max(
        left + (1 + len(columns)) * step[0] + (CHART if most else 0) + MARGIN, least_width(header, key)
    )
    picture = Image.new("RGB", (canvas_width, top + len(rows) * step[1] + 8 + FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    draw_header(draw, header, canvas_width)
    for i, title in enumerate(["image", *(column.title for column in columns)]):
        draw.text((left + i * step[0], top - LINE - 2), fit_text(title, step[0] - 4), INK, font())
    if most:
        draw.text((chart, top - LINE - 2), "change, bit", INK, font())
    for number, row in enumerate(rows):
        y = top + number * step[1]
        said = [(row.name, INK), *row.remarks]
        first = y + height // 2 - 8 if len(said) == 1 else max(y, y + height // 2 - len(said) * 8)
        for line, (text, color) in enumerate(said):
            draw.text((MARGIN, first + 16 * line), fit_text(text, names - 8), color, font())
        picture.paste(image_of(images[number]), (left, y))
        for i, column in enumerate(columns, start=1):
            x = left + i * step[0]
            if column.remarks[number]:
                draw.rectangle(
                    (x, y, x + max(width, REMARK) - 1, y + max(height, LINE) - 1), fill=(232, 232, 232)
                )
                draw.text((x + 4, y + 2), column.remarks[number], FAINT, font(11))
            else:
                picture.paste(image_of(overlays[i - 1][number]), (x, y))
            if column.remarks[number] and column.right[number] is None:
                continue
            # Below the tile, where it hides no evidence.
            below = y + max(height, LINE) + 1
            draw.rectangle((x, below, x + width - 1, below + 2), fill=answer_color(column.right[number]))
            draw_symbol(draw, (x + 1, below + 5), column.right[number])
        if most:
            _chart(draw, (chart, y), (CHART - 6, max(height, LINE)), row.changes, max(most, LEAST_TOP))
    draw_key(picture, key)
    return picture


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
            draw.rectangle((x, y + height + 1, x + width - 1, y + height + 4), fill=answer_color(right[i]))
        draw_key(picture, key)
        made.append(picture)
    return made


def _chart(
    draw: ImageDraw.ImageDraw,
    place: tuple[int, int],
    size: tuple[int, int],
    values: Sequence[float],
    most: float,
) -> None:
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
    draw.text((x, y + height + 3), f"last {known[-1][1]:.2f}, most {largest:.2f}", FAINT, font(11))


STRIP_ROWS, STRIP_COLUMNS = 8, 10
MOST_FRAMES = 24  # of the animation
WORTH_A_MARK = 0.02  # bit: below, the image that changed most has not changed


def draw_evolution(
    images: Images, history: History, probe: Probe, header: tuple[str, str], style: Style
) -> Draw:
    """Draws a film strip: rows are the first probe images, columns the looks between which most changed, the
    untrained first.
    """
    rows, looks = slice(0, min(STRIP_ROWS, len(images))), history.columns(STRIP_COLUMNS)
    drawn, peaks = (
        prepare_images(images[rows], style, STRIP_TILES),
        shared_peaks(history, style, looks[-1].cams[rows].to(images.device)),
    )
    masks = None if probe.masks is None else probe.masks[rows]
    (plain,) = drawn.around(masks, drawn.pictures)
    plain, *overlays = to_tiles(plain, *(drawn.under(look.cams[rows], peaks) for look in looks))
    labels = shown_labels(probe, len(plain))
    columns = [_column(look.epoch, look.cams[rows], look.predicted[rows].tolist(), labels) for look in looks]
    words = _rows(history, probe, labels), with_layout(header, images), legend_key(style, masks is not None)
    return partial(evolution_picture, plain, overlays, columns, *words)


def draw_animation(
    images: Images, history: History, probe: Probe, header: str, style: Style
) -> Callable[[], list[Image.Image]]:
    """Draws the looks one after another, those between which most changed, at most 24."""
    rows, looks = slice(0, len(images)), history.columns(MOST_FRAMES)
    drawn, peaks = (
        prepare_images(images, style, STRIP_TILES),
        shared_peaks(history, style, looks[-1].cams[rows].to(images.device)),
    )
    masks = None if probe.masks is None else probe.masks[rows]
    # One look after another: together they would take as much of the device's memory as hundreds of images.
    tiles = [
        to_tiles(*drawn.around(masks, drawn.under(look.cams[rows].nan_to_num(), peaks)))[0] for look in looks
    ]
    labels = shown_labels(probe, len(images))
    columns = [_column(look.epoch, look.cams[rows], look.predicted[rows].tolist(), labels) for look in looks]
    titles, rights = [column.title for column in columns], [column.right for column in columns]
    return partial(frames, tiles, titles, rights, header, legend_key(style, masks is not None))


def _rows(history: History, probe: Probe, labels: Sequence[int | None]) -> list[Row]:
    changes = [
        look.statistics["drift_last"][: len(labels)].tolist()
        for look in history.looks
        if "drift_last" in look.statistics
    ]
    last = changes[-1] if changes else []
    most = max((change for change in last if math.isfinite(change)), default=0.0)
    answers = history.looks[-1].predicted.tolist()
    rows = []
    for place, label in enumerate(labels):
        remarks = []
        if answers[place] >= 0 and is_right(answers[place], label) is False:
            remarks.append((f"now {drawn_name(probe, answers[place])}", WRONG))
        if len(labels) > 1 and last and last[place] == most >= WORTH_A_MARK:
            remarks.append(("changed most", BLUE))
        own = tuple(change[place] for change in changes)
        rows.append(Row("no label" if label is None else drawn_name(probe, label), tuple(remarks), own))
    return rows


def _column(epoch: int, cams: Cams, predicted: list[int], labels: list[int | None]) -> Column:
    seen = [answer >= 0 for answer in predicted]
    shows = (cams.flatten(1).amax(dim=1) > 0).tolist()
    remarks = tuple(
        "" if show else "blank" if known else "not looked at" for known, show in zip(seen, shows, strict=True)
    )
    right = tuple(
        is_right(answer, label) if known else None
        for answer, label, known in zip(predicted, labels, seen, strict=True)
    )
    return Column("untrained" if epoch < 0 else f"epoch {epoch}", right, remarks)
