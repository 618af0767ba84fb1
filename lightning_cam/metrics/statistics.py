"""Numbers of a saliency map: each a function ``(maps: MapContext) -> (n,)`` and a row in ``STATISTICS``."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from lightning_cam.typing import Cams, Masks, PerImage, Saliency


@dataclass(frozen=True)
class MapContext:
    """All that a statistic may see: one look's maps of n images, and what they are compared with.

    A statistic is a function ``(maps: MapContext) -> (n,)``: one number per image, NaN where there is none.
    It becomes a scalar of its own by a row in ``STATISTICS``, or is asked for once with
    ``explanation.statistic(function)``.

    Args:
        saliency: (n, H, W) in [0, 1], at the images' resolution: 1 at each map's maximum, 0 where there is no
            evidence, 0 everywhere in a blank map. Signals have (n, T), volumes (n, D, H, W).
        cams: (n, h, w) raw maps as the method made them, in its own unit, at the target layer's resolution;
            signed where the method is.
        masks: (n, H, W) True where the object is; None where nobody knows.
        last: Raw maps of the look before this one, shaped as ``cams``; NaN where an image was not looked at.
            None where there was no such look.
        first: Likewise of the first look.

    Example:
        >>> import torch
        >>> def peak(maps):
        ...     return maps.cams.flatten(1).amax(dim=1)
        >>> cams = torch.tensor([[[0.0, 2.0], [1.0, 0.0]]])
        >>> peak(MapContext(saliency=cams / 2, cams=cams))
        tensor([2.])
    """

    saliency: Saliency
    cams: Cams
    masks: Masks | None = None
    last: Cams | None = None
    first: Cams | None = None


def border_mass(saliency: Saliency, width: float = 0.1) -> PerImage:
    """Share of the saliency within ``width`` of the image's edge, in [0, 1]; NaN for a blank map.

    Args:
        width: Thickness of the edge as a fraction of each side, in (0, 0.5); rounded to whole pixels, at
            least one.

    Raises:
        ValueError: ``width`` is outside (0, 0.5).

    Example:
        >>> import torch
        >>> border_mass(torch.ones(1, 10, 10), width=0.1)
        tensor([0.3600])
    """
    return _share(saliency, reduce(torch.logical_or, _ends(saliency, width)))


def corner_mass(saliency: Saliency, width: float = 0.25) -> PerImage:
    """Share of the saliency in the corners, near an end of every side, in [0, 1]; NaN for a blank map.

    Args:
        width: Side of a corner as a fraction of the image's side, in (0, 0.5); rounded to whole pixels, at
            least one. The default is one cell of a 4 x 4 grid. A signal's corners are its two ends.

    Raises:
        ValueError: ``width`` is outside (0, 0.5).

    Example:
        >>> import torch
        >>> corner_mass(torch.ones(1, 8, 8))
        tensor([0.2500])
    """
    return _share(saliency, reduce(torch.logical_and, _ends(saliency, width)))


def entropy(saliency: Saliency) -> PerImage:
    """Shannon entropy of the mass over pixels divided by that of a uniform map, in [0, 1]; NaN for a blank
    map.

    Source: Shannon, A Mathematical Theory of Communication, 1948, section 6.
        https://doi.org/10.1002/j.1538-7305.1948.tb01338.x
    """
    shares = _shares(saliency)
    found = _total(torch.special.entr(shares)) / math.log(shares[0].numel())
    return found.clamp(0, 1)  # but for rounding it is


def gini(saliency: Saliency) -> PerImage:
    """Gini index of the mass over pixels, in [0, 1]: 0 is uniform, near 1 is one pixel; NaN for a blank map.

    Source: Chalasani et al., Concise Explanations of Neural Networks using Adversarial Training, ICML 2020,
        section 5.
    https://arxiv.org/abs/1810.06583
    """
    ascending = _ascending(_shares(saliency).flatten(1))
    pixels = ascending.shape[1]
    rank = torch.arange(1, pixels + 1, device=saliency.device, dtype=saliency.dtype)
    return ((ascending * (2 * rank - pixels - 1)).sum(dim=1) / pixels).clamp(0, 1)  # but for rounding it is


def center_x(saliency: Saliency) -> PerImage:
    """Horizontal centre of mass as a fraction of the width (of a signal: the time), in [0, 1], 0 is left; NaN
    for a blank map.
    """
    return _center(saliency, dim=saliency.ndim - 1)


def center_y(saliency: Saliency) -> PerImage:
    """Vertical centre of mass as a fraction of the height, in [0, 1], 0 is the top; NaN for a blank map or a
    signal.
    """
    if saliency.ndim < 3:
        return torch.full_like(saliency[:, 0], torch.nan)
    return _center(saliency, dim=saliency.ndim - 2)


def effective_area(saliency: Saliency) -> PerImage:
    """Share of the image over which the mass is spread, in (0, 1]: ``(sum s)^2 / (N sum s^2)``; NaN for a
    blank map.

    A map that is constant on a part of the image and zero elsewhere has that part's area.

    Source: the inverse participation ratio; Bell and Dean, Discuss. Faraday Soc. 50, 1970.
        https://doi.org/10.1039/DF9705000055
    """
    area = 1 / (_total(_shares(saliency).square()) * saliency[0].numel())
    return area.clamp(0, 1)  # but for rounding it is


def mass_inside(saliency: Saliency, masks: Masks) -> PerImage:
    """Share of the saliency inside the mask, in [0, 1]; NaN for a blank map or an empty mask.

    Source: Wang et al., Score-CAM, CVPRW 2020, eq. 7 (energy-based pointing game).
        https://arxiv.org/abs/1910.01279
    """
    return torch.where(masks.flatten(1).any(dim=1), _share(saliency, masks), torch.nan)


def pointing_game(saliency: Saliency, masks: Masks) -> PerImage:
    """1 where the saliency's (first) maximum lies inside the mask, 0 where not; NaN for a blank map or an
    empty mask.

    Source: Zhang et al., Top-down Neural Attention by Excitation Backprop, ECCV 2016, section 4.2, without
        the tolerance of 15
    pixels. https://arxiv.org/abs/1608.00507
    """
    peak = saliency.flatten(1).argmax(dim=1, keepdim=True)
    hit = masks.flatten(1).gather(1, peak)[:, 0].to(saliency.dtype)
    known = masks.flatten(1).any(dim=1) & (saliency > 0).flatten(1).any(dim=1)
    return torch.where(known, hit, torch.nan)


def raw_peak(cams: Cams) -> PerImage:
    """Maximum of the raw map, in the method's unit, in (-inf, inf); what scaling by the maximum hides."""
    return cams.flatten(1).amax(dim=1)


