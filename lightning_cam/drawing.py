"""What a look shows: tiles made on the images' device, words from the probe, laid out by ``picture``."""

from dataclasses import dataclass

import torch
from PIL.Image import Image

from lightning_cam.functional.maps import BLANK_REASONS, saliency
from lightning_cam.functional.overlay import color_table, colorize, displayable, overlay, resize, tile, tile_size
from lightning_cam.functional.targets import probabilities
from lightning_cam.history import History
from lightning_cam.picture import Caption, Column, drawable, film_strip, overlay_grid
from lightning_cam.probe import Probe
from lightning_cam.reading import Normalization
from lightning_cam.typing import Cams, Images, Labels, Scores, Tiles

STRIP_ROWS, STRIP_COLUMNS = 8, 10
GRID_TILES, STRIP_TILES = (112, 224), (80, 112)  # smallest and largest longer side, in pixels


@dataclass(frozen=True)
class Style:
    """How maps are drawn: colormap, the heatmap's opacity in [0, 1], and the normalization to undo."""

    colormap: str = "inferno"
    opacity: float = 0.5
    normalization: Normalization | None = None


def draw_overlay(
    images: Images, cams: Cams, scores: Scores, reasons: Labels, probe: Probe, header: tuple[str, str], style: Style
) -> tuple[Image, bool]:
    """Each image beside its overlay, with true and predicted class; and whether the images' range had to be guessed."""
    (plain, over), guessed = _tiles(images, [cams], style, GRID_TILES)
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
    return overlay_grid(plain, over, captions, header, color_table(style.colormap)), guessed


def draw_evolution(images: Images, history: History, probe: Probe, header: tuple[str, str], style: Style) -> Image:
    """A film strip: rows are the first probe images, columns the looks so far, the untrained model first."""
    rows = slice(0, min(STRIP_ROWS, len(images)))
    looks = history.columns(STRIP_COLUMNS)
    cams = [look.cams[rows].to(images.device) for look in looks]
    (plain, *overlays), _ = _tiles(images[rows], cams, style, STRIP_TILES)
    labels = _labels(probe, len(plain))
    names = ["no label" if label is None else _name(probe, label) for label in labels]
    columns = [_column(look.epoch, look.cams[rows], look.predicted[rows].tolist(), labels) for look in looks]
    return film_strip(plain, overlays, columns, names, header, color_table(style.colormap))


def _tiles(images: Images, looks: list[Cams], style: Style, sides: tuple[int, int]) -> tuple[list[Tiles], bool]:
    """The images, and one overlay of them per look, copied to the host once; and whether their range had to be guessed."""
    shown, guessed = displayable(images, *(style.normalization or ((), ())))
    height, width = tile_size(shown.shape[2], shown.shape[3], *sides)
    shown = resize(shown, (height, width))
    colors = color_table(style.colormap, shown.device)
    overlays = [overlay(shown, colorize(saliency(cams, (height, width)), colors), style.opacity) for cams in looks]
    return list(tile(torch.cat([shown, *overlays])).cpu().split(len(images))), guessed


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
