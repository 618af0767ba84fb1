"""Cues, properties of an image that may be a shortcut: each a swap between two images, features that hold
what the swap moves, and a row in ``CUES``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Bool
from torch import Tensor

from lightning_cam.shortcuts.cue_features import (
    background_features,
    border_features,
    cell_features,
    colour_features,
    detail_features,
    fringe_features,
    sharpness_features,
    spot_features,
    tone_features,
)
from lightning_cam.shortcuts.features import (
    GRID,
    SHIFT,
    Features,
    Views,
    channel_shifts,
    detail_share,
    filtered,
    in_cell,
    mean,
    radial_frequencies,
    ring,
)
from lightning_cam.shortcuts.spots import boxes, cut, spot_corners, spot_side
from lightning_cam.typing import Rows

BLURS = (0.3, 0.5, 0.7, 0.9, 1.2, 1.5, 1.9, 2.4, 3.0)  # standard deviations, in pixels
MOST_GAIN = 3.0  # of log amplitudes: beyond it lies what a blur has wiped out


@dataclass(frozen=True)
class Pair:
    """All that a swap may see: m images (hosts) that receive the cue, beside m others (donors) that give it.

    Args:
        hosts: (m, c, H, W) as the network gets them, at least float32.
        donors: (m, c, H, W) images of the hosts' classes, or of others; row i goes with host i.
        host_masks: (m, H, W) True where the object is, grown a little; None where nobody knows.
        donor_backgrounds: (m, c, H, W) the donors with other images' backgrounds of their class where their
            objects were; None where nobody knows the masks.

    Example:
        >>> def top_row(pair):
        ...     return torch.cat([pair.donors[:, :, :1], pair.hosts[:, :, 1:]], dim=2)
        >>> pair = Pair(hosts=torch.zeros(1, 1, 2, 2), donors=torch.ones(1, 1, 2, 2))
        >>> top_row(pair)[0, 0]
        tensor([[1., 1.],
                [0., 0.]])
    """

    hosts: Rows
    donors: Rows
    host_masks: Bool[Tensor, "m *size"] | None = None
    donor_backgrounds: Rows | None = None


@dataclass(frozen=True)
class Cue:
    """A row of ``CUES``: how a cue goes from one image to another, and what tells the label by it.

    Args:
        swap: ``(pair: Pair) -> images`` of the hosts' shape and unit; they may leave the hosts' range.
        features: ``(views: Views) -> (n, d)`` numbers, at most some 400, that hold all that the swap moves.
        meaning: What is swapped, in a few words that follow "comes from": "the border".
        may_warn: Whether a finding may warn. An appearance cue is noticed only: honest tasks may be decided
            by it.
        one_class: Whether one class alone may be found by it: "warn", "notice" or "" where what a single
            class has of the cue is also its object's shape.
        needs: "masks", or nothing.
        smallest: The shortest side of an image that it can be applied to, in pixels.
        channels: How many channels it needs.

    Example:
        >>> def swapped_left_half(pair):
        ...     half = pair.hosts.shape[3] // 2
        ...     return torch.cat([pair.donors[..., :half], pair.hosts[..., half:]], dim=3)
        >>> cue = Cue(
        ...     swap=swapped_left_half,
        ...     features=lambda views: views.images[..., : views.images.shape[3] // 2].flatten(1),
        ...     meaning="the left half",
        ... )
        >>> cue.swap(Pair(hosts=torch.zeros(1, 1, 1, 4), donors=torch.ones(1, 1, 1, 4)))
        tensor([[[[1., 1., 0., 0.]]]])
    """

    swap: Callable[[Pair], Rows]
    features: Callable[[Views], Features]
    meaning: str
    may_warn: bool = True
    one_class: str = "notice"
    needs: str = ""
    smallest: int = 8
    channels: int = 1


def border(pair: Pair, share: int) -> Rows:
    """The donor's ring along the edge, a ``share``-th of each side thick."""
    return torch.where(ring(pair.hosts, share), pair.donors, pair.hosts)


def cell(pair: Pair, row: int, column: int) -> Rows:
    """The donor's pixels in one cell of a 4 x 4 grid."""
    return torch.where(in_cell(pair.hosts, row, column), pair.donors, pair.hosts)


def colour_mean(pair: Pair) -> Rows:
    """The donor's mean of each channel."""
    return pair.hosts + mean(pair.donors) - mean(pair.hosts)


def colour(pair: Pair) -> Rows:
    """The donor's means and covariance of the channels, by whitening and colouring.

    Source: Reinhard et al., Color transfer between images, IEEE Computer Graphics and Applications 2001, with
        the full covariance.
    """
    host, donor = pair.hosts.flatten(2), pair.donors.flatten(2)
    moved = _root(donor, 0.5) @ _root(host, -0.5) @ (host - host.mean(dim=2, keepdim=True))
    return (moved + donor.mean(dim=2, keepdim=True)).reshape(pair.hosts.shape)


def tones(pair: Pair) -> Rows:
    """Each channel's values, by their ranks, replaced by the donor's: histogram matching.

    Source: Gonzalez and Woods, Digital Image Processing, histogram specification.
    """
    ranks = pair.hosts.flatten(2).argsort(dim=2, stable=True).argsort(dim=2)
    return pair.donors.flatten(2).sort(dim=2).values.gather(2, ranks).reshape(pair.hosts.shape)


def sharpness(pair: Pair) -> Rows:
    """As sharp as the donor: blurred by a Gaussian, or its inverse within limits, of the width with which
    fine detail has the share in the contrast that it has in the donor.
    """
    wanted = detail_share(pair.donors)
    exponent = -2 * math.pi**2 * _squared_frequencies(pair.hosts)
    best = detail_share(pair.hosts) - wanted
    made = pair.hosts
    for width in BLURS:
        for sign in (1, -1):
            tried = filtered(pair.hosts, (sign * width**2 * exponent).clamp(max=MOST_GAIN).exp())
            off = detail_share(tried) - wanted
            is_closer = off.abs() < best.abs()
            made = torch.where(is_closer[:, None, None, None], tried, made)
            best = torch.where(is_closer, off, best)
    return made


def detail(pair: Pair, share: int) -> Rows:
    """The donor's own frequencies above a ``share``-th of the side, in place of the host's."""
    is_fine = radial_frequencies(pair.hosts) > min(pair.hosts.shape[2:]) / share
    waves = torch.where(is_fine, torch.fft.rfft2(pair.donors), torch.fft.rfft2(pair.hosts))
    return torch.fft.irfft2(waves, s=tuple(pair.hosts.shape[2:]))


def fringes(pair: Pair) -> Rows:
    """Red and blue moved against green as far as the donor's are; what leaves the image comes in again."""
    host, donor = (channel_shifts(images).flatten(2).argmax(dim=2) for images in (pair.hosts, pair.donors))
    width = 2 * SHIFT + 1
    down, across = donor // width - host // width, donor % width - host % width  # (m, 2)
    height, wide = pair.hosts.shape[2:]
    y, x = (torch.arange(side, device=pair.hosts.device) for side in (height, wide))
    moved = []
    for i, channel in enumerate((0, 2)):
        from_rows = (y - down[:, i, None]) % height
        from_columns = (x - across[:, i, None]) % wide
        places = (from_rows[:, :, None] * wide + from_columns[:, None]).flatten(1)
        moved.append(cut(pair.hosts[:, channel : channel + 1], places).reshape(-1, 1, height, wide))
    return torch.cat([moved[0], pair.hosts[:, 1:2], moved[1]], dim=1)


def spot(pair: Pair) -> Rows:
    """The donor's plainest spot with its rim, onto the host's."""
    size = (pair.hosts.shape[2], pair.hosts.shape[3])
    side = spot_side(pair.hosts) + 2
    target, source = (boxes(spot_corners(images) - 1, side, size) for images in (pair.hosts, pair.donors))
    across = target[:, None].expand(-1, pair.hosts.shape[1], -1)
    return pair.hosts.flatten(2).scatter(2, across, cut(pair.donors, source)).reshape(pair.hosts.shape)


def background(pair: Pair) -> Rows:
    """All outside the host's object from the donor's background."""
    if pair.host_masks is None or pair.donor_backgrounds is None:
        raise ValueError("cues: 'background' needs masks of both images.")
    return torch.where(pair.host_masks[:, None], pair.hosts, pair.donor_backgrounds)


def _squared_frequencies(images: Rows) -> Tensor:
    """(H, W // 2 + 1) squared periods per pixel, of each entry of ``rfft2``."""
    height, width = images.shape[2:]
    down = torch.fft.fftfreq(height, dtype=torch.float64)[:, None]
    across = torch.fft.rfftfreq(width, dtype=torch.float64)
    return (down**2 + across**2).to(images)


def _root(values: Tensor, power: float) -> Tensor:
    """(m, c, c) the covariance of channels (m, c, p) to a power."""
    centred = values - values.mean(dim=2, keepdim=True)
    covariance = centred @ centred.transpose(1, 2) / values.shape[2]
    least = 1e-6 * covariance.diagonal(dim1=1, dim2=2).mean(dim=1).clamp(min=1e-12)
    lengths, directions = torch.linalg.eigh(covariance)
    lengths = torch.maximum(lengths, least[:, None]) ** power
    return directions @ torch.diag_embed(lengths) @ directions.transpose(1, 2)


SIDES = ("top", "upper middle", "lower middle", "bottom"), ("left", "left middle", "right middle", "right")


def _cell_name(row: int, column: int) -> str:
    ends = (0, GRID - 1)
    if row in ends and column in ends:
        return f"the {SIDES[0][row]}-{SIDES[1][column]} corner"
    return (
        f"a place inside: row {row + 1}, column {column + 1} of 4 x 4"
        if {row, column}.isdisjoint(ends)
        else (f"a place at the edge: row {row + 1}, column {column + 1} of 4 x 4")
    )


def _cell(row: int, column: int) -> Cue:
    """Inside lie organs and faces: there a finding is a notice."""
    is_outside = bool({row, column} & {0, GRID - 1})
    return Cue(
        swap=partial(cell, row=row, column=column),
        features=partial(cell_features, row=row, column=column),
        meaning=_cell_name(row, column),
        may_warn=is_outside,
        one_class="warn" if is_outside else "notice",
    )


def _border(share: int, meaning: str) -> Cue:
    return Cue(
        swap=partial(border, share=share),
        features=partial(border_features, share=share),
        meaning=meaning,
        one_class="warn",
        smallest=share,
    )


CUES: dict[str, Cue] = {
    "border_8": _border(8, "the border"),
    "border_16": _border(16, "a thin border"),
    **{f"cell_{row}_{column}": _cell(row, column) for row in range(GRID) for column in range(GRID)},
    "colour_mean": Cue(
        swap=colour_mean, features=partial(colour_features, full=False), meaning="the mean colour"
    ),
    "colour": Cue(swap=colour, features=partial(colour_features, full=True), meaning="the colours"),
    "tones": Cue(swap=tones, features=tone_features, meaning="brightness and contrast"),
    "fringes": Cue(
        swap=fringes,
        features=fringe_features,
        meaning="colour fringes",
        channels=3,
        smallest=16,
        one_class="",
    ),
    "detail": Cue(swap=partial(detail, share=4), features=detail_features, meaning="fine detail"),
    "spot": Cue(
        swap=spot,
        features=spot_features,
        meaning="a small spot, wherever it is",
        smallest=24,
        one_class="warn",
    ),
    "sharpness": Cue(
        swap=sharpness,
        features=sharpness_features,
        meaning="sharpness",
    ),
    "background": Cue(
        swap=background,
        features=background_features,
        meaning="the background",
        needs="masks",
        one_class="warn",
    ),
}
