"""What images hold that a cue is made of: borders, colours, tones, textures, frequencies. Tensors in,
tensors out.
"""

import math
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_cam.typing import Images, Masks

GRID = 4  # cells per side
POOLED = 16  # places per side, of what is compared place by place
TEXTURED = 8  # places per side, of textures
LARGEST_CROP = 64  # pixels a side, at full resolution: frequencies of a larger image are its centre's
LARGEST_PALETTE = 32  # pixels a side, of colours
PATCH = 8  # pixels a side of each of the 8 x 8 patches that textures of a larger image are taken from
SHIFT = 4  # pixels that one channel may lie apart from another
FLOOR = 1e-3  # of a channel's spread: below it, differences are rounding
Features = Float[Tensor, "n d"]
Maps = Float[Tensor, "n k h w"]


class Views:
    """Images, and what several cues need of them, each made once.

    Args:
        images: (n, c, H, W) as the network gets them, at least float32.
        masks: (n, H, W) True where the object is; None where nobody knows.
    """

    def __init__(self, images: Images, masks: Masks | None = None) -> None:
        self.images, self.masks = images, masks

    @cached_property
    def pooled(self) -> Maps:
        """Means over at most 16 x 16 places."""
        return shrunk(self.images, POOLED)

    @cached_property
    def palette(self) -> Maps:
        """At most 32 x 32 places, for colours."""
        return shrunk(self.images, LARGEST_PALETTE)

    @cached_property
    def ordered(self) -> Float[Tensor, "n c p"]:
        """The palette's values of each channel, sorted."""
        return self.palette.flatten(2).sort(dim=2).values

    @cached_property
    def textures(self) -> Maps:
        """(n, 4, h, w) ``texture`` of at most 8 x 8 places."""
        return texture(self.images)

    @cached_property
    def crop(self) -> Maps:
        """The centre, at full resolution."""
        return centre(self.images)

    @cached_property
    def deviation(self) -> Tensor:
        """(n, c, 1, 1) ``spread`` of the centre."""
        return spread(self.crop)

    @cached_property
    def waves(self) -> Tensor:
        """(n, c, h, w // 2 + 1) ``rfft2`` of the centre."""
        return torch.fft.rfft2(self.crop)

    @cached_property
    def magnitudes(self) -> Tensor:
        """(n, c, h, w // 2 + 1) amplitudes of the centre."""
        return self.waves.abs()

    @cached_property
    def spectrum(self) -> Features:
        """``spectrum`` of the centre."""
        return log_profile(self.magnitudes, self.crop, self.deviation)

    @cached_property
    def amplitudes(self) -> Tensor:
        """(n, h, w // 2 + 1) log amplitudes of the centre, their mean over channels."""
        return (self.magnitudes + rounding(self.crop, self.deviation)).log().mean(dim=1)

    @cached_property
    def shifts(self) -> Float[Tensor, "n 2 s s"]:
        """``channel_shifts`` of the centre."""
        return shifts_of(self.waves, self.crop, self.deviation)


def shrunk(images: Images, side: int) -> Maps:
    """Means over at most ``side`` x ``side`` places."""
    height, width = (min(length, side) for length in images.shape[2:])
    return images if (height, width) == images.shape[2:] else F.adaptive_avg_pool2d(images, (height, width))