def jensen_shannon(cams: Cams, others: Cams) -> PerImage:
    """Jensen-Shannon divergence of the maps' positive parts, in bits, in [0, 1]; NaN where one is blank or
    not finite.

    Source: Lin, Divergence Measures Based on the Shannon Entropy, IEEE TIT 1991, eq. 4.1.
        https://doi.org/10.1109/18.61115
    """
    p, q = (_shares(torch.where(maps.isfinite(), maps.clamp(min=0), torch.nan)) for maps in (cams, others))
    divergence = torch.special.entr((p + q) / 2) - (torch.special.entr(p) + torch.special.entr(q)) / 2
    return (_total(divergence) / math.log(2)).clamp(0, 1)


@dataclass(frozen=True)
class Statistic:
    """A row of ``STATISTICS``: the function, its unit and its range; whether it needs masks, and of how many
    dimensions maps.
    """

    function: Callable[[MapContext], PerImage]
    unit: str
    low: float
    high: float
    needs_masks: bool = False
    dimensions: int = 1  # at least

    def __call__(self, maps: MapContext) -> PerImage:
        """One number per image."""
        return self.function(maps)


STATISTICS: dict[str, Callable[[MapContext], PerImage]] = {
    "border_mass": Statistic(lambda maps: border_mass(maps.saliency), "share of the saliency", 0.0, 1.0),
    "corner_mass": Statistic(lambda maps: corner_mass(maps.saliency), "share of the saliency", 0.0, 1.0),
    "entropy": Statistic(lambda maps: entropy(maps.saliency), "share of a uniform map's entropy", 0.0, 1.0),
    "gini": Statistic(lambda maps: gini(maps.saliency), "Gini index", 0.0, 1.0),
    "center_x": Statistic(lambda maps: center_x(maps.saliency), "share of the width", 0.0, 1.0),
    "center_y": Statistic(
        lambda maps: center_y(maps.saliency), "share of the height", 0.0, 1.0, dimensions=2
    ),
    "effective_area": Statistic(lambda maps: effective_area(maps.saliency), "share of the image", 0.0, 1.0),
    "mass_inside": Statistic(
        lambda maps: _masked(mass_inside, maps),
        "share of the saliency inside the mask",
        0.0,
        1.0,
        needs_masks=True,
    ),
    "pointing_game": Statistic(
        lambda maps: _masked(pointing_game, maps), "hit or miss", 0.0, 1.0, needs_masks=True
    ),
    "raw_peak": Statistic(lambda maps: raw_peak(maps.cams), "unit of the method", -math.inf, math.inf),
    "drift_last": Statistic(lambda maps: _drift(maps, maps.last), "bits", 0.0, 1.0),
    "drift_first": Statistic(lambda maps: _drift(maps, maps.first), "bits", 0.0, 1.0),
}


