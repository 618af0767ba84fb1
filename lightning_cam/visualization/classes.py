"""The mean map of each class, and the difference between two classes' maps."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from PIL import Image, ImageDraw

from lightning_cam.attribution.maps import balanced, normalize
from lightning_cam.typing import ColorTable, Tiles
from lightning_cam.visualization.blend import signed_bar
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
    font,
    image_of,
    least_width,
)
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
) -> Image.Image:
    """A column per class: its mean image, and its mean map over it; below, pairs of classes.

    Args:
        counts: How many images, in words.
    """
    height, width = means.shape[1:3]
    step = max(width, NARROWEST_TILE) + GAP
    across = max(len(names), len(pairs.names))
    ends = "the second class", f"the first class (ends: {pairs.most:.2f} of a map's maximum)"
    widths = across * step - GAP, math.ceil(bar_width(*ends))
    canvas_width = max(2 * MARGIN + max(widths), least_width(header, key))
    second = TOP + 2 * LINE + 2 * (height + 4) + GAP
    picture = Image.new("RGB", (canvas_width, second + 5 * LINE + 10 + height + FOOT), PAPER)
    draw = ImageDraw.Draw(picture)
    draw_header(draw, header, canvas_width)
    for i, (name, count) in enumerate(zip(names, counts, strict=True)):
        x, y = MARGIN + i * step, TOP
        draw.text((x, y), fit_text(name, step - 6), INK, font())
        draw.text((x, y + LINE - 2), fit_text(count, step - 6, 11), FAINT, font(11))
        picture.paste(image_of(means[i]), (x, y + 2 * LINE))
        picture.paste(image_of(overlays[i]), (x, y + 2 * LINE + height + 4))
    draw.text((MARGIN, second), "where one class is looked at more than another", INK, font(14, bold=True))
    draw_color_bar(picture, (MARGIN, second + LINE + 4), pairs.colors, *ends)
    for i, ((one, other), why) in enumerate(zip(pairs.names, pairs.why, strict=True)):
        x, y = MARGIN + i * step, second + 2 * LINE + 8
        picture.paste(image_of(pairs.tiles[i]), (x, y))
        draw_words(draw, (x, y + height + 2), ("maps of ", one, ""), step - 6, INK)
        draw_words(draw, (x, y + height + LINE), ("- maps of ", other, ""), step - 6, INK)
        draw.text((x, y + height + 2 * LINE), fit_text(f"({why})", step - 6, 11), FAINT, font(11))
    draw_key(picture, key)
    return picture


def draw_classes(scene: Scene) -> Draw | None:
    """Draws the mean map of each class over its mean image, and where one class is looked at more than
    another.

    At most eight classes, those with most images. A class stands beside the one that it is most often
    mistaken for, else the next. None where there are no two classes.
    """
    truth = [label for label in scene.labels if label is not None]
    classes = sorted(label for label, _ in Counter(truth).most_common(MOST_CLASSES_DRAWN))
    if scene.is_last or len(classes) < 2:
        return None
    style = replace(scene.style, foreground=None)
    labels = torch.tensor(truth)
    shares = balanced(scene.cams) if style.signed else normalize(scene.cams)

    # The mean image and the mean map of each class.
    of_class = [labels == label for label in classes]
    means = torch.stack([shares[own].mean(dim=0) for own in of_class])
    average = replace(scene.means(of_class), style=style)

    # Pairs of classes, and what their mean maps differ by.
    pairs = _pairs(classes, truth, scene.predicted)
    ones, others = (torch.tensor(side) for side in zip(*pairs, strict=True))
    middle = replace(average, pictures=(average.pictures[ones] + average.pictures[others]) / 2)
    differences = means[ones] - means[others]
    most = differences.abs().max()
    opposed = middle.opposed(differences, most.expand(len(differences)))
    over = average.under(means, means.new_ones(len(classes)))
    plain, overlays, apart = to_tiles(average.pictures, over, opposed)

    names = [scene.name(label) for label in classes]
    counts = [f"mean of {truth.count(label)}" for label in classes]
    named = [(names[one], names[other]) for one, other in pairs]
    beside = Pairs(apart, named, list(pairs.values()), most.item(), signed_bar(CONTRAST))
    most_words = "all maps of the class are strongest here"
    low, high = ("against", f"for (ends: {most_words})") if style.signed else ("none", most_words)
    key = replace(legend_key(style, False), low=low, scale=high, symbols=False)
    header = scene.header(f"classes · {scene.when}")
    return partial(class_picture, plain, overlays, names, counts, beside, header, key)


def _pairs(
    classes: Sequence[int], truth: Sequence[int], predicted: Sequence[int]
) -> dict[tuple[int, int], str]:
    """Places of two classes in ``classes``, and why these two: each class with the one that it is most often
    mistaken for, else with the next.
    """
    pairs: dict[tuple[int, int], str] = {}
    for place, label in enumerate(classes):
        answers = [answer for answer, own in zip(predicted, truth, strict=True) if own == label]
        mistakes = Counter(answer for answer in answers if answer in classes and answer != label)
        other, why = (place + 1) % len(classes), "the next class"
        for mistaken_for, times in mistakes.most_common(1):
            other, why = classes.index(mistaken_for), f"mistaken for it, {times} of {len(answers)}"
        if (other, place) not in pairs:
            pairs[place, other] = why
    return pairs
