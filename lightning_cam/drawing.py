"""What a look shows: tiles made on the images' device, words from the probe, laid out by the rooms below."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from PIL.Image import Image
from torch import Tensor

from lightning_cam.class_sheet import Pairs, class_sheet
from lightning_cam.film import BLUE, Column, Row, film_strip, frames
from lightning_cam.functional.maps import BLANK_REASONS, balanced, normalize
from lightning_cam.functional.overlay import (
    MOST_ROWS,
    PART_COLORS,
    color_table,
    displayable,
    drawn_size,
    flat_saliency,
    flatten_maps,
    flatten_to_pictures,
    is_diverging,
    outlined,
    overlay_cams,
    overlay_parts,
    signed_bar,
    tile,
    two_colors,
)
from lightning_cam.functional.targets import probabilities
from lightning_cam.grid import Caption, RivalTiles, overlay_grid
from lightning_cam.history import History
from lightning_cam.picture import WRONG, Color, Draw, Key, drawable
from lightning_cam.probe import Probe
from lightning_cam.reading import Normalization
from lightning_cam.typing import Activations, Cams, Images, Labels, Masks, PerImage, Rgb, Scores

STRIP_ROWS, STRIP_COLUMNS = 8, 10
GRID_TILES, STRIP_TILES = (112, 224), (80, 112)  # smallest and largest longer side, in pixels
MOST_RIVALS, MOST_CLASSES, MOST_FRAMES = 4, 8, 24
CONTRAST = two_colors((0, 114, 178), (230, 159, 0))  # after Okabe and Ito: told apart by colour-blind readers
MASK_LINE, FOREGROUND_LINE = (255, 255, 255), (86, 180, 233)
NOTHING = History()
WORTH_A_MARK = 0.02  # bit: below, the image that changed most has not changed


@dataclass(frozen=True)
class Style:
    """How maps are drawn.

    Args:
        colormap: Name of a matplotlib colormap; a diverging one draws both signs.
        opacity: The heatmap's, in [0, 1].
        normalization: To undo.
        color_scale: "map": the table's end is each map's maximum; "run": each image's over all looks.
        foreground: Share of a map's maximum, in (0, 1], at which its contour is drawn; None draws none.
    """

    colormap: str = "inferno"
    opacity: float = 0.5
    normalization: Normalization | None = None
    color_scale: str = "map"
    foreground: float | None = None

    @property
    def scale(self) -> str:
        """What the ends of the colour table stand for, in words."""
        whose, when = ("map", "") if self.color_scale == "map" else ("image", " over the run")
        if self.signed:
            return f"against … 0 … for; ends: each {whose}'s largest value{when}"
        return f"0 = no evidence … 1 = each {whose}'s maximum{when}"

    @property
    def signed(self) -> bool:
        """Whether maps are drawn with both signs."""
        return is_diverging(self.colormap)


@dataclass(frozen=True, eq=False)
class Sitters:
    """Images as they are drawn, on their device.

    Args:
        sides: Of the images.
        size: At which they are drawn.
        guessed: Whether their range had to be guessed.
    """

    pictures: Rgb
    sides: tuple[int, ...]
    size: tuple[int, ...]
    style: Style
    guessed: bool

    def under(self, cams: Cams, peaks: PerImage | None = None) -> Rgb:
        """The pictures under these maps, with the foreground's contour."""
        style, cams = self.style, cams.to(self.pictures.device)
        colors = color_table(style.colormap, self.pictures.device)
        over = overlay_cams(self.pictures, cams, self.sides, self.size, colors, style.opacity, peaks, style.signed)
        if style.foreground is None:
            return over
        return outlined(over, flat_saliency(cams, self.sides, self.size) >= style.foreground, FOREGROUND_LINE)

    def opposed(self, cams: Cams, peaks: PerImage | None = None) -> Rgb:
        """Signed maps over the pictures in grey: their colours are those of two classes."""
        grey = self.pictures.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        return overlay_cams(grey, cams, self.sides, self.size, CONTRAST.to(grey.device), 0.5, peaks, signed=True)

    def around(self, masks: Masks | None, *pictures: Rgb) -> list[Rgb]:
        """The pictures, with lines around what is inside the masks."""
        if masks is None:
            return list(pictures)
        inside = flatten_maps(masks[:, None].to(self.pictures), self.sides, self.size)[:, 0] > 0.5
        return [outlined(picture, inside, MASK_LINE) for picture in pictures]


def sitters(images: Images, style: Style, tiles: tuple[int, int]) -> Sitters:
    """Images as they are drawn, their longer side within ``tiles``."""
    shown, guessed = displayable(images, *(style.normalization or ((), ())))
    size = drawn_size(images, *tiles)
    return Sitters(flatten_to_pictures(shown, size), tuple(images.shape[2:]), size, style, guessed)


