"""The overlay: each image under its map, and beside them, where label and prediction differ, what speaks for
which.
"""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from PIL import Image, ImageDraw

from lightning_cam.attribution.maps import BLANK_REASONS, NO_EVIDENCE
from lightning_cam.typing import Labels, Tiles
from lightning_cam.visualization.blend import overlay_parts, paled
from lightning_cam.visualization.canvas import (
    BLANK,
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
    Draw,
    Key,
    arranged,
    draw_framed,
    draw_header,
    draw_key,
    draw_remark,
    draw_symbol,
    draw_words,
    least_width,
)
from lightning_cam.visualization.captions import (
    Caption,
    likeliest_absent,
    number_and_truth,
    percent_words,
    present_labels,
)
from lightning_cam.visualization.errors import ErrorTiles, error_panel, errors_of
from lightning_cam.visualization.label_maps import draw_label_maps
from lightning_cam.visualization.letters import Color
from lightning_cam.visualization.prepared import to_tiles
from lightning_cam.visualization.projection import flatten_maps
from lightning_cam.visualization.scene import Scene, legend_key, part_legend, weak_note

NO_CLASS_EVIDENCE = BLANK_REASONS.index(NO_EVIDENCE)


def overlay_picture(
    overlays: Tiles,
    captions: Sequence[Caption],
    header: tuple[str, str],
    key: Key,
    errors: ErrorTiles | None = None,
) -> Image.Image:
    """Each shown image under its map, with its caption; where label and prediction differ, the errors beside
    or below.

    Args:
        header: Two lines: when, and what was asked.
    """
    height, width = overlays.shape[1:3]
    lines = 3 if any(any(caption.blank) or caption.weak for caption in captions) else 2
    cell = (max(width + 2 * FRAME, NARROWEST), height + 2 * FRAME + lines * LINE + 4)
    panel = None if errors is None else error_panel(errors, captions)
    beside = (0, 0) if panel is None else (panel.width + 2 * GAP, panel.height)
    columns, size, place = arranged(len(captions), (cell[0] + GAP, cell[1] + GAP), beside)
    canvas_width = max(2 * MARGIN + size[0] - GAP, least_width(header, key))
    picture = Image.new("RGB", (canvas_width, TOP + size[1] + FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    draw_header(draw, header, canvas_width)
    for i, caption in enumerate(captions):
        x = MARGIN + i % columns * (cell[0] + GAP)
        y = TOP + i // columns * (cell[1] + GAP)
        draw_framed(picture, [overlays[i]], (x, y), caption.color)
        if any(caption.blank):
            draw_remark(draw, (x + FRAME, y + FRAME), BLANK)
        y += height + 2 * FRAME + 4
        if caption.is_judged:
            draw_symbol(draw, (x, y + 3), caption.right)
        indent = x + (16 if caption.is_judged else FRAME)
        room = x + cell[0] - indent
        for line, (words, color) in enumerate(_lines(caption)):
            draw_words(draw, (indent, y + line * LINE), words, room, color)
    if panel is not None:
        picture.paste(panel, (MARGIN + place[0] + (GAP if place[0] else 0), TOP + place[1]))
    draw_key(picture, key)
    return picture


def _lines(caption: Caption) -> list[tuple[tuple[str, str, str], Color]]:
    """What stands below an image, line by line, each in its colour."""
    if caption.words:
        said = [(("", text, ""), INK) for text in caption.words]
    else:
        known = caption.label is not None
        truth = ("label ", caption.label or "", "") if known else ("", "no label", "")
        said = [
            (("predicted ", caption.predicted, caption.percent), caption.color),
            (truth, INK if known else FAINT),
        ]
    if any(caption.blank):
        blank = (*caption.blank, "") if caption.blank[1] else ("", caption.blank[0], "")
        return [*said[:2], (blank, INK)]
    return [*said[:2], (("", caption.weak, ""), INK)] if caption.weak else said


def draw_overlay(scene: Scene) -> Draw | None:
    """Draws each shown image under its map, with true and predicted class; beside them, where the two differ,
    what speaks for which. Parts are drawn in place of maps, each in its own colour. Of several labels each
    present one has its map where they were made.
    """
    if scene.is_last:
        return None
    if scene.label_maps is not None and scene.parts is None:
        return draw_label_maps(scene, scene.label_maps)
    drawn, shown, reasons = scene.grid, scene.shown, scene.reasons[scene.shown]
    peaks, weak = scene.peaks(scene.cams[shown]), scene.weak(scene.cams[shown], scene.strongest)
    legend: Sequence[tuple[str, Color]] = ()
    if scene.parts is None:
        over = drawn.under(scene.cams[shown], peaks, scene.strongest)
    else:
        parts, weak = scene.parts[shown], [""] * len(weak)
        reasons = torch.where((parts > 0).flatten(1).any(dim=1), 0, reasons)
        over = overlay_parts(drawn.pictures, flatten_maps(parts, drawn.sides, drawn.size))
        over = torch.where((reasons > 0)[:, None, None, None], paled(drawn.pictures), over)
        legend = part_legend(parts.shape[1])
    captions = _captions(scene, reasons, weak)

    masks = None if scene.probe.masks is None else scene.probe.masks[shown]
    (tiles,) = to_tiles(*drawn.around(masks, over))
    key = legend_key(scene.style, masks is not None, legend, scene.is_judged)
    if any(weak):
        key = replace(key, note=weak_note("this look"))
    wrong = [row for row, caption in enumerate(captions) if caption.right is False]
    errors = errors_of(scene, sorted(wrong, key=lambda row: -captions[row].confidence))
    return partial(overlay_picture, tiles, captions, scene.header(scene.when), key, errors)


def _captions(scene: Scene, reasons: Labels, weak: Sequence[str]) -> list[Caption]:
    shares = scene.row.shares(scene.scores[scene.shown])
    predicted, confidence = (found.tolist() for found in scene.row.answers(scene.scores[scene.shown]))
    explained = [None] * len(reasons) if scene.target_classes is None else scene.target_classes.tolist()
    captions = []
    for row, reason in enumerate(reasons.tolist()):
        label, target = scene.labels[row], explained[row]
        blank = (BLANK_REASONS[reason], "") if reason else ("", "")
        if reason and scene.row.several and target is None and not scene.has_labels(row):
            blank = ("no label is present, so none is explained", "")
        elif reason == NO_CLASS_EVIDENCE and scene.row.has_classes:
            blank = ("no evidence for ", "the class" if target is None else scene.name(target))
        captions.append(
            Caption(
                right=scene.right[row],
                label=None if label is None else scene.name(label),
                predicted=scene.name(predicted[row]),
                confidence=confidence[row],
                blank=blank,
                weak=weak[row],
                words=_words(scene, row, None if shares is None else shares[row].tolist()),
                is_judged=scene.is_judged,
            )
        )
    return captions


def _words(scene: Scene, row: int, shares: Sequence[float] | None) -> tuple[str, ...]:
    """The lines of a regression and of several labels; none for one class, which has label and prediction."""
    if shares is None:
        return (number_and_truth(scene.scores[row], None if scene.truth is None else scene.truth[row]),)
    if not scene.row.several or scene.truth is None:
        return ()
    present = present_labels(scene.truth, row)
    said = ", ".join(f"{scene.name(label)} {percent_words(shares[label])}" for label in present)
    other = likeliest_absent(scene.truth, row, shares)
    likeliest = (
        "" if other is None else f"likeliest absent: {scene.name(other)} {percent_words(shares[other])}"
    )
    return (said or "none of the labels", likeliest)
