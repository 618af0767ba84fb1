"""Cues, properties of an image that may be a shortcut: each a function ``(pair: Pair) -> images`` and a row
in ``CUES``.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_cam.shortcuts.features import (
    GRID,
    at_ranks,
    filtered,
    fine,
    in_cell,
    mean,
    median,
    radial_frequencies,
    ring,
    spectrum,
    spread,
)
from lightning_cam.typing import Masks, Rows


@dataclass(frozen=True)
class Pair:
    """All that a cue may see: m images (hosts) that receive the cue, beside m others (donors) that give it.

    A cue is a function ``(pair: Pair) -> (m, c, H, W)``: the hosts with the donors' border, corner, colours
    or whatever else the cue is about, and all the rest their own.

    Args:
        hosts: (m, c, H, W) as the network gets them, at least float32.
        donors: (m, c, H, W) images of other classes; row i goes with host i.
        host_mean: (m, ...) mean of the cue's feature over each host's class, the host itself left out; None
            where the cue needs none.
        donor_mean: (m, ...) likewise over each donor's class.
        host_masks: (m, H, W) True where the object is, grown a little; None where nobody knows.
        donor_masks: (m, H, W) likewise.
        host_saliency: (m, H, W) in [0, 1]; None where no map was made.
        donor_saliency: (m, H, W) likewise.

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
    host_mean: Tensor | None = None
    donor_mean: Tensor | None = None
    host_masks: Bool[Tensor, "m *size"] | None = None
    donor_masks: Bool[Tensor, "m *size"] | None = None
    host_saliency: Float[Tensor, "m *size"] | None = None
    donor_saliency: Float[Tensor, "m *size"] | None = None


# Honest models follow averages, which hold no object that could be seen, in at most a quarter of conflicts.
RARELY = 1 / 3
# Honest models of shapes follow amplitudes, which hold much of an edge, in up to this share.
OFTEN = 0.6


@dataclass(frozen=True)
class Cue:
    """A row of ``CUES``: a cue, how it is tested, and whether it may warn.

    Args:
        function: ``(pair: Pair) -> images`` of the hosts' shape and unit; they may leave the hosts' range.
        stage: 1 for what the average image of a class has of its own, 2 for one part that has a name.
        tier: "A" may warn; "B" is noticed alone, because honest tasks may be decided by it.
        meaning: What is transplanted, in a few words.
        feature: The class means that it needs, a key of ``FEATURES``; empty where a donor image gives the
            cue.
        needs: What else it needs: "masks", "saliency" or nothing.
        smallest: The shortest side of an image that it can be applied to, in pixels.
        donors: How many donors each host has.
        scope: Which donors' classes it is tested on. "any": all together, and one alone where that one stands
            out. "all": all together only, as what a single class has of it is also its object's shape, which
            honest models follow. "many": not on two classes either, where whatever spoils one class speaks
            for the other.
        null: The share of conflicts, in [0, 1), that it may win without being a finding.

    Example:
        >>> def swapped_left_half(pair):
        ...     half = pair.hosts.shape[3] // 2
        ...     return torch.cat([pair.donors[..., :half], pair.hosts[..., half:]], dim=3)
        >>> cue = Cue(function=swapped_left_half, stage=2, tier="B", meaning="the left half")
        >>> cue(Pair(hosts=torch.zeros(1, 1, 1, 4), donors=torch.ones(1, 1, 1, 4)))
        tensor([[[[1., 1., 0., 0.]]]])
    """

    function: Callable[[Pair], Rows]
    stage: int
    tier: str
    meaning: str
    feature: str = ""
    needs: str = ""
    smallest: int = 1
    donors: int = 1
    scope: str = "any"
    null: float = 0.5

    def __call__(self, pair: Pair) -> Rows:
        """The transplants, of the hosts' shape and unit; they may leave the hosts' range."""
        return self.function(pair)


# Stage 1: what distinguishes the average image of the donor's class


