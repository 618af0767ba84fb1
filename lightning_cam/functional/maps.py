"""From a raw CAM to a saliency map, and why a map may be blank."""

import torch
import torch.nn.functional as F

from lightning_cam.typing import Activations, Cams, Gradients, Labels, Saliency

BLANK_REASONS = (
    "",
    "the map is not finite",
    "no activation at the layer",
    "the gradient is zero",
    "nothing speaks for the class",
    "the map is nowhere positive",
)


def upsample(cams: Cams, size: tuple[int, int]) -> Saliency:
    """CAMs at another resolution, bilinear with ``align_corners=False``, in the unit and range of ``cams``."""
    return F.interpolate(cams[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]


def normalize(maps: Saliency) -> Saliency:
    """The positive part of each map divided by its maximum, in [0, 1]; a map that is not finite or nowhere positive is zero.

    The minimum is not subtracted: zero keeps meaning "no evidence".
    """
    finite = maps.isfinite().all(dim=(1, 2), keepdim=True)
    positive = torch.where(finite, maps, 0.0).clamp(min=0)
    peak = positive.amax(dim=(1, 2), keepdim=True)
    return torch.where(peak > 0, positive / peak, 0.0)


def saliency(cams: Cams, size: tuple[int, int]) -> Saliency:
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