def measure(maps: MapContext) -> dict[str, PerImage]:
    """Every row of ``STATISTICS`` by name, (n,) each, but for those that need masks or dimensions which are
    not there.
    """
    return {name: statistic(maps) for name, statistic in STATISTICS.items() if _applies(statistic, maps)}


def _applies(statistic: Callable[[MapContext], PerImage], maps: MapContext) -> bool:
    has_masks = maps.masks is not None or not getattr(statistic, "needs_masks", False)
    return has_masks and maps.saliency.ndim > getattr(statistic, "dimensions", 1)


def _masked(statistic: Callable[[Saliency, Masks], PerImage], maps: MapContext) -> PerImage:
    if maps.masks is None:
        return torch.full_like(_total(maps.saliency), torch.nan)
    return statistic(maps.saliency, maps.masks)


def _drift(maps: MapContext, others: Cams | None) -> PerImage:
    """Divergence from another look; from itself, where there was none."""
    return jensen_shannon(maps.cams, maps.cams if others is None else others)


def _ascending(rows: Float[Tensor, "n pixels"]) -> Float[Tensor, "n pixels"]:
    """Each row sorted, of values from zero on; NaN last.

    The dearest step of all statistics: on the CPU NumPy sorts three times as fast as torch, to equal values,
    on as many threads as torch uses; the many pixels that are zero come first unsorted.
    """
    if rows.device.type != "cpu":
        return rows.sort(dim=1).values
    values = rows.detach().numpy()
    found = np.zeros_like(values)

    def sort(row: np.ndarray, ascending: np.ndarray) -> None:
        others = np.sort(row[row != 0])
        ascending[len(row) - len(others) :] = others

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:
        list(pool.map(sort, values, found))
    return torch.from_numpy(found)


def _total(values: Saliency) -> PerImage:
    return values.sum(dim=tuple(range(1, values.ndim)))


def _shares(maps: Saliency) -> Saliency:
    return maps / maps.sum(dim=tuple(range(1, maps.ndim)), keepdim=True)


def _share(saliency: Saliency, where: torch.Tensor) -> PerImage:
    return _total(torch.where(where, saliency, 0.0)) / _total(saliency)


def _center(saliency: Saliency, dim: int) -> PerImage:
    """Centre of mass along one side, as a fraction of it."""
    size = saliency.shape[dim]
    centers = (torch.arange(size, device=saliency.device, dtype=saliency.dtype) + 0.5) / size
    others = tuple(other for other in range(1, saliency.ndim) if other != dim)
    shares = _shares(saliency)
    return ((shares.sum(dim=others) if others else shares) * centers).sum(dim=1)


def _ends(saliency: Saliency, width: float) -> list[torch.Tensor]:
    """For each side, which positions are near one of its ends; shaped to stand beside the other sides."""
    if not 0 < width < 0.5:
        raise ValueError(f"width: got {width}; give a fraction of the side in (0, 0.5).")
    near = []
    for dim, size in enumerate(saliency.shape[1:], start=1):
        thickness = max(1, round(width * size))
        index = torch.arange(size, device=saliency.device)
        near_an_end = (index < thickness) | (index >= size - thickness)
        near.append(near_an_end.reshape(-1, *[1] * (saliency.ndim - 1 - dim)))
    return near
