"""From a raw CAM to a saliency map, and why a map may be blank."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_cam.typing import Activations, Cams, Gradients, Labels, Saliency

NO_EVIDENCE = "no evidence for the class"
BLANK_REASONS = (
    "",
    "the map is not finite",
    "no activation at the layer",
    "the gradient is zero",
    NO_EVIDENCE,
    "the map is nowhere positive",
)


def upsample(cams: Cams, size: tuple[int, ...]) -> Saliency:
    """CAMs at another resolution, (bi-, tri-)linear with ``align_corners=False``, in the unit and range of
    ``cams``.
    """
    return interpolate(cams[:, None], size)[:, 0]


def interpolate(maps: Activations, size: tuple[int, ...]) -> Tensor:
    """As ``upsample``, for several maps (n, k, *grid) of an image."""
    mode = {1: "linear", 2: "bilinear", 3: "trilinear"}[len(size)]
    return F.interpolate(maps, size=size, mode=mode, align_corners=False)


def fuse(cams: Sequence[Tensor]) -> Cams:
    """Maps of several layers as one, in [0, 1): the element-wise maximum of ``tanh(2 M / max M)``, at the
    finest resolution.

    Source: Jiang et al., LayerCAM, IEEE TIP 2021, section III-C, eq. 9 and 10.
        https://doi.org/10.1109/TIP.2021.3089943
    """
    size = max((tuple(maps.shape[1:]) for maps in cams), key=math.prod)
    scaled = [torch.tanh(2 * normalize(upsample(maps, size))) for maps in cams]
    return torch.stack(scaled).amax(dim=0)


def normalize(maps: Saliency) -> Saliency:
    """The positive part of each map divided by its maximum, in [0, 1]; a map that is not finite or nowhere
    positive is zero.

    The minimum is not subtracted: zero keeps meaning "no evidence".
    """
    return relative(maps).clamp(min=0)


def relative(maps: Cams) -> Cams:
    """Each map divided by its maximum, so that it is at most 1; one that is not finite or nowhere positive is
    zero.
    """
    positions = tuple(range(1, maps.ndim))
    finite = maps.isfinite().flatten(1).all(dim=1).reshape(-1, *[1] * len(positions))
    known = torch.where(finite, maps, 0.0)
    peak = known.amax(dim=positions, keepdim=True)
    return torch.where(peak > 0, known / peak, 0.0)


def balanced(maps: Cams) -> Cams:
    """Each map divided by its largest absolute value, in [-1, 1]; one that is not finite, or zero everywhere,
    is zero.
    """
    most = maps.abs().flatten(1).amax(dim=1).reshape(-1, *[1] * (maps.ndim - 1))
    return torch.where((most > 0) & most.isfinite(), maps / most, 0.0)


def part_strengths(parts: Activations) -> Activations:
    """Parts in [0, 1]: each divided by its maximum over all images; one that is nowhere positive, or not
    finite, is zero.
    """
    peak = parts.amax(dim=(0, *range(2, parts.ndim)), keepdim=True)
    return torch.where((peak > 0) & peak.isfinite(), parts / peak, 0.0)


def saliency(cams: Cams, size: tuple[int, ...]) -> Saliency:
    """Saliency maps in [0, 1] at the images' resolution: upsampled, positive part divided by the maximum."""
    return normalize(upsample(cams, size))


def blank_reason(upsampled: Saliency, activations: Activations, gradients: Gradients | None = None) -> Labels:
    """Why each map shows nothing: an index into ``BLANK_REASONS``, 0 where the map shows something.

    Asked of the upsampled map, because a weak peak among negative values may be lost between positions.

    Args:
        gradients: Of the target score, where the map was made from them.
    """
    finite = upsampled.isfinite().flatten(1).all(dim=1)
    shows = upsampled.flatten(1).amax(dim=1) > 0
    active = (activations != 0).flatten(1).any(dim=1)
    reason = torch.full_like(active, 5, dtype=torch.int64)
    if gradients is not None:
        reason = torch.where((gradients != 0).flatten(1).any(dim=1), 4, 3)
    reason = torch.where(active, reason, 2)
    reason = torch.where(shows, 0, reason)
    return torch.where(finite, reason, 1)