def draw_overlay(
    images: Images,
    cams: Cams,
    scores: Scores,
    reasons: Labels,
    probe: Probe,
    header: tuple[str, str],
    style: Style,
    parts: Activations | None = None,
    rivals: tuple[Cams, Cams] | None = None,
    history: History = NOTHING,
) -> tuple[Draw, bool]:
    """Draws each image beside its overlay, with true and predicted class; and whether the images' range had to be guessed.

    Args:
        parts: Strengths in [0, 1], where the method finds parts: drawn in place of ``cams``, each in its own colour.
        rivals: Maps of the predicted class, and of the label against it: drawn where the two differ.
        history: Of looks whose maxima may be the scale.
    """
    drawn, count = sitters(images, style, GRID_TILES), len(images)
    peaks = _peaks(history, style, cams)
    if parts is None:
        over = drawn.under(cams, peaks)
    else:
        reasons = torch.where((parts > 0).flatten(1).any(dim=1), 0, reasons)
        over = overlay_parts(drawn.pictures, flatten_maps(parts, drawn.sides, drawn.size))
    confidence, predicted = (values.tolist() for values in probabilities(scores).max(dim=1))
    labels = _labels(probe, count)
    captions = [
        Caption(
            _right(answer, label),
            None if label is None else _name(probe, label),
            _name(probe, answer),
            share,
            BLANK_REASONS[reason],
        )
        for label, answer, share, reason in zip(labels, predicted, confidence, reasons.tolist(), strict=True)
    ]
    wrong = sorted((i for i in range(count) if captions[i].right is False), key=lambda i: -captions[i].confidence)[:MOST_RIVALS]
    apart: list[Rgb] = []
    if rivals is not None and wrong:
        rows = torch.tensor(wrong, device=images.device)
        some = replace(drawn, pictures=drawn.pictures[rows])
        apart = [some.under(rivals[0][rows], None if peaks is None else peaks[rows]), some.opposed(rivals[1][rows])]
    masks = None if probe.masks is None else probe.masks[:count]
    plain, shown, *others = _tiles(*drawn.around(masks, drawn.pictures, over), *apart)
    beside = RivalTiles(wrong, others[0], others[1], signed_bar(CONTRAST)) if others else None
    key = _key(style, masks is not None, () if parts is None else part_legend(parts.shape[1]))
    return partial(overlay_grid, plain, shown, captions, _with_layout(header, images), key, beside), drawn.guessed


def draw_evolution(images: Images, history: History, probe: Probe, header: tuple[str, str], style: Style) -> Draw:
    """Draws a film strip: rows are the first probe images, columns the looks between which most changed, the untrained first."""
    rows, looks = slice(0, min(STRIP_ROWS, len(images))), history.columns(STRIP_COLUMNS)
    drawn, peaks = sitters(images[rows], style, STRIP_TILES), _peaks(history, style, looks[-1].cams[rows].to(images.device))
    masks = None if probe.masks is None else probe.masks[rows]
    (plain,) = drawn.around(masks, drawn.pictures)
    plain, *overlays = _tiles(plain, *(drawn.under(look.cams[rows], peaks) for look in looks))
    labels = _labels(probe, len(plain))
    columns = [_column(look.epoch, look.cams[rows], look.predicted[rows].tolist(), labels) for look in looks]
    words = _rows(history, probe, labels), _with_layout(header, images), _key(style, masks is not None)
    return partial(film_strip, plain, overlays, columns, *words)


def draw_animation(images: Images, history: History, probe: Probe, header: str, style: Style) -> Callable[[], list[Image]]:
    """Draws the looks one after another, those between which most changed, at most 24."""
    rows, looks = slice(0, len(images)), history.columns(MOST_FRAMES)
    drawn, peaks = sitters(images, style, STRIP_TILES), _peaks(history, style, looks[-1].cams[rows].to(images.device))
    masks = None if probe.masks is None else probe.masks[rows]
    # One look after another: together they would take as much of the device's memory as hundreds of images.
    tiles = [_tiles(*drawn.around(masks, drawn.under(look.cams[rows].nan_to_num(), peaks)))[0] for look in looks]
    labels = _labels(probe, len(images))
    columns = [_column(look.epoch, look.cams[rows], look.predicted[rows].tolist(), labels) for look in looks]
    titles, rights = [column.title for column in columns], [column.right for column in columns]
    return partial(frames, tiles, titles, rights, header, _key(style, masks is not None))


