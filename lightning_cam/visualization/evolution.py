"""How the maps changed over training: one row an image, one column a look."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from PIL import Image, ImageDraw

from lightning_cam.data.history import Look
from lightning_cam.typing import Tiles
from lightning_cam.visualization.canvas import (
    BADGE,
    BLANK,
    FAINT,
    FOOT,
    INK,
    LINE,
    MARGIN,
    PAPER,
    REMARK,
    TOP,
    WRONG,
    Draw,
    Key,
    answer_color,
    draw_header,
    draw_key,
    draw_remark,
    draw_symbol,
    fit_text,
    image_of,
    least_width,
)
from lightning_cam.visualization.captions import is_right, number_words
from lightning_cam.visualization.letters import Color, text_width, write
from lightning_cam.visualization.prepared import to_tiles
from lightning_cam.visualization.scene import Header, Scene, legend_key, weak_note

STRIP_ROWS, STRIP_COLUMNS = 6, 10
CHART = 110  # width of a row's chart, in pixels
LEAST_TOP = 0.05  # what the height of a chart stands for at least, in bits
WORTH_A_MARK = 0.02  # bit: below, the image that changed most has not changed
MOST_NAME = 210  # width of names and remarks at most, in pixels: "changed most since epoch 100" fits
BLUE = (0, 114, 178)  # after Okabe and Ito


@dataclass(frozen=True)
class Column:
    """One look in the film strip.

    Args:
        right: Of each row, whether the prediction was right.
        remarks: What is said in place of a map.
        numbers: What a regression yielded, in place of right and wrong.
        weak: How weak a map is beside the strongest one; empty where it is not.
    """

    title: str
    right: tuple[bool | None, ...]
    remarks: tuple[str, ...]
    numbers: tuple[str, ...] = ()
    weak: tuple[str, ...] = ()


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
    header: Header,
    key: Key,
) -> Image.Image:
    """Rows are images, columns the looks so far; on the right, where maps changed, a chart of how far, look
    by look.

    Args:
        overlays: One batch of tiles per column.
    """
    height, width = images.shape[1:3]
    step = (max(width, REMARK) + 6, max(height, LINE) + BADGE + 4)
    texts = [(row.name, *(said for said, _ in row.remarks)) for row in rows]
    widest = max(text_width(text) for said in texts for text in said)
    names = min(MOST_NAME, round(widest) + 10)
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
        write(draw, (left + i * step[0], top - LINE - 2), fit_text(title, step[0] - 4), INK)
    if most:
        write(draw, (chart, top - LINE - 2), "change, bit", INK)
    for number, row in enumerate(rows):
        y = top + number * step[1]
        said = [(row.name, INK), *row.remarks]
        first = y + height // 2 - 8 if len(said) == 1 else max(y, y + height // 2 - len(said) * 8)
        for line, (text, color) in enumerate(said):
            write(draw, (MARGIN, first + 16 * line), fit_text(text, names - 8), color)
        picture.paste(image_of(images[number]), (left, y))
        for i, column in enumerate(columns, start=1):
            x = left + i * step[0]
            picture.paste(image_of(overlays[i - 1][number]), (x, y))
            if column.remarks[number]:
                draw_remark(draw, (x, y), column.remarks[number])
            if column.remarks[number] and column.right[number] is None and not column.numbers:
                continue
            # Below the tile, where it hides no evidence.
            below = y + max(height, LINE) + 1
            if column.numbers:
                write(draw, (x, below), column.numbers[number], INK, 11)
                continue
            draw.rectangle((x, below, x + width - 1, below + 4), fill=answer_color(column.right[number]))
            draw_symbol(draw, (x + 1, below + 7), column.right[number])
            if column.weak:
                write(draw, (x + 18, below + 6), column.weak[number], FAINT, 11)
        if most:
            _chart(draw, (chart, y), (CHART - 6, max(height, LINE)), row.changes, max(most, LEAST_TOP))
    draw_key(picture, key)
    return picture


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
    write(draw, (x, y + height + 3), f"last {known[-1][1]:.2f}, most {largest:.2f}", FAINT, 11)


def draw_evolution(scene: Scene) -> Draw | None:
    """Draws a film strip of a fit: rows are the first probe images, columns the looks between which most
    changed, the untrained first. It is shown at 2, 4, 8, ... looks and at the end.
    """
    if not scene.in_fit or not scene.is_news or len(scene.history) < 2:
        return None
    rows = slice(0, min(STRIP_ROWS, scene.shown.stop))
    drawn, looks = scene.strip.of(rows), scene.history.columns(STRIP_COLUMNS)
    peaks = scene.peaks(looks[-1].cams[rows].to(scene.images.device))
    masks = None if scene.probe.masks is None else scene.probe.masks[rows]
    (plain,) = drawn.around(masks, drawn.pictures)
    over = [drawn.under(look.cams[rows], peaks, scene.strongest_of_run) for look in looks]
    plain, *overlays = to_tiles(plain, *over)
    header = scene.header(
        f"evolution until {scene.when}", "" if scene.parts is None else f"part 1 of {scene.asked}"
    )
    count = rows.stop
    weak = [scene.weak(look.cams[rows], scene.strongest_of_run) for look in looks]
    columns = [
        replace(column_of(look, count, scene.is_judged), weak=tuple(own))
        for look, own in zip(looks, weak, strict=True)
    ]
    key = legend_key(scene.style, masks is not None, is_judged=scene.is_judged)
    if any(map(any, weak)):
        key = replace(key, note=weak_note("the run"))
    return partial(evolution_picture, plain, overlays, columns, _rows(scene, count), header, key)


def column_of(look: Look, count: int, is_judged: bool) -> Column:
    """What is said of a look at the first ``count`` images.

    Args:
        is_judged: Whether answers are right or wrong; else they are numbers.
    """
    seen = (look.predicted[:count] >= 0).tolist()
    shows = (look.cams[:count].flatten(1).amax(dim=1) > 0).tolist()
    right = tuple(is_right(share) if is_judged else None for share in look.right[:count].tolist())
    remarks = [
        "" if show else BLANK if is_seen else "not looked at"
        for show, is_seen in zip(shows, seen, strict=True)
    ]
    answers = zip(look.confidence[:count].tolist(), seen, strict=True)
    numbers = () if is_judged else tuple(number_words(value) if is_seen else "" for value, is_seen in answers)
    return Column(title_of(look), right, tuple(remarks), numbers)


def title_of(look: Look) -> str:
    """When a look was made, in a word or two."""
    return "untrained" if look.epoch < 0 else f"epoch {look.epoch}"


def _rows(scene: Scene, count: int) -> list[Row]:
    looks = scene.history.looks
    known = [look.statistics["drift_last"] for look in looks if "drift_last" in look.statistics]
    changes = [drift[:count].tolist() for drift in known]
    last = changes[-1] if changes else []
    most = max((change for change in last if math.isfinite(change)), default=0.0)
    answers, right = looks[-1].predicted.tolist(), looks[-1].right.tolist()
    rows = []
    for place in range(count):
        remarks = []
        if is_right(right[place]) is False and scene.is_judged:
            several = f"{100 * (1 - right[place]):.0f} % of its labels wrong"
            now = several if scene.row.several else scene.name(answers[place])
            remarks.append((f"now {now}", WRONG))
        if count > 1 and last and last[place] == most >= WORTH_A_MARK:
            remarks.append((f"changed most{_since(looks)}", BLUE))
        own = tuple(change[place] for change in changes)
        truth = scene.truth_of(place)
        name = truth if scene.is_judged else f"true {truth}"
        rows.append(Row(name if truth else "no label", tuple(remarks), own))
    return rows


def _since(looks: Sequence[Look]) -> str:
    """Since the look before the last one, in words; nothing where there is none."""
    if len(looks) < 2:
        return ""
    before, now = looks[-2:]
    if before.epoch < 0:
        return " since the start"
    return f" since epoch {before.epoch}" if before.epoch != now.epoch else f" since step {before.step}"
