"""What a look shows: tiles made on the images' device, words from the probe, laid out by ``picture``."""

from dataclasses import dataclass
from functools import partial

import torch

from lightning_cam.functional.maps import BLANK_REASONS
from lightning_cam.functional.overlay import (
    MOST_ROWS,
    PART_COLORS,
    color_table,
    colorize,
    displayable,
    drawn_size,
    flat_saliency,
    flatten_maps,
    flatten_to_pictures,
    overlay,
    overlay_parts,
    tile,
)
from lightning_cam.functional.targets import probabilities
from lightning_cam.history import History
from lightning_cam.picture import Caption, Column, Draw, drawable, film_strip, overlay_grid
from lightning_cam.probe import Probe
from lightning_cam.reading import Normalization
from lightning_cam.typing import Activations, Cams, Images, Labels, Scores, Tiles

STRIP_ROWS, STRIP_COLUMNS = 8, 10
GRID_TILES, STRIP_TILES = (112, 224), (80, 112)  # smallest and largest longer side, in pixels


@dataclass(frozen=True)
class Style:
    """How maps are drawn: colormap, the heatmap's opacity in [0, 1], and the normalization to undo."""

    colormap: str = "inferno"
    opacity: float = 0.5
    normalization: Normalization | None = None


def draw_overlay(
    images: Images,
    cams: Cams,
    scores: Scores,
    reasons: Labels,
    probe: Probe,
    header: tuple[str, str],
    style: Style,
    parts: Activations | None = None,
) -> tuple[Draw, bool]:
    """Draws each image beside its overlay, with true and predicted class; and whether the images' range had to be guessed.

    Args:
        parts: Strengths in [0, 1], where the method finds parts: drawn in place of ``cams``, each in its own colour.
    """
    (plain, over), guessed = _tiles(images, [cams], style, GRID_TILES, parts)
    if parts is not None:
        reasons = torch.where((parts > 0).flatten(1).any(dim=1), 0, reasons)
    confidence, predicted = (values.tolist() for values in probabilities(scores).max(dim=1))
    labels = _labels(probe, len(predicted))
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
    legend = () if parts is None else part_legend(parts.shape[1])
    words = captions, _with_layout(header, images)
    return partial(overlay_grid, plain, over, *words, color_table(style.colormap), legend), guessed


def draw_evolution(images: Images, history: History, probe: Probe, header: tuple[str, str], style: Style) -> Draw:
    """Draws a film strip: rows are the first probe images, columns the looks so far, the untrained model first."""
    rows = slice(0, min(STRIP_ROWS, len(images)))
    looks = history.columns(STRIP_COLUMNS)
    cams = [look.cams[rows].to(images.device) for look in looks]
    (plain, *overlays), _ = _tiles(images[rows], cams, style, STRIP_TILES)
    labels = _labels(probe, len(plain))
    names = ["no label" if label is None else _name(probe, label) for label in labels]
    columns = [_column(look.epoch, look.cams[rows], look.predicted[rows].tolist(), labels) for look in looks]
    return partial(film_strip, plain, overlays, columns, names, _with_layout(header, images), color_table(style.colormap))


def how_drawn(images: Images) -> str:
    """What of volumes and signals is shown, in a few words; nothing of images."""
    channels = images.shape[1]
    if images.ndim == 5:
        return "slices through the middle of D, H and W, from the left"
    if images.ndim == 3 and channels > MOST_ROWS:
        return f"the first {MOST_ROWS} of {channels} channels, from the top"
    return "channels from the top" if images.ndim == 3 and channels > 1 else ""


def part_legend(count: int) -> tuple[tuple[str, tuple[int, int, int]], ...]:
    """Name and colour of each part that is drawn."""
    return tuple((f"part {number}", color) for number, color in enumerate(PART_COLORS[:count], start=1))


def _with_layout(header: tuple[str, str], images: Images) -> tuple[str, str]:
    return header[0], " · ".join(filter(None, (header[1], how_drawn(images))))


def _tiles(
    images: Images, looks: list[Cams], style: Style, sides: tuple[int, int], parts: Activations | None = None
) -> tuple[list[Tiles], bool]:
    """The images, and one overlay per look or one of parts, copied to the host once; and whether their range had to be guessed."""
    shown, guessed = displayable(images, *(style.normalization or ((), ())))
    own, size = tuple(images.shape[2:]), drawn_size(images, *sides)
    pictures = flatten_to_pictures(shown, size)
    if parts is None:
        colors = color_table(style.colormap, images.device)
        heatmaps = [colorize(flat_saliency(cams, own, size), colors) for cams in looks]
        overlays = [overlay(pictures, heatmap, style.opacity) for heatmap in heatmaps]
    else:
        overlays = [overlay_parts(pictures, flatten_maps(parts, own, size))]
    return list(tile(torch.cat([pictures, *overlays])).cpu().split(len(images))), guessed


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