def draw_classes(images: Images, cams: Cams, predicted: Labels, probe: Probe, header: tuple[str, str], style: Style) -> Draw | None:
    """Draws the mean map of each class over its mean image, and where one class is looked at more than another.

    At most eight classes, those with most images. A class stands beside the one that it is most often taken for, else the next.
    None where there are no two classes.
    """
    truth = [] if probe.labels is None else probe.labels.tolist()
    classes = sorted(label for label, _ in Counter(truth).most_common(MOST_CLASSES))
    if len(classes) < 2:
        return None
    drawn = sitters(images, replace(style, foreground=None), STRIP_TILES)
    labels, shares = torch.tensor(truth, device=images.device), balanced(cams) if style.signed else normalize(cams)
    of_class = [labels == label for label in classes]
    sizes = [truth.count(label) for label in classes]
    means = torch.stack([shares[own].mean(dim=0) for own in of_class])
    average = replace(drawn, pictures=torch.stack([drawn.pictures[own].mean(dim=0) for own in of_class]))
    pairs: dict[tuple[int, int], str] = {}
    for place, (own, label) in enumerate(zip(of_class, classes, strict=True)):
        mistakes = [classes.index(answer) for answer in predicted[own].tolist() if answer in classes and answer != label]
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
    plain, over, apart = _tiles(average.pictures, average.under(means, means.new_ones(len(classes))), opposed)
    names = [_name(probe, label) for label in classes]
    beside = Pairs(
        apart, [(names[one], names[other]) for one, other in pairs], list(pairs.values()), most.item(), signed_bar(CONTRAST)
    )
    counts = [f"mean of {size}" for size in sizes]
    scale = f"{'against … 0 … for; ends:' if style.signed else '0 … 1 ='} all maps of the class are at their largest here"
    key = replace(_key(drawn.style, False), scale=scale, symbols=False)
    return partial(class_sheet, plain, over, names, counts, beside, _with_layout(header, images), key)


def how_drawn(images: Images) -> str:
    """What of volumes and signals is shown, in a few words; nothing of images."""
    channels = images.shape[1]
    if images.ndim == 5:
        return "slices through the middle of D, H and W, from the left"
    if images.ndim == 3 and channels > MOST_ROWS:
        return f"the first {MOST_ROWS} of {channels} channels, from the top"
    return "channels from the top" if images.ndim == 3 and channels > 1 else ""


def part_legend(count: int) -> tuple[tuple[str, Color], ...]:
    """Name and colour of each part that is drawn."""
    return tuple((f"part {number}", color) for number, color in enumerate(PART_COLORS[:count], start=1))


def _with_layout(header: tuple[str, str], images: Images) -> tuple[str, str]:
    return header[0], " · ".join(filter(None, (header[1], how_drawn(images))))


def _key(style: Style, has_masks: bool, parts: Sequence[tuple[str, Color]] = ()) -> Key:
    lines = [("mask", MASK_LINE)] if has_masks else []
    if style.foreground is not None and not parts:
        lines.append((f"above {100 * style.foreground:.0f} % of the maximum", FOREGROUND_LINE))
    colors = color_table(style.colormap)
    return Key(signed_bar(colors) if style.signed else colors, style.scale, parts, lines)


def _tiles(*pictures: Tensor) -> list[Tensor]:
    """Tiles of each batch of pictures, copied to the host once."""
    return list(tile(torch.cat(pictures)).cpu().split([len(some) for some in pictures]))


def _peaks(history: History, style: Style, cams: Cams) -> PerImage | None:
    """Of the first images, whose maps ``cams`` are, the largest value there and over all looks, where that is the scale."""
    if style.color_scale == "map":
        return None
    own = (cams.abs() if style.signed else cams).nan_to_num().flatten(1).amax(dim=1)
    return torch.maximum(own, history.peaks(style.signed)[: len(own)].to(own)) if history.looks else own


def _rows(history: History, probe: Probe, labels: Sequence[int | None]) -> list[Row]:
    changes = [look.statistics["drift_last"][: len(labels)].tolist() for look in history.looks if "drift_last" in look.statistics]
    last = changes[-1] if changes else []
    most = max((change for change in last if math.isfinite(change)), default=0.0)
    answers = history.looks[-1].predicted.tolist()
    rows = []
    for place, label in enumerate(labels):
        remarks = []
        if answers[place] >= 0 and _right(answers[place], label) is False:
            remarks.append((f"now {_name(probe, answers[place])}", WRONG))
        if len(labels) > 1 and last and last[place] == most >= WORTH_A_MARK:
            remarks.append(("changed most", BLUE))
        own = tuple(change[place] for change in changes)
        rows.append(Row("no label" if label is None else _name(probe, label), tuple(remarks), own))
    return rows


def _labels(probe: Probe, count: int) -> list[int | None]:
    """Labels of the first images; None where nobody knows them."""
    return [None] * count if probe.labels is None else probe.labels[:count].tolist()


def _name(probe: Probe, label: int) -> str:
    """The class' name, or its number where the font lacks a letter of the name."""
    name = probe.name(label)
    return name if drawable(name) else f"class {label}"


def _right(predicted: int, label: int | None) -> bool | None:
    return None if label is None else predicted == label


def _column(epoch: int, cams: Cams, predicted: list[int], labels: list[int | None]) -> Column:
    seen = [answer >= 0 for answer in predicted]
    shows = (cams.flatten(1).amax(dim=1) > 0).tolist()
    remarks = tuple("" if show else "blank" if known else "not looked at" for known, show in zip(seen, shows, strict=True))
    right = tuple(_right(answer, label) if known else None for answer, label, known in zip(predicted, labels, seen, strict=True))
    return Column("untrained" if epoch < 0 else f"epoch {epoch}", right, remarks)