def centre(images: Images) -> Maps:
    """The middle of images that are larger than 64 pixels a side, at full resolution."""
    height, width = (min(side, LARGEST_CROP) for side in images.shape[2:])
    top, left = ((side - kept) // 2 for side, kept in zip(images.shape[2:], (height, width), strict=True))
    return images[:, :, top : top + height, left : left + width]


def texture(images: Images) -> Maps:
    """(n, 4, h, w) at most 8 x 8 places: log strength of fine detail and of steps, and the steps' direction.

    Steps between neighbours ``dx`` and ``dy`` have the direction ``(dx^2 - dy^2, 2 dx dy) / (dx^2 + dy^2)``,
    the double angle's cosine and sine times their coherence, in [-1, 1].

    Source: Bigun and Granlund, Optimal orientation detection of linear symmetry, ICCV 1987.
    """
    pixels = patches(images)
    height, width = (min(side, TEXTURED) for side in pixels.shape[2:])
    least = FLOOR * spread(pixels).mean(dim=1)
    padded = F.pad(pixels, (1, 1, 1, 1), mode="replicate")
    across = padded[:, :, 1:-1, 2:] - pixels
    down = padded[:, :, 2:, 1:-1] - pixels
    rows = padded[:, :, :-2] + padded[:, :, 1:-1] + padded[:, :, 2:]
    smooth = (rows[..., :-2] + rows[..., 1:-1] + rows[..., 2:]) / 9

    def mean_of(values: Images) -> Tensor:
        return F.adaptive_avg_pool2d(values.mean(dim=1, keepdim=True), (height, width))[:, 0]

    detail, dx2, dy2, dxdy = map(mean_of, ((pixels - smooth).abs(), across**2, down**2, across * down))
    total = dx2 + dy2 + least**2
    return torch.stack(
        [(detail + least).log(), total.log() / 2, (dx2 - dy2) / total, 2 * dxdy / total], dim=1
    )


def patches(images: Images) -> Maps:
    """8 x 8 patches of 8 x 8 pixels at full resolution, put together: the outer ones touch the edge, the
    others lie evenly between. Sides of up to 64 pixels stay as they are.
    """
    for dim in (2, 3):
        side = images.shape[dim]
        if side > TEXTURED * PATCH:
            first = torch.arange(TEXTURED, device=images.device) * (side - PATCH) // (TEXTURED - 1)
            places = first[:, None] + torch.arange(PATCH, device=images.device)
            images = images.index_select(dim, places.flatten())
    return images


def ring(images: Images, share: int) -> Bool[Tensor, "h w"]:
    """Which pixels lie within a ``share``-th of each side of the edge, one pixel at least."""
    reaches = [max(1, side // share) for side in images.shape[2:]]
    inside = [
        _between(side, reach, side - reach) for side, reach in zip(images.shape[2:], reaches, strict=True)
    ]
    return ~(inside[0][:, None] & inside[1]).to(images.device)


def in_cell(images: Images, row: int, column: int) -> Bool[Tensor, "h w"]:
    """Which pixels lie in a cell of a 4 x 4 grid."""
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
    down, across = (
        torch.fft.fftfreq(height, dtype=torch.float64)[:, None],
        torch.fft.rfftfreq(width, dtype=torch.float64)[None],
    )
    return ((down**2 + across**2).sqrt() * min(height, width)).round().long().to(images.device)


def averages(values: Tensor, group: Tensor, count: int) -> Tensor:
    """Means of values (..., p) over those of each group (p,), (..., count); 0 where a group has none."""
    member = F.one_hot(group, count).to(values.dtype)
    return values @ (member / member.sum(dim=0).clamp(min=1))


def rounding(images: Images, deviation: Tensor) -> Tensor:
    """(n, c, 1, 1) amplitudes of ``rfft2`` below which differences are rounding."""
    return FLOOR * deviation * math.sqrt(images[0, 0].numel())


def log_profile(magnitudes: Tensor, images: Images, deviation: Tensor) -> Features:
    """Log of the radial mean of amplitudes (n, c, h, w // 2 + 1), its mean over channels."""
    radius = radial_frequencies(images)
    profile = averages(magnitudes.flatten(2), radius.flatten(), int(radius.max()) + 1)
    return (profile + rounding(images, deviation)[..., 0]).log().mean(dim=1)


def spectrum(images: Images) -> Features:
    """Log of the radial mean of amplitudes, its mean over channels: how sharp, how noisy."""
    return log_profile(torch.fft.rfft2(images).abs(), images, spread(images))


def detail_share(images: Images, step: int = 1) -> Float[Tensor, " n"]:
    """Log of the squared steps between pixels ``step`` apart, beside the variance of the whole."""
    down = (images[:, :, step:] - images[:, :, :-step]).square().mean(dim=(1, 2, 3))
    across = (images[..., step:] - images[..., :-step]).square().mean(dim=(1, 2, 3))
    return ((down + across) / spread(images).square().mean(dim=(1, 2, 3)) + 1e-6).log()


def channel_shifts(images: Images) -> Float[Tensor, "n 2 s s"]:
    """How well red and blue of the centre fit green when they are moved by up to 4 pixels, what leaves it
    comes in again: correlations in [-1, 1].
    """
    crop = centre(images)
    return shifts_of(torch.fft.rfft2(crop), crop, spread(crop))


def shifts_of(waves: Tensor, crop: Images, deviation: Tensor) -> Float[Tensor, "n 2 s s"]:
    """``channel_shifts`` of a centre and its ``rfft2``."""
    varying = torch.ones_like(waves[0, 0].real)
    varying[0, 0] = 0  # the mean
    exact = waves * varying / deviation
    product = exact[:, [0, 2]] * exact[:, 1:2].conj()
    found = torch.fft.irfft2(product, s=tuple(crop.shape[2:])) / crop[0, 0].numel()
    steps = torch.arange(-SHIFT, SHIFT + 1, device=crop.device)
    return found[:, :, steps[:, None], steps]


def moments(values: Float[Tensor, "n c p"], ordered: Float[Tensor, "n c p"]) -> Features:
    """Mean, standard deviation and median (the lower one) of each channel, and what two channels have in
    common.

    Args:
        values: Each channel's, sorted or not.
        ordered: The same, sorted.
    """
    centred = values - values.mean(dim=2, keepdim=True)
    common = centred @ centred.transpose(1, 2) / values.shape[2]
    above = torch.triu_indices(values.shape[1], values.shape[1], offset=1)
    shared = common[:, above[0], above[1]]
    signed_root = shared.sign() * shared.abs().sqrt()
    middle = ordered[..., (values.shape[2] - 1) // 2]
    return torch.cat([values.mean(dim=2), values.std(dim=2), middle, signed_root], dim=1)


def quantiles(ordered: Float[Tensor, "n c p"], count: int) -> Float[Tensor, "n c q"]:
    """Sorted values read at ``count`` even ranks, linearly between neighbours."""
    return F.interpolate(ordered, count, mode="linear", align_corners=True)


def spread(images: Images) -> Tensor:
    """(n, c, 1, 1) standard deviation of each channel."""
    return images.flatten(2).std(dim=2)[..., None, None].clamp(min=1e-6)


def mean(images: Images) -> Tensor:
    """(n, c, 1, 1) the mean of each channel."""
    return images.mean(dim=(2, 3), keepdim=True)


def filtered(images: Images, gain: Tensor) -> Images:
    """Amplitudes times ``gain``; the mean stays."""
    kept = torch.ones_like(gain)
    kept[..., 0, 0] = 0
    return torch.fft.irfft2(torch.fft.rfft2(images) * (1 + (gain - 1) * kept), s=tuple(images.shape[2:]))


def _between(side: int, first: int, end: int) -> Tensor:
    places = torch.arange(side)
    return (places >= first) & (places < end)
