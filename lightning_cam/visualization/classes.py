"""The mean map of each class, and the difference between two classes' maps."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from lightning_cam.attribution.maps import balanced, normalize
from lightning_cam.typing import ColorTable, Tiles
from lightning_cam.visualization.blend import color_bar
from lightning_cam.visualization.canvas import (
    FAINT,
    FOOT,
    GAP,
    INK,
    LINE,
    MARGIN,
    PAPER,
    TOP,
    Draw,
    Key,
    bar_width,
    draw_color_bar,
    draw_header,
    draw_key,
    draw_words,
    fit_text,
    image_of,
    least_width,
)
from lightning_cam.visualization.label_maps import maps_by_label
from lightning_cam.visualization.letters import write
from lightning_cam.visualization.prepared import CONTRAST, to_tiles
from lightning_cam.visualization.scene import Header, Scene, legend_key

MOST_CLASSES_DRAWN = 8  # those with most images
NARROWEST_TILE = 144  # "(mistaken for it, 16 of 16)" needs this width


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


def class_picture(
    means: Tiles,
    overlays: Tiles,
    names: Sequence[str],
    counts: Sequence[str],
    pairs: Pairs,
    header: Header,
    key: Key,
    noun: str = "class",
) -> Image.Image:
    """A column per class: its mean image, and its mean map over it; below, pairs of classes.

    Args:
        counts: How many images, in words.
        noun: What a column is of: a class, or a label.
    """
    height, width = means.shape[1:3]
    step = max(width, NARROWEST_TILE) + GAP
    across = max(len(names), len(pairs.names))
    ends = f"the second {noun}", f"the first {noun} (ends: {pairs.most:.2f} of a map's maximum)"
    widths = across * step - GAP, math.ceil(bar_width(*ends))
    canvas_width = max(2 * MARGIN + max(widths), least_width(header, key))
    second = TOP + 2 * LINE + 2 * (height + 4) + GAP
    picture = Image.new("RGB", (canvas_width, second + 5 * LINE + 10 + height + FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    draw_header(draw, header, canvas_width)
    for i, (name, count) in enumerate(zip(names, counts, strict=True)):
        x, y = MARGIN + i * step, TOP
        write(draw, (x, y), fit_text(name, step - 6), INK)
        write(draw, (x, y + LINE - 2), fit_text(count, step - 6, 11), FAINT, 11)
        picture.paste(image_of(means[i]), (x, y + 2 * LINE))
        picture.paste(image_of(overlays[i]), (x, y + 2 * LINE + height + 4))
    write(draw, (MARGIN, second), f"where one {noun} is looked at more than another", INK, 14, bold=True)
    draw_color_bar(picture, (MARGIN, second + LINE + 4), pairs.colors, *ends)
    for i, ((one, other), why) in enumerate(zip(pairs.names, pairs.why, strict=True)):
        x, y = MARGIN + i * step, second + 2 * LINE + 8
        picture.paste(image_of(pairs.tiles[i]), (x, y))
        draw_words(draw, (x, y + height + 2), ("maps of ", one, ""), step - 6, INK)
        draw_words(draw, (x, y + height + LINE), ("- maps of ", other, ""), step - 6, INK)
        write(draw, (x, y + height + 2 * LINE), fit_text(f"({why})", step - 6, 11), FAINT, 11)
    draw_key(picture, key)
    return picture


def draw_classes(scene: Scene) -> Draw | None:
    """Draws the mean map of each class over its mean image, and where one class is looked at more than
    another.

    At most eight classes, those with most images. A class stands beside the one that it is most often
    mistaken for, else the next. Of several labels those maps are taken that are of one label alone, where
    there are such. None where there are no two classes. In a fit it is shown at 1, 2,
    4, 8, ... looks and at the end.
    """
    groups = _groups(scene)
    largest = Counter({label: len(rows) for label, (rows, _) in groups.items()})
    classes = sorted(label for label, _ in largest.most_common(MOST_CLASSES_DRAWN))
    is_shown = scene.is_news if scene.in_fit else not scene.is_last
    if len(classes) < 2 or not is_shown:
        return None
    style = replace(scene.style, foreground=None)

    # The mean image and the mean map of each class.
    shares = [
        balanced(groups[label][1]) if style.signed else normalize(groups[label][1]) for label in classes
    ]
    means = torch.stack([own.mean(dim=0) for own in shares])
    average = replace(scene.means([torch.tensor(groups[label][0]) for label in classes]), style=style)

    noun = "label" if scene.row.several else "class"

    # Pairs of classes, and what their mean maps differ by.
    pairs = _pairs(classes, scene.labels, scene.predicted, f"the next {noun}")
    ones, others = (torch.tensor(side) for side in zip(*pairs, strict=True))
    middle = replace(average, pictures=(average.pictures[ones] + average.pictures[others]) / 2)
    differences = means[ones] - means[others]
    most = differences.abs().max()
    opposed = middle.opposed(differences, most.expand(len(differences)))
    over = average.under(means, means.new_ones(len(classes)))
    plain, overlays, apart = to_tiles(average.pictures, over, opposed)

    names = [scene.name(label) for label in classes]
    counts = [f"mean of {len(groups[label][0])}" for label in classes]
    named = [(names[one], names[other]) for one, other in pairs]
    beside = Pairs(apart, named, list(pairs.values()), most.item(), color_bar(CONTRAST, signed=True))
    most_words = f"all maps of the {noun} are strongest here"
    low, high = ("against", f"for (ends: {most_words})") if style.signed else ("none", most_words)
    key = replace(legend_key(style, False), low=low, scale=high, symbols=False)
    header = scene.header(f"{'labels' if scene.row.several else 'classes'} · {scene.when}")
    return partial(class_picture, plain, overlays, names, counts, beside, header, key, noun)


def _groups(scene: Scene) -> dict[int, tuple[list[int], Tensor]]:
    """Of each class, or of each of several labels, which images have it, and their maps."""
    if scene.row.several and scene.label_maps is not None:
        return maps_by_label(scene.label_maps)
    if scene.row.several and scene.truth is not None:
        columns = {label: (own > 0.5).nonzero()[:, 0] for label, own in enumerate(scene.truth.unbind(dim=1))}
    else:
        labels = torch.tensor([-1 if label is None else label for label in scene.labels])
        columns = {
            label: (labels == label).nonzero()[:, 0] for label in set(scene.labels) if label is not None
        }
    return {label: (rows.tolist(), scene.cams[rows]) for label, rows in columns.items() if len(rows)}


def _pairs(
    classes: Sequence[int], truth: Sequence[int | None], predicted: Sequence[int], next_one: str
) -> dict[tuple[int, int], str]:
    """Places of two classes in ``classes``, and why these two: each class with the one that it is most often
    mistaken for, else with the next.
    """
    pairs: dict[tuple[int, int], str] = {}
    for place, label in enumerate(classes):
        answers = [answer for answer, own in zip(predicted, truth, strict=True) if own == label]
        mistakes = Counter(answer for answer in answers if answer in classes and answer != label)
        other, why = (place + 1) % len(classes), next_one
        for mistaken_for, times in mistakes.most_common(1):
            other, why = classes.index(mistaken_for), f"mistaken for it, {times} of {len(answers)}"
        if (other, place) not in pairs:
            pairs[place, other] = why
    return pairs
