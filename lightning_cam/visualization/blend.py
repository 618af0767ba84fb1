"""Colours over an image: colour tables, overlays, outlines. Tensors in, tensors out."""

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool
from torch import Tensor

from lightning_cam.registry import did_you_mean
from lightning_cam.typing import Cams, ColorTable, FlatMaps, Images, PerImage, Rgb, Saliency, Shown
from lightning_cam.visualization.projection import flat_saliency, flat_signed, peaks_of

WHITE = (255, 255, 255)
COLORMAP = "plasma"  # of all that is drawn, where nobody chooses another
EVIDENCE = "evidence"  # the opacity that follows the map
MOST_OPAQUE = 0.7  # of evidence at its strongest: the image is still seen through it
WEAK = 0.1  # share of the strongest map below which a map is drawn fainter, and said to be weak
CONSTANT = 0.5  # the opacity that is the same everywhere, where no other number is given
DIVERGING = "BrBG PRGn PiYG PuOr RdBu RdGy RdYlBu RdYlGn Spectral berlin bwr coolwarm managua seismic vanimo"
# After Okabe and Ito: told apart by colour-blind readers. Those like the frames of right and wrong come last.
PART_COLORS = (
    (230, 159, 0),
    (86, 180, 233),
    (204, 121, 167),
    (240, 228, 66),
    (0, 114, 178),
    (0, 158, 115),
    (213, 94, 0),
)


def check_colormap(name: str) -> None:
    """Accepts the name of a matplotlib colormap.

    Raises:
        TypeError: It is no text.
        ValueError: No such colormap; the message names the closest one.
    """
    if not isinstance(name, str):
        raise TypeError(f"colormap: got {name!r}; give the name of one of matplotlib's, such as 'inferno'.")
    if name not in matplotlib.colormaps:
        hint = did_you_mean(name, matplotlib.colormaps) or "; give the name of one of matplotlib's."
        raise ValueError(f"colormap: no colormap {name!r}{hint}")


def color_table(name: str, device: torch.device | str = "cpu") -> ColorTable:
    """The 256 colours of a matplotlib colormap, in [0, 1].

    Raises:
        TypeError, ValueError: As ``check_colormap``.
    """
    check_colormap(name)
    return torch.tensor(
        matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3], dtype=torch.float32, device=device
    )


def is_diverging(colormap: str) -> bool:
    """Whether a matplotlib colormap runs from one colour through a middle to another: then maps are drawn
    with both signs.
    """
    return colormap.removesuffix("_r") in DIVERGING.split()


def colorize(saliency: Saliency, colors: ColorTable) -> Rgb:
    """Heatmap in [0, 1]: 0 gets the table's first colour, 1 its last; NaN stays NaN."""
    index = (saliency.nan_to_num().clamp(0, 1) * 255).round().long()
    return torch.where(saliency.isnan()[:, None], torch.nan, colors[index].permute(0, 3, 1, 2))


def displayable(
    images: Images, mean: tuple[float, ...] = (), std: tuple[float, ...] = ()
) -> tuple[Shown, bool]:
    """Images in [0, 1] and three colours, and whether their range had to be guessed.

    Undoes the normalization where it is given and fits the channels. Values that lie outside [0, 1] even so
    are stretched: each channel's range over all images becomes [0, 1]. One channel is shown in grey, of four
    the first three are shown (alpha is dropped), of any other number the mean. Signals keep their channels,
    and each is stretched whatever its range.
    """
    count, others = images.shape[1], (0, *range(2, images.ndim))
    if images.dtype == torch.uint8:
        images = images.float() / 255
    shown = images.float()
    if len(mean) in (1, count) and len(mean) == len(std):
        each = (1, -1, *[1] * (images.ndim - 2))
        shown = shown * shown.new_tensor(std).reshape(each) + shown.new_tensor(mean).reshape(each)
    low, high = shown.amin(dim=others, keepdim=True), shown.amax(dim=others, keepdim=True)
    rounding = 0.02  # low precision and interpolation leave the range by a little
    is_signal = images.ndim == 3
    guessed = not is_signal and bool((low.amin() < -rounding) | (high.amax() > 1 + rounding))
    if is_signal or guessed:
        shown = (shown - low) / torch.where(high > low, high - low, 1.0)
    if is_signal:
        return shown, False
    if count not in (1, 3, 4):
        shown = shown.mean(dim=1, keepdim=True)
    return shown[:, :3].clamp(0, 1).expand(-1, 3, *images.shape[2:]), guessed


def overlay(images: Rgb, heatmap: Rgb, opacity: float | Rgb = 0.5) -> Rgb:
    """The heatmap over the images, in [0, 1]: ``(1 - opacity) image + opacity heatmap``; the image where the
    heatmap is NaN.
    """
    blended = (1 - opacity) * images + opacity * heatmap
    return torch.where(blended.isnan(), images, blended)


