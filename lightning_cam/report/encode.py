"""Pictures and maps packed small: what the report page draws overlays from."""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from PIL import Image
from torch import Tensor

from lightning_cam.attribution.maps import interpolate
from lightning_cam.checks import Normalization
from lightning_cam.data.history import History, Look
from lightning_cam.report.template import text_of
from lightning_cam.typing import FlatMaps, Images, PerImage
from lightning_cam.visualization.blend import displayable
from lightning_cam.visualization.projection import (
    drawn_size,
    flat_grids,
    flat_places,
    flatten_to_pictures,
    tile,
)

SIDES = (112, 256)  # smallest and largest longer side of a picture, in pixels
MOST_LOSSLESS = 16_384  # bytes up to which a picture is a PNG
MOST_NEGATIVE = 7  # times the maximum: so much of what is negative is kept, to show where a map crosses zero


@dataclass(frozen=True)
class Pictures:
    """Images as files: a picture at 1:1 for each, or none where only their size is known.

    Args:
        size: As ``drawn_size`` has it.
        files: Data URIs, one per image.
        guessed: Whether the images' range had to be guessed.
    """

    size: tuple[int, ...]
    files: tuple[str, ...]
    guessed: bool = False


@dataclass(frozen=True, eq=False)
class Maps:
    """The maps of all looks, one byte per cell: cell ``q`` holds ``(q - zero) step``, in the method's unit.

    Args:
        cells: (looks, images, cells) of all grids of an image, one after the other, row by row.
        grids: Height and width of each grid.
        zeros: (looks, images) the byte that is zero.
        steps: (looks, images) as above.
        tops: (looks, images) maximum of the map as it is drawn, 0 where it is nowhere positive; NaN where it
            was not seen.
        pooled: Into how many cells a side one cell is averaged, so that the page stays small; 1: none.
    """

    cells: np.ndarray
    grids: tuple[tuple[int, int], ...]
    zeros: np.ndarray
    steps: np.ndarray
    tops: np.ndarray
    pooled: int


def pack_images(images: Images, normalization: Normalization | None) -> Pictures:
    """The images as they are drawn, as PNG where that is small, else as JPEG."""
    shown, guessed = displayable(images, *(normalization or ((), ())))
    size = drawn_size(images, *SIDES)
    return Pictures(
        size, tuple(_file(picture) for picture in tile(flatten_to_pictures(shown, size))), guessed
    )


def pack_maps(
    history: History, count: int, sides: tuple[int, ...], size: tuple[int, ...], most_bytes: int
) -> Maps:
    """Maps of the first ``count`` images, averaged over cells where they would take more than ``most_bytes``.

    Args:
        sides: Of the images.
        size: At which they are drawn.
    """
    places = flat_places(size)
    grids = [
        (min(own[0], height), min(own[1], width))
        for own, (_, _, width, height) in zip(_sides(history, sides), places, strict=True)
    ]
    looks = len(history)
    pooled = next(
        factor
        for factor in range(1, 1 + max(max(grid) for grid in grids))
        if looks * count * sum(math.prod(_pooled(grid, factor)) for grid in grids) <= most_bytes
        or factor == max(map(max, grids))
    )
    small = [_pooled(grid, pooled) for grid in grids]
    packed = [_pack(look, count, sides, grids, small, places) for look in history.looks]
    cells, zeros, steps, tops = (np.stack(part) for part in zip(*packed, strict=True))
    return Maps(cells, tuple(small), zeros, steps, tops, pooled)


def data_uri(kind: str, content: bytes) -> str:
    """A file as a URI that holds it."""
    return f"data:image/{kind};base64,{text_of(content)}"


def _sides(history: History, sides: tuple[int, ...]) -> list[tuple[int, int]]:
    maps = history.looks[0].scaled[:1, None].float()
    return [(grid.shape[2], grid.shape[3]) for grid in flat_grids(maps, sides)]


def _pooled(grid: tuple[int, int], factor: int) -> tuple[int, int]:
    return -(-grid[0] // factor), -(-grid[1] // factor)


def _pack(
    look: Look,
    count: int,
    sides: tuple[int, ...],
    grids: Sequence[tuple[int, int]],
    small: Sequence[tuple[int, int]],
    places: Sequence[tuple[int, int, int, int]],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cells, zeros, steps and tops of one look."""
    cams = look.cams[:count]
    finite = cams.isfinite().flatten(1).all(dim=1)
    known = torch.where(finite.reshape(-1, *[1] * (cams.ndim - 1)), cams, 0.0)
    maps: list[FlatMaps] = []
    for own, grid, smaller in zip(flat_grids(known[:, None], sides), grids, small, strict=True):
        # What is finer than the picture is seen as the picture samples it.
        sampled = own if tuple(own.shape[2:]) == grid else interpolate(own, grid)
        maps.append(sampled if smaller == grid else F.adaptive_avg_pool2d(sampled, smaller))
    drawn = [
        interpolate(own, (height, width)) for own, (_, _, width, height) in zip(maps, places, strict=True)
    ]
    # As ``flat_saliency`` has it: the maximum of a volume may lie beside its slices.
    tops = _largest([known.flatten(1)]) if known.ndim == 4 else _largest([own.flatten(1) for own in drawn])
    flat = torch.cat([own.flatten(1) for own in maps], dim=1)
    positive = flat.amax(dim=1).clamp(min=0)
    negative = torch.minimum((-flat.amin(dim=1)).clamp(min=0), MOST_NEGATIVE * positive)
    zeros = torch.where(positive > 0, 255 * (negative / (negative + positive)), 0.0).round()
    steps = positive / (255 - zeros)
    cells = torch.where(steps[:, None] > 0, flat / steps[:, None] + zeros[:, None], 0.0).round().clamp(0, 255)
    tops = torch.where(look.predicted[:count] >= 0, tops.clamp(min=0), torch.nan)
    return cells.to(torch.uint8).numpy(), zeros.int().numpy(), steps.numpy(), tops.numpy()


def _largest(maps: Sequence[Float[Tensor, "n cells"]]) -> PerImage:
    return torch.stack([own.amax(dim=1) for own in maps]).amax(dim=0)


def _file(picture: Tensor) -> str:
    image = Image.fromarray(picture.numpy())
    png = io.BytesIO()
    image.save(png, format="PNG", optimize=True)
    if png.tell() <= MOST_LOSSLESS:
        return data_uri("png", png.getvalue())
    jpeg = io.BytesIO()
    image.save(jpeg, format="JPEG", quality=88)
    return data_uri("jpeg", jpeg.getvalue())
