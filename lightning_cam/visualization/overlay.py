"""The overlay: each image beside its map, and below, where label and prediction differ, what speaks for
which.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lightning_cam.attribution.maps import BLANK_REASONS, NO_EVIDENCE
from lightning_cam.typing import ColorTable, Labels, Rgb, Tiles
from lightning_cam.visualization.blend import color_bar, overlay_parts
from lightning_cam.visualization.canvas import (
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
    Draw,
    Key,
    answer_color,
    columns_for,
    draw_color_bar,
    draw_header,
    draw_key,
    draw_symbol,
    draw_words,
    fit_text,
    image_of,
    least_width,
)
from lightning_cam.visualization.captions import (
    likeliest_absent,
    number_and_truth,
    percent_words,
    present_labels,
)
from lightning_cam.visualization.label_maps import draw_label_maps
from lightning_cam.visualization.letters import Color, write
from lightning_cam.visualization.prepared import CONTRAST, to_tiles
from lightning_cam.visualization.projection import flatten_maps
from lightning_cam.visualization.scene import Scene, legend_key, part_legend

MOST_CONFUSIONS = 4  # images whose two maps are set against each other
NO_CLASS_EVIDENCE = BLANK_REASONS.index(NO_EVIDENCE)


@dataclass(frozen=True)
class Caption:
    """What stands below an image.

    Args:
        right: Whether the prediction is the label; None where there is no label.
        label: The true class; None where nobody knows.
        predicted: The predicted class.
        confidence: Its probability, in [0, 1]; NaN where the scores are not finite.
        blank: Why the map is blank, and the name of the class that it lacks evidence for; both empty where
            the map is not blank, the name also where the reason is another one.
        words: Lines that stand in place of label and prediction, for several labels and for numbers.
        is_judged: Whether an answer can be right: else there is no frame and no symbol.
    """

    right: bool | None
    label: str | None
    predicted: str
    confidence: float
    blank: tuple[str, str] = ("", "")
    words: tuple[str, ...] = ()
    is_judged: bool = True

    @property
    def color(self) -> Color:
        """Of the frame."""
        return answer_color(self.right) if self.is_judged else PAPER

    @property
    def percent(self) -> str:
        """The probability in words, after a space."""
        return f" {percent_words(self.confidence)}"


@dataclass(frozen=True, eq=False)
class ConfusionTiles:
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


def overlay_picture(
    images: Tiles,
    overlays: Tiles,
    captions: Sequence[Caption],
    header: tuple[str, str],
    key: Key,
    confusions: ConfusionTiles | None = None,
) -> Image.Image:
    """Image and overlay side by side for each shown image, with its caption; cells fill rows to a shape that
    suits a screen.

    Args:
        header: Two lines: when, and what was asked.
    """
    height, width = images.shape[1:3]
    lines = 3 if any(any(caption.blank) for caption in captions) else 2
    cell = (max(2 * width + 3 * FRAME, NARROWEST), height + 2 * FRAME + lines * LINE + 4)
    columns = columns_for(len(captions), cell)
    rows = -(-len(captions) // columns)
    canvas_width = max(2 * MARGIN + columns * cell[0] + (columns - 1) * GAP, least_width(header, key))
    below = TOP + rows * (cell[1] + GAP)
    wide = 4 * width + 5 * FRAME
    across = max(1, (canvas_width - 2 * MARGIN + GAP) // (wide + GAP))
    if confusions is not None:
        canvas_width = max(canvas_width, 2 * MARGIN + wide)
    deep = height + 2 * FRAME + 3 * LINE + GAP
    more = 0 if confusions is None else -(-len(confusions.rows) // across) * deep + 2 * LINE + 8
    picture = Image.new("RGB", (canvas_width, below + more + FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    draw_header(draw, header, canvas_width)
    for i, caption in enumerate(captions):
        x = MARGIN + i % columns * (cell[0] + GAP)
        y = TOP + i // columns * (cell[1] + GAP)
        _framed(picture, [images[i], overlays[i]], (x, y), caption.color)
        y += height + 2 * FRAME + 4
        if caption.is_judged:
            draw_symbol(draw, (x, y + 3), caption.right)
        indent = x + (16 if caption.is_judged else FRAME)
        room = x + cell[0] - indent
        for line, (words, color) in enumerate(_lines(caption)):
            draw_words(draw, (indent, y + line * LINE), words, room, color)
        if any(caption.blank):
            draw_words(draw, (indent, y + 2 * LINE), (*caption.blank, ""), room, INK)
    if confusions is not None:
        write(draw, (MARGIN, below), "where label and prediction differ", INK, 14, bold=True)
        ends = "for the predicted class", "for the label"
        draw_color_bar(picture, (MARGIN, below + LINE + 4), confusions.colors, *ends)
        for i, row in enumerate(confusions.rows):
            place = MARGIN + i % across * (wide + GAP), below + 2 * LINE + 8 + i // across * deep
            tiles = [images[row], overlays[row], confusions.predicted[i], confusions.contrast[i]]
            _framed(picture, tiles, place, WRONG)
            x, y = place[0] + FRAME, place[1] + height + 2 * FRAME + 2
            for number, title in enumerate(("image", "label", "predicted", "contrast")):
                write(draw, (x + number * (width + FRAME), y), fit_text(title, width, 11), FAINT, 11)
            caption = captions[row]
            draw_words(draw, (x, y + LINE - 2), ("label ", caption.label or "", ""), wide, INK)
            draw_words(
                draw, (x, y + 2 * LINE - 4), ("predicted ", caption.predicted, caption.percent), wide, WRONG
            )
    draw_key(picture, key)
    return picture


def _lines(caption: Caption) -> list[tuple[tuple[str, str, str], Color]]:
    """What stands below an image, line by line, each in its colour."""
    if caption.words:
        return [(("", text, ""), INK) for text in caption.words]
    predicted = ("predicted ", caption.predicted, caption.percent)
    known = (("", "no label", ""), FAINT) if caption.label is None else (("label ", caption.label, ""), INK)
    return [(predicted, caption.color), known]


def _framed(picture: Image.Image, tiles: Sequence[Tensor], place: tuple[int, int], color: Color) -> None:
    """Tiles in a row, in one frame."""
    x, y = place
    height, width = tiles[0].shape[:2]
    right, bottom = x + len(tiles) * (width + FRAME) + FRAME - 1, y + height + 2 * FRAME - 1
    ImageDraw.Draw(picture).rectangle((x, y, right, bottom), fill=color)
    for number, tile in enumerate(tiles):
        picture.paste(image_of(tile), (x + FRAME + number * (width + FRAME), y + FRAME))


def draw_overlay(scene: Scene) -> Draw | None:
    """Draws each shown image beside its overlay, with true and predicted class; below, where the two differ,
    what speaks for which. Parts are drawn in place of maps, each in its own colour. Of several labels each
    present one has its map where they were made.
    """
    if scene.is_last:
        return None
    if scene.label_maps is not None and scene.parts is None:
        return draw_label_maps(scene, scene.label_maps)
    drawn, shown, reasons = scene.grid, scene.shown, scene.reasons[scene.shown]
    peaks = scene.peaks(scene.cams[shown])
    legend: Sequence[tuple[str, Color]] = ()
    if scene.parts is None:
        over = drawn.under(scene.cams[shown], peaks)
    else:
        parts = scene.parts[shown]
        reasons = torch.where((parts > 0).flatten(1).any(dim=1), 0, reasons)
        over = overlay_parts(drawn.pictures, flatten_maps(parts, drawn.sides, drawn.size))
        legend = part_legend(parts.shape[1])
    captions = _captions(scene, reasons)

    # The mistakes that the model is surest of come first.
    wrong = [row for row, caption in enumerate(captions) if caption.right is False]
    wrong = sorted(wrong, key=lambda row: -captions[row].confidence)[:MOST_CONFUSIONS]
    apart: list[Rgb] = []
    if scene.confusions is not None and wrong:
        rows = torch.tensor(wrong, device=scene.images.device)
        predicted, contrast = (maps[rows] for maps in scene.confusions)
        some = drawn.of(rows)
        apart = [some.under(predicted, None if peaks is None else peaks[rows]), some.opposed(contrast)]

    masks = None if scene.probe.masks is None else scene.probe.masks[shown]
    plain, overlays, *others = to_tiles(*drawn.around(masks, drawn.pictures, over), *apart)
    beside = ConfusionTiles(wrong, others[0], others[1], color_bar(CONTRAST, signed=True)) if others else None
    key = legend_key(scene.style, masks is not None, legend, scene.is_judged)
    return partial(overlay_picture, plain, overlays, captions, scene.header(scene.when), key, beside)


def _captions(scene: Scene, reasons: Labels) -> list[Caption]:
    shares = scene.row.shares(scene.scores[scene.shown])
    predicted, confidence = (found.tolist() for found in scene.row.answers(scene.scores[scene.shown]))
    explained = [None] * len(reasons) if scene.target_classes is None else scene.target_classes.tolist()
    captions = []
    for row, reason in enumerate(reasons.tolist()):
        label, target = scene.labels[row], explained[row]
        blank = (f"blank: {BLANK_REASONS[reason]}", "") if reason else ("", "")
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
