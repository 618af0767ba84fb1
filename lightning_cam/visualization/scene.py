"""How maps are drawn: the style, and images prepared once for all pictures."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_cam.checks import Normalization
from lightning_cam.data.history import History
from lightning_cam.data.probe import Probe
from lightning_cam.typing import Cams, Images, Masks, PerImage, Rgb
from lightning_cam.visualization.blend import (
    PART_COLORS,
    color_table,
    displayable,
    is_diverging,
    outlined,
    overlay_cams,
    signed_bar,
    two_colors,
)
from lightning_cam.visualization.canvas import Color, Key, drawable
from lightning_cam.visualization.projection import (
    MOST_ROWS,
    drawn_size,
    flat_saliency,
    flatten_maps,
    flatten_to_pictures,
    tile,
)

CONTRAST = two_colors((0, 114, 178), (230, 159, 0))  # after Okabe and Ito: told apart by colour-blind readers
MASK_LINE, FOREGROUND_LINE = (255, 255, 255), (86, 180, 233)
GRID_TILES, STRIP_TILES = (112, 224), (80, 112)  # smallest and largest longer side, in pixels
NOTHING = History()


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
class PreparedImages:
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
        over = overlay_cams(
            self.pictures, cams, self.sides, self.size, colors, style.opacity, peaks, style.signed
        )
        if style.foreground is None:
            return over
        return outlined(over, flat_saliency(cams, self.sides, self.size) >= style.foreground, FOREGROUND_LINE)

    def opposed(self, cams: Cams, peaks: PerImage | None = None) -> Rgb:
        """Signed maps over the pictures in grey: their colours are those of two classes."""
        grey = self.pictures.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
        return overlay_cams(
            grey, cams, self.sides, self.size, CONTRAST.to(grey.device), 0.5, peaks, signed=True
        )

    def around(self, masks: Masks | None, *pictures: Rgb) -> list[Rgb]:
        """The pictures, with lines around what is inside the masks."""
        if masks is None:
            return list(pictures)
        inside = flatten_maps(masks[:, None].to(self.pictures), self.sides, self.size)[:, 0] > 0.5
        return [outlined(picture, inside, MASK_LINE) for picture in pictures]


def prepare_images(images: Images, style: Style, tiles: tuple[int, int]) -> PreparedImages:
    """Images as they are drawn, their longer side within ``tiles``."""
    shown, guessed = displayable(images, *(style.normalization or ((), ())))
    size = drawn_size(images, *tiles)
    return PreparedImages(flatten_to_pictures(shown, size), tuple(images.shape[2:]), size, style, guessed)


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


def with_layout(header: tuple[str, str], images: Images) -> tuple[str, str]:
    """The header, with what is shown of volumes and signals."""
    return header[0], " · ".join(filter(None, (header[1], how_drawn(images))))


def legend_key(style: Style, has_masks: bool, parts: Sequence[tuple[str, Color]] = ()) -> Key:
    """What stands at the foot of a picture in this style."""
    lines = [("mask", MASK_LINE)] if has_masks else []
    if style.foreground is not None and not parts:
        lines.append((f"above {100 * style.foreground:.0f} % of the maximum", FOREGROUND_LINE))
    colors = color_table(style.colormap)
    return Key(signed_bar(colors) if style.signed else colors, style.scale, parts, lines)


def to_tiles(*pictures: Tensor) -> list[Tensor]:
    """Tiles of each batch of pictures, copied to the host once."""
    return list(tile(torch.cat(pictures)).cpu().split([len(some) for some in pictures]))


def shared_peaks(history: History, style: Style, cams: Cams) -> PerImage | None:
    """Of the first images, whose maps ``cams`` are, the largest value there and over all looks, where that is
    the scale.
    """
    if style.color_scale == "map":
        return None
    own = (cams.abs() if style.signed else cams).nan_to_num().flatten(1).amax(dim=1)
    return torch.maximum(own, history.peaks(style.signed)[: len(own)].to(own)) if history.looks else own


def shown_labels(probe: Probe, count: int) -> list[int | None]:
    """Labels of the first images; None where nobody knows them."""
    return [None] * count if probe.labels is None else probe.labels[:count].tolist()


def drawn_name(probe: Probe, label: int) -> str:
    """The class' name, or its number where the font lacks a letter of the name."""
    name = probe.name(label)
    return name if drawable(name) else f"class {label}"


def is_right(predicted: int, label: int | None) -> bool | None:
    """Whether an answer is the label; None where there is no label."""
    return None if label is None else predicted == label