def overlay_cams(
    images: Rgb,
    cams: Cams,
    sides: tuple[int, ...],
    size: tuple[int, ...],
    colors: ColorTable,
    opacity: float | str = EVIDENCE,
    peaks: PerImage | None = None,
    signed: bool = False,
    strongest: float | None = None,
) -> Rgb:
    """Maps over the pictures of images with these ``sides``, drawn at this ``size``, in [0, 1].

    Args:
        opacity: Of the heatmap, as ``opacity_of`` has it.
        peaks: What the table's end stands for, image by image, in the unit of ``cams``; None: each map's own
            maximum.
        signed: Both signs of a map are drawn, in colours from the table's ends.
        strongest: Largest value of all maps beside which these are seen. Where the opacity follows the
            evidence, a map whose end of the table stands for less than a tenth of it is drawn the fainter
            the weaker it is.
    """
    flat = flat_signed if signed else flat_saliency
    values = flat(cams, sides, size, peaks)
    heatmap = colorize(_outer(values) if signed else values, colors)
    opaque = opacity_of(values, opacity, signed)
    if strongest and opacity == EVIDENCE:
        ends = peaks_of(cams, signed) if peaks is None else peaks
        opaque = opaque * (ends / (WEAK * strongest)).clamp(max=1).sqrt()[:, None, None]
    return overlay(images, heatmap, opaque[:, None].expand(-1, 3, -1, -1))


def paled(images: Rgb) -> Rgb:
    """Images in pale grey: there is no map to be shown over them."""
    return (0.65 + 0.35 * images.mean(dim=1, keepdim=True)).expand(-1, 3, -1, -1)


def opacity_of(values: Tensor, opacity: float | str, signed: bool = False) -> Tensor:
    """How opaque a heatmap is where a map has these values, in [0, 1].

    Args:
        values: In [0, 1], of a signed map in [-1, 1].
        opacity: "evidence": 0.7 times the value, so that the image is as it is where there is no evidence,
            and is seen through the strongest; "constant": 0.5; a number in [0, 1]: that number.
        signed: A constant is multiplied by 1.4 and by the value, as its table has no colour for nothing.
    """
    if opacity == EVIDENCE:
        return MOST_OPAQUE * values.abs()
    constant = CONSTANT if isinstance(opacity, str) else opacity
    return (2 * MOST_OPAQUE * constant * values.abs()).clamp(max=1) if signed else 0 * values + constant


def color_bar(colors: ColorTable, opacity: float | str = EVIDENCE, signed: bool = False) -> ColorTable:
    """The colours that ``overlay_cams`` gives maps over grey, from 0 to 1, of signed ones from -1."""
    values = torch.linspace(-1 if signed else 0, 1, 256, dtype=colors.dtype, device=colors.device)
    shown = colors[((_outer(values) if signed else values) * 255).round().long()]
    return torch.lerp(torch.full_like(colors, 0.6), shown, opacity_of(values, opacity, signed)[:, None])


def two_colors(
    below: tuple[int, int, int], above: tuple[int, int, int], device: torch.device | str = "cpu"
) -> ColorTable:
    """A table of one colour below zero, and of another above."""
    return (
        torch.tensor([below, above], dtype=torch.float32, device=device)
        .div(255)
        .repeat_interleave(128, dim=0)
    )


def _outer(values: Tensor) -> Tensor:
    """Places in a diverging table, in [0, 1]. Its middle, often white, is left out: as a halo it would stand
    for almost nothing.
    """
    return (values + values.sign() + 2) / 4


def outlined(images: Rgb, inside: Bool[Tensor, "n H W"], color: tuple[int, int, int] = WHITE) -> Rgb:
    """A line around what is inside, in the colour, with a dark line around it that keeps it legible on bright
    ground.
    """
    grown, core = (_grown(inside, by) for by in (1, -1))
    dark = torch.where((grown & ~inside)[:, None], 0.25 * images, images)
    line = torch.tensor(color, dtype=images.dtype, device=images.device)[:, None, None] / 255
    return torch.where((inside & ~core)[:, None], line, dark)


def _grown(inside: Tensor, by: int) -> Tensor:
    """Grown by a pixel, or shrunk: what lies beyond the picture counts as what is at its edge."""
    padded = F.pad((inside if by > 0 else ~inside)[:, None].float(), (1, 1, 1, 1), mode="replicate")
    found = F.max_pool2d(padded, 3, stride=1)[:, 0] > 0
    return found if by > 0 else ~found


def overlay_parts(images: Rgb, strengths: FlatMaps) -> Rgb:
    """Parts over the images in grey, in [0, 1]: the colour of the strongest one at each pixel, the stronger
    the more opaque.

    The first seven parts have a colour; the others are left out. Grey, because colours of the image would
    change the parts'.
    """
    colors = torch.tensor(PART_COLORS, dtype=strengths.dtype, device=strengths.device) / 255
    strongest, which = strengths[:, : len(PART_COLORS)].max(dim=1, keepdim=True)
    grey = images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    opacity = MOST_OPAQUE * strongest.expand(-1, 3, -1, -1)
    return overlay(grey, colors[which[:, 0]].permute(0, 3, 1, 2), opacity)