def mean_image(pair: Pair) -> Rows:
    """The average image of the donor's class less that of the host's: every pattern at a fixed place."""
    return pair.hosts + outside(_pattern(pair), pair.host_masks)


def mean_spectrum(pair: Pair) -> Rows:
    """The host's amplitudes times the ratio of the classes' radial spectra; its mean stays."""
    gain = _difference(pair).exp()[:, radial_frequencies(pair.hosts)]
    return filtered(pair.hosts, gain[:, None])


def mean_amplitude(pair: Pair) -> Rows:
    """The host's amplitudes times the ratio of the classes' amplitudes at each frequency; its mean stays."""
    return filtered(pair.hosts, _difference(pair).exp()[:, None])


def mean_tone(pair: Pair) -> Rows:
    """Each channel's values, by their ranks, plus what the classes' quantiles differ by."""
    flat = pair.hosts.flatten(2)
    difference = at_ranks(_difference(pair), flat.shape[2])
    places = flat.argsort(dim=2, stable=True).argsort(dim=2)
    return (flat + difference.gather(2, places)).reshape(pair.hosts.shape)


# Stage 2: one part, of a donor image or of the average image


def border(pair: Pair, share: int) -> Rows:
    """The donor's ring along the edge, a ``share``-th of each side thick."""
    return torch.where(ring(pair.hosts, share), pair.donors, pair.hosts)


def cell(pair: Pair, row: int, column: int) -> Rows:
    """One cell of the average image's pattern, of a 4 x 4 grid."""
    return pair.hosts + torch.where(
        in_cell(pair.hosts, row, column), outside(_pattern(pair), pair.host_masks), 0.0
    )


def colour_mean(pair: Pair) -> Rows:
    """The donor's mean of each channel."""
    return pair.hosts + mean(pair.donors) - mean(pair.hosts)


def colour_std(pair: Pair) -> Rows:
    """The donor's mean and standard deviation of each channel."""
    return (pair.hosts - mean(pair.hosts)) * (spread(pair.donors) / spread(pair.hosts)) + mean(pair.donors)


def colour_median(pair: Pair) -> Rows:
    """The donor's median of each channel."""
    return pair.hosts + median(pair.donors) - median(pair.hosts)


def donor_spectrum(pair: Pair) -> Rows:
    """Amplitudes scaled to the donor's radial spectrum."""
    difference = spectrum(pair.donors) - spectrum(pair.hosts)
    return filtered(pair.hosts, difference.exp()[:, radial_frequencies(pair.hosts)][:, None])


def detail(pair: Pair, share: int) -> Rows:
    """The frequencies above a ``share``-th of the side, of the average image's pattern: a donor's own would
    hold its edges.
    """
    return pair.hosts + fine(_pattern(pair), share)


def donor_amplitude(pair: Pair) -> Rows:
    """The donor's amplitude at each frequency, with the host's phase and mean."""
    phases = torch.fft.rfft2(pair.hosts).angle()
    made = torch.fft.irfft2(
        torch.polar(torch.fft.rfft2(pair.donors).abs(), phases), s=tuple(pair.hosts.shape[2:])
    )
    return made - mean(made) + mean(pair.hosts)


