"""From images and saliency maps of any rank to tiles: 2-D pictures, colours, overlay, size. All on the images' device."""

from collections.abc import Sequence

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_cam.tables import did_you_mean
from lightning_cam.typing import ColorTable, FlatLayers, Images, Layers, Resized, Rgb, Saliency, Shown, Signals, Tiles

MOST_ROWS = 16  # channels of a signal that are drawn
SLICE_GAP = 4  # pixels between the slices of a volume

# After Okabe and Ito: told apart by colour-blind readers. Those like the frames of right and wrong come last.
MOST_OPAQUE = 0.7  # a part at its strongest: the image is still seen through it
PART_COLORS = ((230, 159, 0), (86, 180, 233), (204, 121, 167), (240, 228, 66), (0, 114, 178), (0, 158, 115), (213, 94, 0))


def color_table(name: str, device: torch.device | str = "cpu") -> ColorTable:
    """The 256 colours of a matplotlib colormap, in [0, 1].

    Raises:
        ValueError: No such colormap; the message names the closest one.
    """
    if name not in matplotlib.colormaps:
        hint = did_you_mean(name, matplotlib.colormaps) or "; give the name of one of matplotlib's."
        raise ValueError(f"colormap: no colormap {name!r}{hint}")
    return torch.tensor(matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3], dtype=torch.float32, device=device)


def colorize(saliency: Saliency, colors: ColorTable) -> Rgb:
    """Heatmap in [0, 1]: 0 gets the table's first colour, 1 its last; NaN stays NaN."""
    index = (saliency.nan_to_num().clamp(0, 1) * 255).round().long()
    return torch.where(saliency.isnan()[:, None], torch.nan, colors[index].permute(0, 3, 1, 2))


def displayable(images: Images, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()) -> tuple[Shown, bool]:
    """Images in [0, 1] and three colours, and whether their range had to be guessed.

    Undoes the normalization where it is given and fits the channels. Values that lie outside [0, 1] even so are stretched: each
    channel's range over all images becomes [0, 1]. One channel is shown in grey, of four the first three are shown (alpha is
    dropped), of any other number the mean. Signals keep their channels, and each is stretched whatever its range.
    """
    count, others = images.shape[1], (0, *range(2, images.ndim))
    if images.dtype == torch.uint8:
        images = images / 255
    shown = images.float()
    if len(mean) in (1, count) and len(mean) == len(std):
        each = (1, -1, *[1] * (images.ndim - 2))
        shown = shown * shown.new_tensor(std).reshape(each) + shown.new_tensor(mean).reshape(each)
    low, high = shown.amin(dim=others, keepdim=True), shown.amax(dim=others, keepdim=True)
    stretched = (shown - low) / torch.where(high > low, high - low, 1.0)
    if images.ndim == 3:
        return stretched, False
    rounding = 0.02  # low precision and interpolation leave the range by a little
    guessed = bool((low.amin() < -rounding) | (high.amax() > 1 + rounding))
    if guessed:
        shown = stretched
    if count not in (1, 3, 4):
        shown = shown.mean(dim=1, keepdim=True)
    return shown[:, :3].clamp(0, 1).expand(-1, 3, *images.shape[2:]), guessed


def overlay(images: Rgb, heatmap: Rgb, opacity: float | Rgb = 0.5) -> Rgb:
    """The heatmap over the images, in [0, 1]: ``(1 - opacity) image + opacity heatmap``; the image where the heatmap is NaN."""
    blended = (1 - opacity) * images + opacity * heatmap
    return torch.where(blended.isnan(), images, blended)


def overlay_parts(images: Rgb, strengths: FlatLayers) -> Rgb:
    """Parts over the images in grey, in [0, 1]: the colour of the strongest one at each pixel, the stronger the more opaque.

    The first seven parts have a colour; the others are left out. Grey, because colours of the image would change the parts'.
    """
    colors = torch.tensor(PART_COLORS, dtype=strengths.dtype, device=strengths.device) / 255
    strongest, which = strengths[:, : len(PART_COLORS)].max(dim=1, keepdim=True)
    grey = images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    opacity = MOST_OPAQUE * strongest.expand(-1, 3, -1, -1)
    return overlay(grey, colors[which[:, 0]].permute(0, 3, 1, 2), opacity)


