"""Every cue, what classes are the mean of, and the rule of dominance a second time: float64, plain loops, no cleverness.

Nothing here calls the package. Each cue takes one host and one donor; ``cue`` goes through the pairs one by one.
"""

from collections.abc import Callable
from fractions import Fraction
from functools import partial
from math import ceil, comb, exp, floor, hypot, log, nan, sqrt
from typing import NamedTuple

import numpy as np

from reference.equations import every_position, upsample

Array = np.ndarray


class Pair(NamedTuple):
    """One host (c, h, w) and one donor; means of the cue's feature; masks and maps (h, w)."""

    host: Array
    donor: Array
    host_mean: Array | None = None
    donor_mean: Array | None = None
    host_mask: Array | None = None
    donor_mask: Array | None = None
    host_saliency: Array | None = None
    donor_saliency: Array | None = None


def mean(channel: Array) -> float:
    return sum(channel.flatten().tolist()) / channel.size


def deviation(channel: Array) -> float:
    middle = mean(channel)
    return sqrt(sum((value - middle) ** 2 for value in channel.flatten().tolist()) / (channel.size - 1))


def median(channel: Array) -> float:
    """Of an even number of values, the lower one in the middle."""
    return sorted(channel.flatten().tolist())[(channel.size - 1) // 2]


# --- Frequencies


def frequency(place: int, side: int) -> float:
    """Periods per pixel, in [-1/2, 1/2]."""
    return (place if place <= side // 2 else place - side) / side


def radius(row: int, column: int, size: tuple[int, int]) -> int:
    return round(hypot(frequency(row, size[0]), frequency(column, size[1])) * min(size))


def half(row: int, column: int, size: tuple[int, int]) -> tuple[int, int]:
    """The entry, itself or its mirror image, that the half with ``size[1] // 2 + 1`` columns holds."""
    return (row, column) if column <= size[1] // 2 else (-row % size[0], size[1] - column)


def filtered(host: Array, gain: Callable[[int, int], float]) -> Array:
    """Each frequency times ``gain(row, column)``, but for the mean."""
    result = np.zeros_like(host)
    for channel in range(len(host)):
        waves = np.fft.fft2(host[channel])
        for row, column in every_position(*waves.shape):
            if (row, column) != (0, 0):
                waves[row, column] *= gain(row, column)
        result[channel] = np.fft.ifft2(waves).real
    return result


# --- What a class is the mean of: one image (c, h, w)


def image(pixels: Array) -> Array:
    """Up to 128 pixels a side they stay; above, each is the mean of all that it overlaps."""
    height, width = (min(side, 128) for side in pixels.shape[1:])
    result = np.zeros((len(pixels), height, width))
    for channel in range(len(pixels)):
        for row, column in every_position(height, width):
            rows, columns = (
                slice(floor(place * side / count), ceil((place + 1) * side / count))
                for place, side, count in zip((row, column), pixels.shape[1:], (height, width), strict=True)
            )
            result[channel, row, column] = mean(pixels[channel, rows, columns])
    return result


def spectrum(pixels: Array) -> Array:
    size = pixels.shape[1:]
    logs = []
    for channel in pixels:
        waves, rings = np.fft.fft2(channel), {}
        for row, column in every_position(size[0], size[1] // 2 + 1):
            rings.setdefault(radius(row, column, size), []).append(abs(waves[row, column]))
        least = 1e-3 * deviation(channel) * sqrt(channel.size)
        logs.append([log(sum(rings[one]) / len(rings[one]) + least) for one in range(max(rings) + 1)])
    return np.array([sum(column) / len(column) for column in zip(*logs, strict=True)])


def amplitude(pixels: Array) -> Array:
    result = np.zeros((pixels.shape[1], pixels.shape[2] // 2 + 1))
    for channel in pixels:
        waves, least = np.fft.fft2(channel), 1e-3 * deviation(channel) * sqrt(channel.size)
        for row, column in every_position(*result.shape):
            result[row, column] += log(abs(waves[row, column]) + least) / len(pixels)
    return result


def tone(pixels: Array) -> Array:
    return np.array([at_ranks(sorted(channel.flatten().tolist()), 65) for channel in pixels])


def at_ranks(values: list[float], count: int) -> list[float]:
    """Sorted values read at ``count`` even ranks, the first and the last among them."""
    found = []
    for place in range(count):
        rank = place * (len(values) - 1) / (count - 1)
        low = min(floor(rank), len(values) - 2)
        found.append(values[low] + (rank - low) * (values[low + 1] - values[low]))
    return found


FEATURES: dict[str, Callable[[Array], Array]] = {
    "image": image,
    "spectrum": spectrum,
    "amplitude": amplitude,
    "tone": tone,
}


# --- Cues: one pair


def difference(pair: Pair) -> Array:
    """Zero where no image of a class shows anything."""
    apart = pair.donor_mean - pair.host_mean
    return np.array([0.0 if value != value else value for value in apart.flatten().tolist()]).reshape(
        apart.shape
    )


def pattern(pair: Pair) -> Array:
    return np.array([upsample(channel, pair.host.shape[1:]) for channel in difference(pair)])


def mean_image(pair: Pair, cell: tuple[int, int] | None = None) -> Array:
    result, added = pair.host.copy(), pattern(pair)
    height, width = pair.host.shape[1:]
    for row, column in every_position(height, width):
        object_here = pair.host_mask is not None and pair.host_mask[row, column]
        if not object_here and cell in (None, (quarter(row, height), quarter(column, width))):
            result[:, row, column] += added[:, row, column]
    return result


def quarter(place: int, side: int) -> int:
    """Which of four cells, each of which begins at its share of the side rounded down."""
    return sum(place >= side * one // 4 for one in (1, 2, 3))


def mean_spectrum(pair: Pair) -> Array:
    apart = difference(pair)
    return filtered(pair.host, lambda row, column: exp(apart[radius(row, column, pair.host.shape[1:])]))


def mean_amplitude(pair: Pair) -> Array:
    apart = difference(pair)
    return filtered(pair.host, lambda row, column: exp(apart[half(row, column, pair.host.shape[1:])]))


def mean_tone(pair: Pair) -> Array:
    result = pair.host.copy()
    for channel, apart in zip(result, difference(pair), strict=True):
        values = channel.flatten().tolist()
        added = at_ranks(apart.tolist(), len(values))
        for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
            channel[divmod(place, channel.shape[1])] += added[rank]
    return result


def border(pair: Pair, share: int) -> Array:
    result = pair.host.copy()
    height, width = result.shape[1:]
    for row, column in every_position(height, width):
        if min(row, height - 1 - row) < height // share or min(column, width - 1 - column) < width // share:
            result[:, row, column] = pair.donor[:, row, column]
    return result


def colour(pair: Pair, middle: Callable[[Array], float], scaled: bool = False) -> Array:
    channels = []
    for host, donor in zip(pair.host, pair.donor, strict=True):
        scale = deviation(donor) / deviation(host) if scaled else 1.0
        channels.append((host - middle(host)) * scale + middle(donor))
    return np.array(channels)


def donor_spectrum(pair: Pair) -> Array:
    return mean_spectrum(pair._replace(host_mean=spectrum(pair.host), donor_mean=spectrum(pair.donor)))


def detail(pair: Pair, share: int) -> Array:
    size = pair.host.shape[1:]
    added = pattern(pair)
    fine = filtered(added, lambda row, column: float(radius(row, column, size) > min(size) / share))
    return np.array([host + one - mean(one) for host, one in zip(pair.host, fine, strict=True)])


def donor_amplitude(pair: Pair) -> Array:
    channels = []
    for host, donor in zip(pair.host, pair.donor, strict=True):
        waves, donors = np.fft.fft2(host), np.fft.fft2(donor)
        for row, column in every_position(*waves.shape):
            if (row, column) != (0, 0):
                waves[row, column] *= abs(donors[row, column]) / abs(waves[row, column])
        channels.append(np.fft.ifft2(waves).real)
    return np.array(channels)


def attended(pair: Pair) -> Array:
    result = pair.host.copy()
    side = max(1, min(result.shape[1:]) // 3)
    (top, left), (donor_top, donor_left) = (
        corner(saliency, side) for saliency in (pair.host_saliency, pair.donor_saliency)
    )
    for row, column in every_position(side, side):
        result[:, top + row, left + column] = pair.donor[:, donor_top + row, donor_left + column]
    return result


def corner(saliency: Array, side: int) -> list[int]:
    peak = max(every_position(*saliency.shape), key=lambda place: saliency[place])
    return [
        min(max(place - side // 2, 0), whole - side)
        for place, whole in zip(peak, saliency.shape, strict=True)
    ]


def background(pair: Pair) -> Array:
    result = pair.donor.copy()
    for row, column in every_position(*result.shape[1:]):
        if pair.host_mask[row, column] or pair.donor_mask[row, column]:
            result[:, row, column] = pair.host[:, row, column]
    return result


CUES: dict[str, Callable[[Pair], Array]] = {
    "mean_image": mean_image,
    "mean_spectrum": mean_spectrum,
    "mean_amplitude": mean_amplitude,
    "mean_tone": mean_tone,
    "border_16": partial(border, share=16),
    "border_8": partial(border, share=8),
    **{
        f"cell_{row}_{column}": partial(mean_image, cell=(row, column))
        for row in range(4)
        for column in range(4)
    },
    "colour_mean": partial(colour, middle=mean),
    "colour_std": partial(colour, middle=mean, scaled=True),
    "colour_median": partial(colour, middle=median),
    "spectrum": donor_spectrum,
    "detail_4": partial(detail, share=4),
    "detail_6": partial(detail, share=6),
    "amplitude": donor_amplitude,
    "attended": attended,
    "background": background,
}


def cue(name: str, pairs: list[Pair]) -> Array:
    return np.array([CUES[name](pair) for pair in pairs])


# --- Dominance


def dominance(donor: int, host: int) -> float:
    return donor / (donor + host) if donor + host else nan


def effect(donor: int, host: int, third: int, classes: int, flips: float) -> float:
    pairs = donor + host + third
    if not pairs:
        return nan
    return donor / pairs - (flips if classes == 2 else third / pairs / (classes - 2))


def votes(predicted: list[int], hosts: list[int], donors: list[int], voters: list[int]) -> tuple[int, int]:
    """Images won by the donor more often than by the host, and images that were no draw."""
    leads = dict.fromkeys(voters, 0)
    for answer, host, donor, voter in zip(predicted, hosts, donors, voters, strict=True):
        leads[voter] += (answer == donor) - (answer == host)
    return sum(lead > 0 for lead in leads.values()), sum(lead != 0 for lead in leads.values())


def binomial_tail(wins: int, trials: int, share: Fraction) -> float:
    """In whole numbers, divided once."""
    return float(
        sum(comb(trials, k) * share**k * (1 - share) ** (trials - k) for k in range(wins, trials + 1))
    )


def holm(p_values: list[float]) -> list[float]:
    """Each is the largest, over all that are no larger than it, of the p-value times how many are not smaller."""
    ranked = sorted(p_values)
    steps = [min(1.0, (len(ranked) - rank) * value) for rank, value in enumerate(ranked)]
    return [
        max(step for step, other in zip(steps, ranked, strict=True) if other <= value) for value in p_values
    ]