def attended(pair: Pair) -> Rows:
    """The donor's box around the peak of its map, a third of the shorter side wide, onto the peak of the
    host's.
    """
    if pair.host_saliency is None or pair.donor_saliency is None:
        raise ValueError("cues: 'attended' needs saliency maps of hosts and donors.")
    height, width = pair.hosts.shape[2:]
    side = max(1, min(height, width) // 3)
    box = torch.arange(side, device=pair.hosts.device)
    corners = [_corners(saliency, side) for saliency in (pair.host_saliency, pair.donor_saliency)]
    rows, columns = ([(corner[:, axis, None] + box) for corner in corners] for axis in (0, 1))
    places = [row[:, :, None] * width + column[:, None, :] for row, column in zip(rows, columns, strict=True)]
    channels = pair.hosts.shape[1]
    target, source = (place.flatten(1)[:, None].expand(-1, channels, -1) for place in places)
    return (
        pair.hosts.flatten(2)
        .scatter(2, target, pair.donors.flatten(2).gather(2, source))
        .reshape(pair.hosts.shape)
    )


def background(pair: Pair) -> Rows:
    """The donor's pixels outside both objects."""
    if pair.host_masks is None or pair.donor_masks is None:
        raise ValueError("cues: 'background' needs masks of hosts and donors.")
    return torch.where((pair.host_masks | pair.donor_masks)[:, None], pair.hosts, pair.donors)


def outside(pattern: Rows, masks: Masks | None) -> Rows:
    """The pattern, nothing of it on the objects, where masks say where these are."""
    return pattern if masks is None else torch.where(masks[:, None], 0.0, pattern)


def _difference(pair: Pair) -> Tensor:
    if pair.host_mean is None or pair.donor_mean is None:
        raise ValueError("cues: this cue needs the means of the classes.")
    return (pair.donor_mean - pair.host_mean).nan_to_num(0.0)


def _pattern(pair: Pair) -> Rows:
    """What the average images of the two classes differ by, at the hosts' resolution."""
    difference, size = _difference(pair), tuple(pair.hosts.shape[2:])
    is_whole = tuple(difference.shape[2:]) == size
    return difference if is_whole else F.interpolate(difference, size, mode="bilinear")


def _corners(saliency: Tensor, side: int) -> Tensor:
    """(m, 2) row and column where a box around each peak begins, moved inside the image."""
    height, width = saliency.shape[1:]
    peak = saliency.flatten(1).argmax(dim=1)
    centre = torch.stack([peak // width, peak % width], dim=1) - side // 2
    most = torch.tensor([height - side, width - side], device=saliency.device)
    return torch.minimum(centre.clamp(min=0), most)


def _tier(row: int, column: int) -> str:
    """Inside lie organs and faces."""
    return "A" if {row, column} & {0, GRID - 1} else "B"


CUES: dict[str, Cue] = {
    "mean_image": Cue(mean_image, 1, "B", "any pattern at a fixed place", "image", donors=2, null=RARELY),
    "mean_spectrum": Cue(
        mean_spectrum, 1, "B", "sharpness and noise of the class", "spectrum", smallest=8, scope="all"
    ),
    "mean_amplitude": Cue(
        mean_amplitude,
        1,
        "B",
        "gratings and blur of the class",
        "amplitude",
        smallest=8,
        donors=2,
        scope="many",
        null=OFTEN,
    ),
    "mean_tone": Cue(
        mean_tone, 1, "B", "colours and tone curve of the class", "tone", smallest=8, null=RARELY
    ),
    "attended": Cue(attended, 1, "B", "what is attended to", needs="saliency", smallest=8, scope="many"),
    "border_16": Cue(partial(border, share=16), 2, "A", "a thin border", smallest=16),
    "border_8": Cue(partial(border, share=8), 2, "A", "a border", smallest=8),
    **{
        f"cell_{row}_{column}": Cue(
            partial(cell, row=row, column=column),
            2,
            _tier(row, column),
            f"row {row}, column {column} of a 4 x 4 grid",
            "image",
            smallest=8,
        )
        for row in range(GRID)
        for column in range(GRID)
    },
    "colour_mean": Cue(colour_mean, 2, "A", "the mean colour"),
    "colour_std": Cue(colour_std, 2, "A", "the mean colour and the contrast"),
    "colour_median": Cue(colour_median, 2, "A", "the median colour"),
    "spectrum": Cue(donor_spectrum, 2, "A", "sharpness and noise", smallest=8, scope="all"),
    "detail_4": Cue(partial(detail, share=4), 2, "A", "fine detail at a fixed place", "image", smallest=8),
    "detail_6": Cue(partial(detail, share=6), 2, "A", "detail at a fixed place", "image", smallest=8),
    "amplitude": Cue(donor_amplitude, 2, "B", "all amplitudes", smallest=8, scope="many", null=OFTEN),
    "background": Cue(background, 2, "A", "the background", needs="masks"),
}