def flatten_to_pictures(images: Shown, maps: Layers) -> tuple[Rgb, FlatLayers]:
    """2-D pictures at the maps' size, and the maps that belong to them.

    Of a volume the slices through the middle of D, H and W stand side by side; around them the picture is white and the map NaN.
    A signal becomes its trace, and its map is as high.
    """
    size, sides = tuple(maps.shape[2:]), tuple(images.shape[2:])
    if len(size) == 1:
        pictures = trace(images, size[0])
        return pictures, maps[:, :, None].expand(-1, -1, pictures.shape[2], -1)
    if len(size) == 2:
        return resize(images, size), maps
    map_slices = [middle_slice(maps, sides, dim) for dim in range(3)]
    image_slices = [middle_slice(images, sides, dim) for dim in range(3)]
    resized = [resize(picture, tuple(flat.shape[2:])) for picture, flat in zip(image_slices, map_slices, strict=True)]
    return beside(resized, 1.0), beside(map_slices, torch.nan)


def trace(signals: Signals, width: int) -> Rgb:
    """Signals in [0, 1] as white lines on black, ``width`` pixels wide, a row per channel from the top, at most 16.

    A column of pixels shows all values that fall into it, so that no spike is lost.
    """
    signals = signals[:, :MOST_ROWS]
    rows = signals.shape[1]
    height = max(width // 2, rows * width // MOST_ROWS)
    fine = F.interpolate(signals, size=max(width, signals.shape[2]), mode="linear")
    highest, lowest = F.adaptive_max_pool1d(fine, width), -F.adaptive_max_pool1d(-fine, width)
    # Each column reaches to the one before, so that steep slopes have no gaps.
    highest, lowest = torch.maximum(highest, _before(lowest)), torch.minimum(lowest, _before(highest))
    row = torch.arange(rows, device=signals.device)[:, None]
    margin = 0.1  # of a row, above and below
    top, bottom = ((row + 1 - margin - (1 - 2 * margin) * values) * height / rows for values in (highest, lowest))
    pixel = torch.arange(height, device=signals.device)[:, None] + 0.5
    distance = torch.maximum(top[:, :, None] - pixel, pixel - bottom[:, :, None])
    thickness = 1.5
    ink = ((thickness + 1) / 2 - distance).clamp(0, 1).amax(dim=1, keepdim=True)
    return ink.expand(-1, 3, -1, -1)


def _before(values: Signals) -> Signals:
    """In each column what stands in the one before."""
    return torch.cat([values[:, :, :1], values[:, :, :-1]], dim=2)


def middle_slice(volumes: Layers, sides: tuple[int, ...], dim: int) -> FlatLayers:
    """The slice (n, k, ., .) through the middle of D, H or W (0, 1 or 2), where volumes of these ``sides`` have it."""
    middle = (sides[dim] // 2 + 0.5) / sides[dim]
    return volumes.select(dim + 2, int(middle * volumes.shape[dim + 2]))


def beside(pictures: Sequence[Tensor], fill: float) -> FlatLayers:
    """Pictures (n, k, ., .) of any size in a row, centred, with a gap between them."""
    height = max(picture.shape[2] for picture in pictures)
    padded = []
    for place, picture in enumerate(pictures):
        above = (height - picture.shape[2]) // 2
        below = height - picture.shape[2] - above
        padded.append(F.pad(picture, (SLICE_GAP if place else 0, 0, above, below), value=fill))
    return torch.cat(padded, dim=3)


def drawn_size(size: tuple[int, ...], smallest: int = 112, largest: int = 224) -> tuple[int, ...]:
    """The size at which images, volumes or signals are drawn: by ``tile_size``; volumes half as large, because of three slices."""
    if len(size) == 1:
        return (largest,)
    if len(size) == 2:
        return tile_size(*size, smallest, largest)
    factor = _growth(max(size), 3 * largest // 8, largest // 2)
    return tuple(max(1, round(side * factor)) for side in size)


def tile_size(height: int, width: int, smallest: int = 112, largest: int = 224) -> tuple[int, int]:
    """Height and width at which an image is drawn, in pixels.

    Small images grow by a whole factor until the longer side is at least ``smallest``, or would pass ``largest``; large ones shrink
    until it is ``largest``.
    """
    factor = _growth(max(height, width), smallest, largest)
    return max(1, round(height * factor)), max(1, round(width * factor))


def _growth(longer: int, smallest: int, largest: int) -> float:
    return min(-(-smallest // longer), largest // longer) if longer < smallest else min(1.0, largest / longer)


def resize(images: Rgb, size: tuple[int, ...]) -> Resized:
    """Images at the size of a tile: whole pixels where they grow, antialiased where they shrink."""
    if size[0] > images.shape[2]:
        return F.interpolate(images, size=size, mode="nearest")
    if size == tuple(images.shape[2:]):
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)


def tile(images: Rgb) -> Tiles:
    """Images as uint8 (n, H, W, 3), for one copy to the host."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
