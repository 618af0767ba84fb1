"""Features of images that cues are made of: mean patterns, spectra, tones, places. Tensors in, tensors
out.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lightning_cam.typing import Images, Masks

GRID = 4  # cells per side
LARGEST_MEAN = 128  # pixels: class means are kept at no more
QUANTILES = 65
FLOOR = 1e-3  # of a channel's spread: below it, amplitudes are rounding
Features = Float[Tensor, "n *feature"]


# What a class is the mean of


def image(images: Images) -> Features:
    """The pixels, at no more than 128 a side, in the images' unit."""
    height, width = (min(side, LARGEST_MEAN) for side in images.shape[2:])
    return (
        images
        if (height, width) == tuple(images.shape[2:])
        else F.adaptive_avg_pool2d(images, (height, width))
    )


def spectrum(images: Images) -> Features:
    """Log amplitude by radial frequency, its mean over channels: how sharp, how noisy. Invariant to scale and
    shift.
    """
    radius = radial_frequencies(images)
    bins = int(radius.max()) + 1
    amplitudes = torch.fft.rfft2(images).abs().flatten(2)
    sums = amplitudes.new_zeros(*amplitudes.shape[:2], bins).index_add(2, radius.flatten(), amplitudes)
    counts = torch.bincount(radius.flatten(), minlength=bins)
    return (sums / counts + _least_amplitude(images)).log().mean(dim=1)


def amplitude(images: Images) -> Features:
    """Log amplitude by frequency and direction, its mean over channels: gratings, whatever their phase."""
    return (torch.fft.rfft2(images).abs() + _least_amplitude(images)[..., None]).log().mean(dim=1)


def tone(images: Images) -> Features:
    """The sorted values of each channel at 65 quantiles, in the images' unit: colours, exposure, tone
    curve.
    """
    return at_ranks(images.flatten(2).sort(dim=2).values, QUANTILES)


FEATURES: dict[str, Callable[[Images], Features]] = {
    "image": image,
    "spectrum": spectrum,
    "amplitude": amplitude,
    "tone": tone,
}


def ring(images: Images, share: int) -> Tensor:
    """(H, W) which pixels lie within a ``share``-th of each side of the edge."""
    inside = [_between(side, side // share, side - side // share) for side in images.shape[2:]]
    return ~(inside[0][:, None] & inside[1]).to(images.device)


def in_cell(images: Images, row: int, column: int) -> Tensor:
    """(H, W) which pixels lie in a cell of a 4 x 4 grid."""
    places = zip(images.shape[2:], (row, column), strict=True)
    inside = [_between(side, side * place // GRID, side * (place + 1) // GRID) for side, place in places]
    return (inside[0][:, None] & inside[1]).to(images.device)


def dilated(masks: Masks) -> Masks:
    """Masks grown by a sixteenth of the shorter side."""
    reach = max(1, min(masks.shape[1:]) // 16)
    across = F.max_pool2d(masks[:, None].float(), (1, 2 * reach + 1), stride=1, padding=(0, reach))
    return F.max_pool2d(across, (2 * reach + 1, 1), stride=1, padding=(reach, 0))[:, 0] > 0


def radial_frequencies(images: Images) -> Tensor:
    """(H, W // 2 + 1) whole periods along the shorter side, of each entry of ``rfft2``."""
    height, width = images.shape[2:]
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    return ((down**2 + across**2).sqrt() * min(height, width)).round().long().to(images.device)


def at_ranks(sorted_values: Tensor, count: int) -> Tensor:
    """Sorted values (n, c, m) read at ``count`` even ranks, linearly between neighbours."""
    return F.interpolate(sorted_values, count, mode="linear", align_corners=True)


def _least_amplitude(images: Images) -> Tensor:
    """(n, c, 1) an amplitude that is rounding, in the unit of ``rfft2``."""
    return FLOOR * spread(images)[..., 0] * math.sqrt(images[0, 0].numel())


def _between(side: int, first: int, end: int) -> Tensor:
    places = torch.arange(side)
    return (places >= first) & (places < end)


def spread(images: Images) -> Tensor:
    """(n, c, 1, 1) standard deviation of each channel."""
    return images.flatten(2).std(dim=2)[..., None, None].clamp(min=1e-6)


def filtered(images: Images, gain: Tensor) -> Images:
    """Amplitudes times ``gain``; the mean stays."""
    kept = torch.ones_like(gain)
    kept[..., 0, 0] = 0
    return torch.fft.irfft2(torch.fft.rfft2(images) * (1 + (gain - 1) * kept), s=tuple(images.shape[2:]))


def fine(images: Images, share: int) -> Images:
    """What is finer than a share of the shorter side."""
    high = radial_frequencies(images) > min(images.shape[2:]) / share
    return torch.fft.irfft2(torch.fft.rfft2(images) * high, s=tuple(images.shape[2:]))


def median(images: Images) -> Tensor:
    """(n, c, 1, 1) the lower median. ``torch.median`` has no deterministic kernel on CUDA."""
    return images.flatten(2).sort(dim=2).values[..., (images[0, 0].numel() - 1) // 2, None, None]


def mean(images: Images) -> Tensor:
    """(n, c, 1, 1) the mean of each channel."""
    return images.mean(dim=(2, 3), keepdim=True)
