"""What images hold that a cue is made of: borders, colours, tones, frequencies, small spots. Tensors in,
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
LARGEST_CROP = 128  # pixels a side, at full resolution: frequencies of a larger image are its centre's
LARGEST_PALETTE = 64  # pixels a side, of colours
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
        """At most 64 x 64 places, for colours."""
        return shrunk(self.images, LARGEST_PALETTE)

    @cached_property
    def textures(self) -> Maps:
        """(n, 4, h, w) ``texture`` of at most 8 x 8 places."""
        return texture(self.images)

    @cached_property
    def amplitudes(self) -> Tensor:
        """(n, h, w // 2 + 1) log amplitudes of the centre, at full resolution, their mean over channels."""
        crop = centre(self.images)
        least = FLOOR * spread(crop)[..., 0] * math.sqrt(crop[0, 0].numel())
        return (torch.fft.rfft2(crop).abs() + least[..., None]).log().mean(dim=1)


def shrunk(images: Images, side: int) -> Maps:
    """Means over at most ``side`` x ``side`` places."""
    size = tuple(min(length, side) for length in images.shape[2:])
    return images if size == tuple(images.shape[2:]) else F.adaptive_avg_pool2d(images, size)


def centre(images: Images) -> Images:
    """The middle of images that are larger than 128 pixels a side, at full resolution."""
    height, width = (min(side, LARGEST_CROP) for side in images.shape[2:])
    top, left = ((side - kept) // 2 for side, kept in zip(images.shape[2:], (height, width), strict=True))
    return images[:, :, top : top + height, left : left + width]


def texture(images: Images) -> Maps:
    """(n, 4, h, w) at most 8 x 8 places: log strength of fine detail and of steps, and the steps' direction.

    Steps between neighbours ``dx`` and ``dy`` have the direction ``(dx^2 - dy^2, 2 dx dy) / (dx^2 + dy^2)``,
    the double angle's cosine and sine times their coherence, in [-1, 1].

    Source: Bigun and Granlund, Optimal orientation detection of linear symmetry, ICCV 1987.
    """
    size = tuple(min(side, TEXTURED) for side in images.shape[2:])
    least = FLOOR * spread(images).mean(dim=1)[:, :, 0, None, None][:, 0]
    smooth = F.avg_pool2d(F.pad(images, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    padded = F.pad(images, (0, 1, 0, 1), mode="replicate")
    across, down = padded[..., :-1, 1:] - images, padded[..., 1:, :-1] - images

    def mean_of(values: Images) -> Tensor:
        return F.adaptive_avg_pool2d(values, size).mean(dim=1)

    detail, dx2, dy2, dxdy = map(mean_of, ((images - smooth).abs(), across**2, down**2, across * down))
    total = dx2 + dy2 + least**2
    return torch.stack(
        [(detail + least).log(), total.log() / 2, (dx2 - dy2) / total, 2 * dxdy / total], dim=1
    )


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
    down, across = torch.fft.fftfreq(height)[:, None], torch.fft.rfftfreq(width)[None]
    return ((down**2 + across**2).sqrt() * min(height, width)).round().long().to(images.device)


def radial_profile(amplitudes: Tensor, radius: Tensor) -> Features:
    """Means of ``rfft2``'s amplitudes (n, h, w // 2 + 1) over each whole radius."""
    bins = int(radius.max()) + 1
    sums = amplitudes.new_zeros(len(amplitudes), bins).index_add(1, radius.flatten(), amplitudes.flatten(1))
    return sums / torch.bincount(radius.flatten(), minlength=bins)


def spectrum(images: Images) -> Features:
    """Log of the radial mean of amplitudes, its mean over channels: how sharp, how noisy."""
    radius = radial_frequencies(images)
    amplitudes = torch.fft.rfft2(images).abs()
    least = FLOOR * spread(images)[:, :, 0] * math.sqrt(images[0, 0].numel())
    profiles = [
        (radial_profile(part, radius) + least[:, i]).log() for i, part in enumerate(amplitudes.unbind(dim=1))
    ]
    return torch.stack(profiles).mean(dim=0)


def detail_share(images: Images, step: int = 1) -> Float[Tensor, " n"]:
    """Log of the squared steps between pixels ``step`` apart, beside the variance of the whole."""
    down = (images[:, :, step:] - images[:, :, :-step]).square().mean(dim=(1, 2, 3))
    across = (images[..., step:] - images[..., :-step]).square().mean(dim=(1, 2, 3))
    return ((down + across) / spread(images).square().mean(dim=(1, 2, 3)) + 1e-6).log()


def channel_shifts(images: Images) -> Float[Tensor, "n 2 s s"]:
    """How well red and blue fit green when they are moved by up to 4 pixels: correlations in [-1, 1]."""
    crop = centre(images)
    exact = (crop - crop.mean(dim=(2, 3), keepdim=True)) / spread(crop)
    waves = torch.fft.rfft2(exact)
    product = waves[:, [0, 2]] * waves[:, 1:2].conj()
    found = torch.fft.irfft2(product, s=tuple(crop.shape[2:])) / crop[0, 0].numel()
    steps = torch.arange(-SHIFT, SHIFT + 1, device=images.device)
    return found[:, :, steps[:, None], steps]


def spot_corners(images: Images) -> Tensor:
    """(n, 2) row and column where the box of the plainest spot begins: a box of a sixth of the shorter side
    that differs most from what surrounds it, less what differs within it.
    """
    side = spot_side(images)
    inner, inner_square = box_mean(images, side), box_mean(images**2, side)
    within = (inner_square - inner**2).clamp(min=0).sum(dim=1)
    wide = F.avg_pool2d(F.pad(images, (side,) * 4, mode="reflect"), 3 * side, stride=1)
    outside = (9 * wide - inner) / 8
    response = ((inner - outside) ** 2).sum(dim=1) - within
    best = response.flatten(1).argmax(dim=1)
    return torch.stack([best // response.shape[2], best % response.shape[2]], dim=1)


def spot_side(images: Images) -> int:
    """Pixels along a side of the box that a spot is looked for in."""
    return max(3, min(images.shape[2:]) // 6)


def box_mean(images: Images, side: int) -> Images:
    """Means over every box of ``side`` pixels, by where it begins."""
    return F.avg_pool2d(images, side, stride=1)


def boxes(corners: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """(n, side * side) places in the flattened image, of boxes moved inside it."""
    most = corners.new_tensor([size[0] - side, size[1] - side])
    first = torch.minimum(corners.clamp(min=0), most)
    steps = torch.arange(side, device=corners.device)
    rows, columns = first[:, 0, None] + steps, first[:, 1, None] + steps
    return (rows[:, :, None] * size[1] + columns[:, None]).flatten(1)


def cut(images: Images, places: Tensor) -> Float[Tensor, "n c p"]:
    """The pixels at flattened places (n, p)."""
    return images.flatten(2).gather(2, places[:, None].expand(-1, images.shape[1], -1))


def moments(values: Float[Tensor, "n c p"]) -> Features:
    """Mean, standard deviation and median of each channel, and what two channels have in common."""
    centred = values - values.mean(dim=2, keepdim=True)
    common = centred @ centred.transpose(1, 2) / values.shape[2]
    above = torch.triu_indices(values.shape[1], values.shape[1], offset=1)
    shared = common[:, above[0], above[1]]
    signed_root = shared.sign() * shared.abs().sqrt()
    return torch.cat([values.mean(dim=2), values.std(dim=2), median(values), signed_root], dim=1)


def median(values: Float[Tensor, "n c p"]) -> Float[Tensor, "n c"]:
    """The lower median. ``torch.median`` has no deterministic kernel on CUDA."""
    return values.sort(dim=2).values[..., (values.shape[2] - 1) // 2]


def quantiles(values: Float[Tensor, "n c p"], count: int) -> Float[Tensor, "n c q"]:
    """Sorted values read at ``count`` even ranks, linearly between neighbours."""
    return F.interpolate(values.sort(dim=2).values, count, mode="linear", align_corners=True)


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
