"""Does the map lie where the image is? Stripes and edges of another image, and where a layer notices them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn

from lightning_cam.attribution.closeness import spread
from lightning_cam.attribution.config import ModelConfig
from lightning_cam.attribution.connection import connected
from lightning_cam.attribution.network import Network
from lightning_cam.attribution.preserve import leaving_no_trace
from lightning_cam.attribution.target_layer import TargetLayer
from lightning_cam.typing import Images

STRIPES = 8  # each way
EDGE = 1 / 16  # of a side
EDGES = ("top", "bottom", "left", "right")
PAIRS = 3
SHORTEST_SIDE = 16  # of an image, in pixels: an edge is at least one
SHARPNESS = 3  # of a peak: the exponent of its weights
MOST_CELLS = 16  # a side that the plane is laid through; finer maps are averaged
UNSEEN = 1e-4  # of the whole image's change: sound networks change by 0.019 at the least
ALIKE = 0.05  # of the images' mean difference: where two images differ less, nothing was asked
LEAST_STAND = 1.3  # untrained attention that has forgotten the place: 1.0 to 1.12; others 1.56 and more
LEAST_SHIFT = 0.1  # of the image
STRIDES = 1.5  # cells: strided convolutions truly shift maps by up to half a cell
LIE_FLAT = 0.85  # of the cells within a stripe of the plane: then the plane tells where the map is
SCRAMBLED = 0.45
LEAST_AGREEMENT = (
    0.65  # of the peaks of two pairs; untrained networks with maps of 4 x 4 have 0.41 at the least
)

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Place:
    """Where a layer's map lies in the image.

    Args:
        layer: The layer's name.
        grid: Its map's resolution.
        unseen: The edges, a sixteenth of the image each, that never reach the layer.
        stand: How much a stripe stands out on the map: its largest over its mean change, at least 1.
        agreement: Share of the map's places, counted for rows and for columns, that two pairs of images put
            within a stripe of each other, in [0, 1].
        dev: Largest displacement of a corner of the map, in parts of the image's side.
        fits: Share of the map's places, counted likewise, that lie within a stripe of where the plane has
            them, in [0, 1].
        box: What the map covers, as top, left, bottom, right, in parts of the image: 0, 0, 1, 1 is all.
        is_turned: Whether the map is mirrored, transposed or turned by more than 45 degrees.
    """

    layer: str
    grid: tuple[int, ...] = ()
    unseen: tuple[str, ...] = ()
    stand: float = 0.0
    agreement: float = 1.0
    dev: float = 0.0
    fits: float = 1.0
    box: Box = (0.0, 0.0, 1.0, 1.0)
    is_turned: bool = False

    @property
    def is_told(self) -> bool:
        """Whether more than the edges can be told: not of images that hardly differ, of signals and volumes,
        of small images, nor where each place of the map answers to all of the image.
        """
        return self.stand >= LEAST_STAND

    @property
    def is_displaced(self) -> bool:
        """Whether the map's corners lie elsewhere than the image's, which all pairs must agree on."""
        is_sure = self.is_told and self.agreement >= LEAST_AGREEMENT
        return is_sure and self.dev > max(LEAST_SHIFT, STRIDES / min(self.grid))

    @property
    def sentence(self) -> str:
        """What the user should know; empty where all is well, or where nothing can be told."""
        parts = []
        if self.unseen:
            several = "edges" if len(self.unseen) > 1 else "edge"
            parts.append(f"the forward never sees the image's {_listed(self.unseen)} {several}")
        if self.is_displaced:
            parts.append(self._displacement())
        if not parts:
            return ""
        return (
            f"place: {', and '.join(parts)}. Maps are drawn over the whole image: give the network the "
            "images as it uses them, with crops and warps before the forward"
        )

    def _displacement(self) -> str:
        maps = f"the maps of {self.layer!r}"
        if self.fits < SCRAMBLED:
            return (
                f"positions of {maps} are scrambled: neighbours there are none in the image, so their grid "
                "is probably misread"
            )
        if self.fits <= LIE_FLAT:
            return f"{maps} do not lie where the image is: places are moved by different distances"
        if self.is_turned:
            return f"{maps} lie mirrored or turned on the image"
        top, left, bottom, right = (f"{100 * side:.0f}" for side in self.box)
        return f"{maps} cover rows {top} to {bottom} % and columns {left} to {right} % of it"


def place(model: nn.Module, images: Images, layers: Sequence[TargetLayer], config: ModelConfig) -> Place:
    """Where the maps of the layers lie in the image: of several the first with something to say.

    Of up to three pairs of images, evenly spread, one of 8 stripes of one image is replaced by the other's,
    horizontal and vertical ones, and each of the four edges: 20 copies a pair, so 63 images go through the
    model once, without gradients, in batches of ``config.max_batch``. No trace is left. Ask once; where
    nothing can be told, again after training.

    Narrow padding is not found, nor a displacement of less than a tenth of the image or 1.5 cells.

    Raises:
        ValueError: The forward does not reach a layer, or a layer yields no map.
    """
    if images.ndim != 4 or min(images.shape[2:]) < SHORTEST_SIDE or len(images) < 2:
        return Place(layers[0].name)
    with connected(model, len(images), config, any_shape=True) as network, torch.no_grad():
        found = _placed(network, images.clone(), layers)
    return next((each for each in found if each.sentence), found[0])


def regions(size: tuple[int, ...]) -> Float[Tensor, "copies H W"]:
    """What each copy replaces, as zeros and ones: 8 stripes from the top, 8 from the left, then the edges
    top, bottom, left, right.
    """
    heights, widths = (_stripes(side) for side in size)
    rows, columns = (
        torch.zeros(len(each) + 2, side) for each, side in zip((heights, widths), size, strict=True)
    )
    for lines, side, stripes in ((rows, size[0], heights), (columns, size[1], widths)):
        thickness = max(1, round(EDGE * side))
        for number, (start, end) in enumerate([*stripes, (0, thickness), (side - thickness, side)]):
            lines[number] = torch.zeros(side).index_fill(0, torch.arange(start, end), 1)
    across = rows[:, :, None].expand(-1, -1, size[1])
    down = columns[:, None, :].expand(-1, size[0], -1)
    return torch.cat([across[:STRIPES], down[:STRIPES], across[STRIPES:], down[STRIPES:]])


def peaks(changes: Float[Tensor, "stripes h w"], asked: Sequence[int]) -> Float[Tensor, "h w"]:
    """At each place of the map where the stripes are that change it most, in parts of the image's side: the
    middles of stripes, weighed by the cube of how much more each changes the place than the least one does.

    Each stripe's change is divided by its own mean over the map before: else a bright stripe would win
    everywhere.

    Args:
        changes: Of all stripes of one direction.
        asked: Numbers of the stripes that count.
    """
    some = changes[list(asked)]
    relative = some / some.mean(dim=(1, 2), keepdim=True)
    middles = (torch.tensor(list(asked), dtype=some.dtype, device=some.device) + 0.5) / len(changes)
    above = relative - relative.amin(dim=0)
    # Divided by the largest first: cubes of small numbers would be lost in rounding.
    weights = torch.where(above > 0, above / above.amax(dim=0), 0.0) ** SHARPNESS
    total = weights.sum(dim=0)
    meant = (weights * middles[:, None, None]).sum(dim=0) / total
    return torch.where(total > 0, meant, middles.mean())  # all stripes change it alike: it lies nowhere


def plane(
    values: Float[Tensor, "h w"], living: Int[Tensor, "cells two"], own_axis: int
) -> tuple[float, float, float]:
    """The robust plane ``start + down * y + right * x`` through values at places of a map, whose sides run
    from 0 to 1: slopes are medians over all pairs of living places in a column and in a row, the start is the
    median of what is left (Theil-Sen).

    Args:
        living: Row and column of the places that count.
        own_axis: Along which axis, 0 or 1, the slope is 1 where no two places tell.

    Source: Sen, Estimates of the Regression Coefficient Based on Kendall's Tau, JASA 1968.
    https://doi.org/10.1080/01621459.1968.10480934
    """
    sides = torch.tensor(values.shape, dtype=values.dtype, device=values.device)
    where = (living.to(values.dtype) + 0.5) / sides
    of_living = values[living[:, 0], living[:, 1]]
    slopes = []
    for axis in (0, 1):
        other = living[:, 1 - axis]
        first, second = torch.nonzero(
            (other[:, None] == other) & (living[:, axis, None] < living[:, axis])
        ).mT
        steps = (of_living[second] - of_living[first]) / (where[second, axis] - where[first, axis])
        slopes.append(_median(steps) if len(steps) else float(axis == own_axis))
    rest = of_living - slopes[0] * where[:, 0] - slopes[1] * where[:, 1]
    return _median(rest), slopes[0], slopes[1]


def _placed(network: Network, images: Images, layers: Sequence[TargetLayer]) -> list[Place]:
    some = spread(len(images), PAIRS).to(images.device)
    firsts = images[some]
    seconds = firsts.roll(-1, 0)
    masks = regions(tuple(images.shape[2:])).to(images.device).bool()
    copies = torch.where(masks[None, :, None], seconds[:, None], firsts[:, None])
    rows = torch.cat([firsts, copies.flatten(0, 1)])
    index = torch.cat([some, some.repeat_interleave(len(masks))])
    parts: list[list[Tensor]] = [[] for _ in layers]
    for batch, numbers in network.batches(rows, index):
        with leaving_no_trace(network.model):
            cut = network.cut(batch, numbers, list(layers))
        for kept, leaf, own in zip(parts, cut.leaves, cut.layouts, strict=True):
            kept.append(own.to_map(leaf.detach()).float())
    differences = (seconds - firsts).abs().float().mean(dim=(0, 1))
    asked = torch.stack([differences[mask].mean() for mask in masks]) > ALIKE * differences.mean()
    return [
        _of_maps(layer.name, torch.cat(maps), len(some), asked.tolist())
        for layer, maps in zip(layers, parts, strict=True)
    ]


def _of_maps(name: str, maps: Tensor, pairs: int, asked: list[bool]) -> Place:
    """The place of a layer whose maps (rows, k, h, w) are those of the images, then of their copies."""
    grid = tuple(maps.shape[2:])
    own, copies = maps[:pairs], maps[pairs:].unflatten(0, (pairs, -1))
    changes = (copies - own[:, None]).norm(dim=2)  # (pairs, copies, h, w)
    whole = (own.roll(-1, 0) - own).norm(dim=1).mean()
    if not bool(whole > 0) or not bool(changes.isfinite().all()):
        return Place(name, grid)
    reach = (changes.mean(dim=(0, 2, 3)) / whole).tolist()
    dead = [is_asked and part < UNSEEN for is_asked, part in zip(asked, reach, strict=True)]
    # An edge may be black in all images, and the stripe that holds it not.
    outer = (0, STRIPES - 1, STRIPES, 2 * STRIPES - 1)
    edges = zip(EDGES, outer, range(2 * STRIPES, len(dead)), strict=True)
    unseen = tuple(edge for edge, stripe, own_copy in edges if dead[stripe] or dead[own_copy])

    # A pair whose images differ more would weigh more: each stripe of each pair is divided by its own mean.
    means = changes.mean(dim=(2, 3), keepdim=True)
    relative = torch.where(means > 0, changes / means, 0.0)[:, : 2 * STRIPES].flatten(0, 1)
    relative = F.adaptive_avg_pool2d(relative, (min(grid[0], MOST_CELLS), min(grid[1], MOST_CELLS)))
    each = relative.unflatten(0, (pairs, 2, STRIPES))
    seen = [
        [number for number in range(STRIPES) if asked[start + number] and not dead[start + number]]
        for start in (0, STRIPES)
    ]
    if min(len(numbers) for numbers in seen) < 2:
        return Place(name, grid, unseen)
    together = each.mean(dim=0)
    standing = [some[numbers].amax(dim=(1, 2)) for some, numbers in zip(together, seen, strict=True)]
    of_pairs = torch.stack([_peaks_of(pair, seen) for pair in each])
    apart = (of_pairs - of_pairs.roll(1, 0)).abs()
    living = torch.nonzero(together.sum(dim=(0, 1)) > UNSEEN)
    dev, fits, box, is_turned = _laid(_peaks_of(together, seen), living)
    return Place(
        name,
        grid,
        unseen,
        stand=_median(torch.cat(standing)),
        agreement=(apart <= 1 / STRIPES).float().mean().item(),
        dev=dev,
        fits=fits,
        box=box,
        is_turned=is_turned,
    )


def _peaks_of(changes: Tensor, seen: list[list[int]]) -> Tensor:
    """Peaks (2, h, w), of rows and of columns, for changes (2, stripes, h, w)."""
    return torch.stack([peaks(each, numbers) for each, numbers in zip(changes, seen, strict=True)])


def _laid(found: Tensor, living: Tensor) -> tuple[float, float, Box, bool]:
    """``dev``, ``fits``, ``box`` and ``is_turned`` of the peaks (2, h, w): rows, columns."""
    planes = torch.tensor([plane(values, living, axis) for axis, values in enumerate(found)])
    start, slopes = planes[:, 0], planes[:, 1:]
    corners = torch.tensor([(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0)])
    moved = start + corners @ slopes.T
    sides = torch.tensor(found.shape[1:], device=living.device)
    where = ((living + 0.5) / sides).cpu()
    distances = (found[:, living[:, 0], living[:, 1]].T.cpu() - start - where @ slopes.T).abs()
    fits = (distances <= 1 / STRIPES).float().mean().item()
    (top, left), (bottom, right) = moved.amin(dim=0).tolist(), moved.amax(dim=0).tolist()
    is_turned = bool(slopes[0, 0] <= slopes[0, 1].abs() or slopes[1, 1] <= slopes[1, 0].abs())
    return (moved - corners).abs().max().item(), fits, (top, left, bottom, right), is_turned


def _stripes(side: int) -> list[tuple[int, int]]:
    bounds = [round(number * side / STRIPES) for number in range(STRIPES + 1)]
    return list(pairwise(bounds))


def _median(values: Tensor) -> float:
    """The mean of the two middle ones where there is an even number."""
    return values.double().quantile(0.5).item()


def _listed(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
