"""From a saliency map to regions: what is salient enough, its connected components, and tight boxes around
them.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_cam.typing import Boxes, Components, Masks, Saliency


def foreground(saliency: Saliency, threshold: float = 0.5) -> Masks:
    """Where the saliency is at least ``threshold``; nowhere in a blank map.

    Args:
        threshold: Share of the map's maximum, in (0, 1].

    Raises:
        ValueError: ``threshold`` is outside (0, 1].
    """
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not 0 < threshold <= 1:
        raise ValueError(f"threshold: got {threshold!r}; give a share of the map's maximum, in (0, 1].")
    return saliency >= threshold


def components(masks: Masks) -> Components:
    """Connected components: 0 outside, and in each component one number of its own, at least 1. Corners
    connect.

    The number is the place of the component's last pixel, in reading order, counted from 1.
    """
    count = math.prod(masks.shape[1:])
    inside = F.pad(masks.flatten(1), (1, 0))  # place 0 is that of all outside
    found = torch.where(inside, torch.arange(count + 1, device=masks.device), 0)
    while True:
        around = F.pad(_largest_around(found[:, 1:].reshape(masks.shape)).flatten(1), (1, 0))
        met = torch.where(inside, around, 0)
        # The pixel that a number names hears what was met by all that bear it, and all hear it from that
        # pixel: few rounds are enough for any path.
        heard = found.scatter_reduce(1, found, met, "amax")
        heard = torch.maximum(heard.gather(1, heard), met)
        if torch.equal(heard, found):
            return found[:, 1:].reshape(masks.shape)
        found = heard


def boxes(saliency: Saliency, threshold: float = 0.5) -> list[Boxes]:
    """Tight boxes around each image's components of the foreground, the one of most pixels first; (0, 4)
    where a map is blank.

    A box is ``x1 y1 x2 y2`` in whole pixels as torchvision has it: x2 and y2 are the first column and row
    beyond it, so that ``saliency[image, y1:y2, x1:x2]`` is what it holds. Of a volume it is ``x1 y1 z1 x2 y2
    z2``, of a signal ``x1 x2``. Among components of equal size the stronger peak is first.

    Args:
        threshold: Share of the map's maximum, in (0, 1]. With 0.2 each image's first box is that of the
            source.

    Raises:
        ValueError: ``threshold`` is outside (0, 1].

    Source: Zhou et al., Learning Deep Features for Discriminative Localization, CVPR 2016, section 3.2: the
        box that covers the largest connected component above 20 % of the maximum.
        https://arxiv.org/abs/1512.04150
    """
    found = components(foreground(saliency, threshold))
    return [_boxes(numbers, values) for numbers, values in zip(found, saliency, strict=True)]


def _boxes(numbers: Tensor, saliency: Tensor) -> Boxes:
    """The boxes of one image."""
    inside = numbers > 0
    _, which, sizes = numbers[inside].unique(return_inverse=True, return_counts=True)
    places = inside.nonzero().flip(1)  # x first
    every = which[:, None].expand_as(places)
    none = places.new_zeros(len(sizes), places.shape[1])
    starts = none.scatter_reduce(0, every, places, "amin", include_self=False)
    ends = none.scatter_reduce(0, every, places, "amax", include_self=False) + 1
    peaks = saliency.new_full((len(sizes),), -math.inf).scatter_reduce(0, which, saliency[inside], "amax")
    by_peak = peaks.argsort(descending=True, stable=True)
    order = by_peak[sizes[by_peak].argsort(descending=True, stable=True)]
    return torch.cat([starts, ends], dim=1)[order]


def _largest_around(values: Tensor) -> Tensor:
    """The largest of each value and those next to it along every side and diagonal."""
    for dim in range(1, values.ndim):
        last = values.shape[dim] - 1
        before = torch.cat([values.narrow(dim, 0, 1), values.narrow(dim, 0, last)], dim=dim)
        after = torch.cat([values.narrow(dim, 1, last), values.narrow(dim, last, 1)], dim=dim)
        values = torch.maximum(values, torch.maximum(before, after))
    return values
