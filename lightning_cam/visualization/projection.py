"""Images and maps of any rank as 2-D pictures: signals as traces, volumes as slices. Tensors in, tensors
out.
"""

import itertools
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_cam.attribution.maps import balanced, interpolate, normalize, relative
from lightning_cam.typing import (
    Activations,
    Cams,
    FlatMaps,
    Images,
    PerImage,
    Resized,
    Rgb,
    Saliency,
    Shown,
    Signals,
    Tiles,
)

MOST_ROWS = 16  # channels of a signal that are drawn
SLICE_GAP = 4  # pixels between the slices of a volume


def flatten_to_pictures(images: Shown, size: tuple[int, ...]) -> Rgb:
    """2-D pictures of images of any rank, at their ``drawn_size``.

    Of a volume the slices through the middle of D, H and W stand side by side, on white. A signal becomes its
    trace.
    """
    if images.ndim == 3:
        return trace(images, size)
    if images.ndim == 4:
        return resize(images, size)
    slices = [images.select(dim + 2, side // 2) for dim, side in enumerate(images.shape[2:])]
    return beside([resize(picture, _without(size, dim)) for dim, picture in enumerate(slices)], 1.0)


def flatten_maps(maps: Activations, sides: tuple[int, ...], size: tuple[int, ...]) -> FlatMaps:
    """2-D maps that belong to ``flatten_to_pictures`` of images with these ``sides``, in the unit of
    ``maps``.

    They are interpolated as by ``upsample``. The map of a signal is as high as its trace; around a volume's
    slices it is NaN.
    """
    if maps.ndim == 3:
        return interpolate(maps, size[1:])[:, :, None].expand(-1, -1, size[0], -1)
    if maps.ndim == 4:
        return interpolate(maps, size)
    return beside(
        [interpolate(flat, _without(size, dim)) for dim, flat in enumerate(flat_grids(maps, sides))],
        torch.nan,
    )


def flat_grids(maps: Activations, sides: tuple[int, ...]) -> list[FlatMaps]:
    """The 2-D maps that ``flatten_maps`` interpolates, at the layer's resolution: of volumes the three
    slices, else one.
    """
    if maps.ndim == 3:
        return [maps[:, :, None]]
    if maps.ndim == 4:
        return [maps]
    return [_middle(maps, dim + 2, (side // 2 + 0.5) / side) for dim, side in enumerate(sides)]


def flat_places(size: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
    """Left, top, width and height of each of ``flat_grids`` in pictures that are drawn at this
    ``drawn_size``.
    """
    sizes = [size] if len(size) == 2 else [_without(size, dim) for dim in range(len(size))]
    lefts = itertools.accumulate((width + SLICE_GAP for _, width in sizes[:-1]), initial=0)
    highest = max(height for height, _ in sizes)
    return [
        (left, (highest - height) // 2, width, height)
        for left, (height, width) in zip(lefts, sizes, strict=True)
    ]


def flat_saliency(
    cams: Cams, sides: tuple[int, ...], size: tuple[int, ...], peaks: PerImage | None = None
) -> Saliency:
    """Saliency maps in [0, 1] as 2-D pictures: positive part divided by the maximum, which a volume may have
    beside its slices.

    Args:
        peaks: What to divide by instead, image by image.
    """
    if peaks is not None:
        return flat_signed(cams, sides, size, peaks).clamp(min=0)
    if cams.ndim == 4:
        return flatten_maps(relative(cams)[:, None], sides, size)[:, 0].clamp(min=0)
    return normalize(flatten_maps(cams[:, None], sides, size)[:, 0])


def flat_signed(
    cams: Cams, sides: tuple[int, ...], size: tuple[int, ...], peaks: PerImage | None = None
) -> Saliency:
    """Maps in [-1, 1] as 2-D pictures: divided by the largest absolute value, or by ``peaks``; zero where not
    finite.
    """
    if peaks is None:
        scaled = balanced(cams)
    else:
        each = (-1, *[1] * (cams.ndim - 1))
        known = torch.where(cams.isfinite().flatten(1).all(dim=1).reshape(each), cams, 0.0)
        scaled = torch.where(peaks.reshape(each) > 0, known / peaks.reshape(each), 0.0)
    return flatten_maps(scaled[:, None], sides, size)[:, 0].clamp(-1, 1)


def peaks_of(cams: Cams, signed: bool = False) -> PerImage:
    """Largest value of each map, of absolute values where ``signed``; 0 where a map is blank: not finite, or
    nowhere positive.
    """
    flat = (cams.abs() if signed else cams).flatten(1)
    return torch.where(flat.isfinite().all(dim=1), flat.amax(dim=1).clamp(min=0), 0.0)


def _middle(maps: Activations, dim: int, place: float) -> Tensor:
    """The slice at that share of a side, between the two positions next to it."""
    last = maps.shape[dim] - 1
    position = min(max(place * maps.shape[dim] - 0.5, 0.0), float(last))
    before = int(position)
    return torch.lerp(maps.select(dim, before), maps.select(dim, min(before + 1, last)), position - before)


def _without(size: tuple[int, ...], dim: int) -> tuple[int, ...]:
    return (*size[:dim], *size[dim + 1 :])


def trace(signals: Signals, size: tuple[int, ...]) -> Rgb:
    """Signals in [0, 1] as white lines on black, a row per channel from the top, at most 16.

    A column of pixels shows all values that fall into it, so that no spike is lost.
    """
    signals = signals[:, :MOST_ROWS]
    rows, (height, width) = signals.shape[1], size
    fine = F.interpolate(signals, size=max(width, signals.shape[2]), mode="linear")
    highest, lowest = F.adaptive_max_pool1d(fine, width), -F.adaptive_max_pool1d(-fine, width)
    # Each column reaches to the one before, so that steep slopes have no gaps.
    highest, lowest = torch.maximum(highest, _before(lowest)), torch.minimum(lowest, _before(highest))
    row = torch.arange(rows, device=signals.device, dtype=signals.dtype)[:, None]
    margin = 0.1  # of a row, above and below
    top, bottom = (
        (row + 1 - margin - (1 - 2 * margin) * values) * height / rows for values in (highest, lowest)
    )
    pixel = torch.arange(height, device=signals.device, dtype=signals.dtype)[:, None] + 0.5
    distance = torch.maximum(top[:, :, None] - pixel, pixel - bottom[:, :, None])
    thickness = 1.5
    ink = ((thickness + 1) / 2 - distance).clamp(0, 1).amax(dim=1, keepdim=True)
    return ink.expand(-1, 3, -1, -1)


def _before(values: Signals) -> Signals:
    """In each column what stands in the one before."""
    return torch.cat([values[:, :, :1], values[:, :, :-1]], dim=2)


def beside(pictures: Sequence[Tensor], fill: float) -> FlatMaps:
    """Pictures (n, k, ., .) of any size in a row, centred, with a gap between them."""
    height = max(picture.shape[2] for picture in pictures)
    padded = []
    for place, picture in enumerate(pictures):
        above = (height - picture.shape[2]) // 2
        below = height - picture.shape[2] - above
        padded.append(F.pad(picture, (SLICE_GAP if place else 0, 0, above, below), value=fill))
    return torch.cat(padded, dim=3)


def drawn_size(images: Images, smallest: int = 112, largest: int = 224) -> tuple[int, ...]:
    """The size at which images are drawn, by ``tile_size``; of a signal that of its trace; of a volume D H W,
    half as large.
    """
    channels, *sides = images.shape[1:]
    if len(sides) == 1:
        return max(largest // 2, min(channels, MOST_ROWS) * largest // MOST_ROWS), largest
    if len(sides) == 2:
        return tile_size(sides[0], sides[1], smallest, largest)
    factor = _growth(max(sides), 3 * largest // 8, largest // 2)
    return tuple(max(1, round(side * factor)) for side in sides)


def tile_size(height: int, width: int, smallest: int = 112, largest: int = 224) -> tuple[int, int]:
    """Height and width at which an image is drawn, in pixels.

    Small images grow by a whole factor until the longer side is at least ``smallest``, or would pass
    ``largest``; large ones shrink until it is ``largest``.
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
