"""From images and saliency maps to tiles: colours, overlay, size. All on the images' device."""

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F

from lightning_cam.tables import did_you_mean
from lightning_cam.typing import ColorTable, Images, Resized, Rgb, Saliency, Tiles


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
    """Heatmap in [0, 1]: 0 gets the table's first colour, 1 its last."""
    index = (saliency.clamp(0, 1) * 255).round().long()
    return colors[index].permute(0, 3, 1, 2)


def displayable(images: Images, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()) -> tuple[Rgb, bool]:
    """Images in [0, 1] and three colours, and whether their range had to be guessed.

    Undoes the normalization where it is given and fits the channels. Values that lie outside [0, 1] even so are stretched: each
    channel's range over all images becomes [0, 1]. One channel is shown in grey, of four the first three are shown (alpha is
    dropped), of any other number the mean.
    """
    count = images.shape[1]
    if images.dtype == torch.uint8:
        images = images / 255
    shown = images.float()
    if len(mean) in (1, count) and len(mean) == len(std):
        shown = shown * shown.new_tensor(std).reshape(1, -1, 1, 1) + shown.new_tensor(mean).reshape(1, -1, 1, 1)
    low, high = shown.amin(dim=(0, 2, 3), keepdim=True), shown.amax(dim=(0, 2, 3), keepdim=True)
    rounding = 0.02  # low precision and interpolation leave the range by a little
    guessed = bool((low.amin() < -rounding) | (high.amax() > 1 + rounding))
    if guessed:
        shown = (shown - low) / torch.where(high > low, high - low, 1.0)
    if count not in (1, 3, 4):
        shown = shown.mean(dim=1, keepdim=True)
    return shown[:, :3].clamp(0, 1).expand(-1, 3, -1, -1), guessed


def overlay(images: Rgb, heatmap: Rgb, opacity: float = 0.5) -> Rgb:
    """The heatmap over the images, in [0, 1]: ``(1 - opacity) image + opacity heatmap``."""
    return (1 - opacity) * images + opacity * heatmap


def tile_size(height: int, width: int, smallest: int = 112, largest: int = 224) -> tuple[int, int]:
    """Height and width at which an image is drawn, in pixels.

    Small images grow by a whole factor until the longer side is at least ``smallest``, or would pass ``largest``; large ones shrink
    until it is ``largest``.
    """
    longer = max(height, width)
    factor = min(-(-smallest // longer), largest // longer) if longer < smallest else min(1.0, largest / longer)
    return max(1, round(height * factor)), max(1, round(width * factor))


def resize(images: Rgb, size: tuple[int, int]) -> Resized:
    """Images at the size of a tile: whole pixels where they grow, antialiased where they shrink."""
    if size[0] > images.shape[2]:
        return F.interpolate(images, size=size, mode="nearest")
    if size == tuple(images.shape[2:]):
        return images
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)


def tile(images: Rgb) -> Tiles:
    """Images as uint8 (n, H, W, 3), for one copy to the host."""
    return (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1)
