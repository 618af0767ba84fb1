"""The mean map of each class, and the difference between two classes' maps."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from PIL import Image, ImageDraw

from lightning_cam.attribution.maps import balanced, normalize
from lightning_cam.data.probe import Probe
from lightning_cam.typing import Cams, ColorTable, Images, Labels, Tiles
from lightning_cam.visualization.blend import (
    signed_bar,
)
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
    draw_color_bar,
    draw_header,
    draw_key,
    fit_text,
    font,
    image_of,
    least_width,
)
from lightning_cam.visualization.scene import (
    CONTRAST,
    STRIP_TILES,
    Style,
    drawn_name,
    legend_key,
    prepare_images,
    to_tiles,
    with_layout,
)

MOST_CLASSES = 8  # those with most images
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


def class_picture(
    means: Tiles,
    overlays: Tiles,
    names: Sequence[str],
    counts: Sequence[str],
    pairs: Pairs,
    header: tuple[str, str],
    key: Key,
) -> Image.Image:
    """A column per class: its mean image, and its mean map over it; below, pairs of classes.

    Args:
        counts: How many images, in words.
    """
    height, width = means.shape[1:3]
    step = max(width, NARROWEST_TILE) + GAP
    across = max(len(names), len(pairs.names))
    scale = f"the second class … 0 … the first; ends: {pairs.most:.2f} of a map's maximum"
    canvas_width = max(
        2 * MARGIN + across * step - GAP, least_width(header, key), 2 * MARGIN + Key(key.colors, scale).width
    )
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
    draw_color_bar(picture, (MARGIN, second + LINE + 4), pairs.colors, scale)
    for i, ((one, other), why) in enumerate(zip(pairs.names, pairs.why, strict=True)):
        x, y = MARGIN + i * step, second + 2 * LINE + 8
        picture.paste(image_of(pairs.tiles[i]), (x, y))
        draw.text((x, y + height + 2), fit_text(one, step - 6), INK, font())
        draw.text((x, y + height + LINE), fit_text(f"less {other}", step - 6), INK, font())
        draw.text((x, y + height + 2 * LINE), fit_text(why, step - 6, 11), FAINT, font(11))
    draw_key(picture, key)
    return picture


def draw_classes(
    images: Images, cams: Cams, predicted: Labels, probe: Probe, header: tuple[str, str], style: Style
) -> Draw | None:
    """Draws the mean map of each class over its mean image, and where one class is looked at more than
    another.

    At most eight classes, those with most images. A class stands beside the one that it is most often taken
    for, else the next. None where there are no two classes.
    """
    truth = [] if probe.labels is None else probe.labels.tolist()
    classes = sorted(label for label, _ in Counter(truth).most_common(MOST_CLASSES))
    if len(classes) < 2:
        return None
    drawn = prepare_images(images, replace(style, foreground=None), STRIP_TILES)
    labels, shares = (
        torch.tensor(truth, device=images.device),
        balanced(cams) if style.signed else normalize(cams),
    )
    of_class = [labels == label for label in classes]
    sizes = [truth.count(label) for label in classes]
    means = torch.stack([shares[own].mean(dim=0) for own in of_class])
    average = replace(drawn, pictures=torch.stack([drawn.pictures[own].mean(dim=0) for own in of_class]))
    pairs: dict[tuple[int, int], str] = {}
    for place, (own, label) in enumerate(zip(of_class, classes, strict=True)):
        mistakes = [
            classes.index(answer)
            for answer in predicted[own].tolist()
            if answer in classes and answer != label
        ]
        other, why = (place + 1) % len(classes), "the next class"
        for taken_for, times in Counter(mistakes).most_common(1):
            other, why = taken_for, f"taken for it: {times} of {sizes[place]}"
        if (other, place) not in pairs:
            pairs[place, other] = why
    ones, others = (torch.tensor(side, device=images.device) for side in zip(*pairs, strict=True))
    middle = replace(drawn, pictures=(average.pictures[ones] + average.pictures[others]) / 2)
    differences = means[ones] - means[others]
    most = differences.abs().max()
    opposed = middle.opposed(differences, most.expand(len(differences)))
    plain, over, apart = to_tiles(
        average.pictures, average.under(means, means.new_ones(len(classes))), opposed
    )
    names = [drawn_name(probe, label) for label in classes]
    beside = Pairs(
        apart,
        [(names[one], names[other]) for one, other in pairs],
        list(pairs.values()),
        most.item(),
        signed_bar(CONTRAST),
    )
    counts = [f"mean of {size}" for size in sizes]
    scale = f"{'against … 0 … for; ends:' if style.signed else '0 … 1 ='} all maps of the class are at their largest here"
    key = replace(legend_key(drawn.style, False), scale=scale, symbols=False)
    return partial(class_picture, plain, over, names, counts, beside, with_layout(header, images), key)
