"""Every cue's swap and features a second time: float64, one image or pair at a time, plain loops, no cleverness.

Nothing here calls the package.
"""

from collections.abc import Callable, Iterable
from functools import partial
from math import ceil, exp, floor, hypot, log, pi, sqrt
from typing import NamedTuple

import numpy as np

from reference.equations import every_position

Array = np.ndarray


class Pair(NamedTuple):
    """One host (c, h, w) and one donor; the host's mask (h, w), grown, and the donor's filled background."""

    host: Array
    donor: Array
    host_mask: Array | None = None
    donor_background: Array | None = None


def mean(values: Iterable[float]) -> float:
    listed = [float(value) for value in values]
    return sum(listed) / len(listed)


def variance(values: Iterable[float]) -> float:
    listed = [float(value) for value in values]
    middle = mean(listed)
    return sum((value - middle) ** 2 for value in listed) / (len(listed) - 1)


def deviation(channel: Array) -> float:
    return max(sqrt(variance(channel.flatten())), 1e-6)


def grown(mask: Array) -> Array:
    """Each pixel within a sixteenth of the shorter side of the object, in a square."""
    reach = max(1, min(mask.shape) // 16)
    result = np.zeros_like(mask)
    for row, column in every_position(*mask.shape):
        near = mask[max(0, row - reach) : row + reach + 1, max(0, column - reach) : column + reach + 1]
        result[row, column] = any(near.flatten().tolist())
    return result


# --- Parts of images


def in_ring(row: int, column: int, size: tuple[int, int], share: int) -> bool:
    down, across = (max(1, side // share) for side in size)
    return min(row, size[0] - 1 - row) < down or min(column, size[1] - 1 - column) < across


def quarter(place: int, side: int) -> int:
    """Which of four cells, each of which begins at its share of the side rounded down."""
    return sum(place >= side * one // 4 for one in (1, 2, 3))


def in_cell(row: int, column: int, size: tuple[int, int], cell: tuple[int, int]) -> bool:
    return (quarter(row, size[0]), quarter(column, size[1])) == cell


def pooled(maps: Array, most: int) -> Array:
    """Each place is the mean of all pixels that it overlaps; sides of up to ``most`` stay."""
    height, width = (min(side, most) for side in maps.shape[1:])
    result = np.zeros((len(maps), height, width))
    for row, column in every_position(height, width):
        rows = slice(floor(row * maps.shape[1] / height), ceil((row + 1) * maps.shape[1] / height))
        columns = slice(floor(column * maps.shape[2] / width), ceil((column + 1) * maps.shape[2] / width))
        for channel in range(len(maps)):
            result[channel, row, column] = mean(maps[channel, rows, columns].flatten())
    return result


def crop(image: Array) -> Array:
    """The middle 64 pixels of each side that is longer."""
    top, left = (max(0, side - 64) // 2 for side in image.shape[1:])
    return image[:, top : top + 64, left : left + 64]


def patches(image: Array) -> Array:
    """Of sides longer than 64 eight stretches of eight pixels, the first and the last at the edge."""
    for dim in (1, 2):
        side = image.shape[dim]
        if side > 64:
            places = [place * (side - 8) // 7 + step for place in range(8) for step in range(8)]
            image = image[:, places] if dim == 1 else image[:, :, places]
    return image


def textures(image: Array) -> Array:
    """(4, h, w) of at most 8 x 8 places: log strength of detail and of steps, and the steps' direction."""
    image = patches(image)
    count, height, width = image.shape
    least = 1e-3 * mean(deviation(channel) for channel in image)
    sums = np.zeros((4, height, width))
    for channel in image:
        for row, column in every_position(height, width):

            def at(row: int, column: int, channel: Array = channel) -> float:
                return channel[min(max(row, 0), height - 1), min(max(column, 0), width - 1)]

            around = mean(at(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1))
            across, down = at(row, column + 1) - at(row, column), at(row + 1, column) - at(row, column)
            found = (abs(at(row, column) - around), across**2, down**2, across * down)
            for part, value in zip(sums, found, strict=True):
                part[row, column] += value / count
    means = pooled(sums, 8)
    result = np.zeros_like(means)
    for row, column in every_position(*means.shape[1:]):
        detail, dx2, dy2, dxdy = means[:, row, column]
        total = dx2 + dy2 + least**2
        result[:, row, column] = log(detail + least), log(total) / 2, (dx2 - dy2) / total, 2 * dxdy / total
    return result


# --- Frequencies


def frequency(place: int, side: int) -> float:
    """Periods per pixel, in [-1/2, 1/2)."""
    return (place if 2 * place < side else place - side) / side


def radius(row: int, column: int, size: tuple[int, int]) -> int:
    return round(hypot(frequency(row, size[0]), frequency(column, size[1])) * min(size))


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


def half(size: tuple[int, int]) -> Iterable[tuple[int, int]]:
    """Entries whose mirror images the others are."""
    return every_position(size[0], size[1] // 2 + 1)


def rounding(channel: Array) -> float:
    return 1e-3 * deviation(channel) * sqrt(channel.size)


def spectrum(image: Array) -> list[float]:
    """Log of the mean amplitude at each radius, its mean over channels."""
    size, logs = image.shape[1:], []
    for channel in image:
        waves, rings = np.fft.fft2(channel), {}
        for row, column in half(size):
            rings.setdefault(radius(row, column, size), []).append(abs(waves[row, column]))
        logs.append(
            [
                log((mean(rings[one]) if one in rings else 0) + rounding(channel))
                for one in range(max(rings) + 1)
            ]
        )
    return [mean(column) for column in zip(*logs, strict=True)]


def amplitudes(image: Array) -> dict[tuple[int, int], float]:
    """Log amplitudes, their mean over channels."""
    found: dict[tuple[int, int], float] = dict.fromkeys(half(image.shape[1:]), 0.0)
    for channel in image:
        waves = np.fft.fft2(channel)
        for place in found:
            found[place] += log(abs(waves[place]) + rounding(channel)) / len(image)
    return found


def correlations(image: Array) -> dict[tuple[int, int, int], float]:
    """How well red (0) and blue (2) fit green where green's pixel ``p`` lies on their ``p + (down, across)``."""
    image = crop(image)
    height, width = image.shape[1:]
    exact = [(channel - mean(channel.flatten())) / deviation(channel) for channel in image]
    found = {}
    for channel in (0, 2):
        for down in range(-4, 5):
            for across in range(-4, 5):
                products = [
                    exact[channel][(row + down) % height, (column + across) % width] * exact[1][row, column]
                    for row, column in every_position(height, width)
                ]
                found[channel, down, across] = mean(products)
    return found


# --- Spots


def spot(image: Array) -> tuple[int, int, int]:
    """Row and column where the plainest spot's box begins, and its side."""
    step = max(1, min(image.shape[1:]) // 48)
    small = np.array([
        [[mean(channel[row : row + step, column : column + step].flatten())
          for column in range(0, channel.shape[1] - step + 1, step)]
         for row in range(0, channel.shape[0] - step + 1, step)]
        for channel in image
    ])  # fmt: skip
    side = max(3, min(image.shape[1:]) // step // 6)
    height, width = small.shape[1:]

    def mirrored(place: int, length: int) -> int:
        place = abs(place)
        return place if place < length else 2 * (length - 1) - place

    best, found = -np.inf, (0, 0)
    for top, left in every_position(height - side + 1, width - side + 1):
        response = 0.0
        for channel in small:
            box = channel[top : top + side, left : left + side].flatten().tolist()
            wide = [
                channel[mirrored(row, height), mirrored(column, width)]
                for row in range(top - side, top + 2 * side)
                for column in range(left - side, left + 2 * side)
            ]
            inner = mean(box)
            outside = (9 * mean(wide) - inner) / 8
            response += (inner - outside) ** 2 - mean((value - inner) ** 2 for value in box)
        if response > best + 1e-12:
            best, found = response, (top, left)
    return step * found[0], step * found[1], step * side


def inside(corner: tuple[int, int], side: int, size: tuple[int, int]) -> tuple[int, int]:
    """Where a box begins that is moved into the image."""
    return min(max(corner[0], 0), size[0] - side), min(max(corner[1], 0), size[1] - side)


# --- Swaps: one pair


def where(pair: Pair, chosen: Callable[[int, int, tuple[int, int]], bool]) -> Array:
    result = pair.host.copy()
    for row, column in every_position(*result.shape[1:]):
        if chosen(row, column, result.shape[1:]):
            result[:, row, column] = pair.donor[:, row, column]
    return result


def border(pair: Pair, share: int) -> Array:
    return where(pair, lambda row, column, size: in_ring(row, column, size, share))


def cell(pair: Pair, row: int, column: int) -> Array:
    return where(pair, lambda i, j, size: in_cell(i, j, size, (row, column)))


def colour_mean(pair: Pair) -> Array:
    return np.array([
        host - mean(host.flatten()) + mean(donor.flatten())
        for host, donor in zip(pair.host, pair.donor, strict=True)
    ])  # fmt: skip


def covariance(image: Array) -> Array:
    count = len(image)
    middles = [mean(channel.flatten()) for channel in image]
    result = np.zeros((count, count))
    for i, j in every_position(count, count):
        products = zip(image[i].flatten().tolist(), image[j].flatten().tolist(), strict=True)
        result[i, j] = mean((one - middles[i]) * (other - middles[j]) for one, other in products)
    return result


def root(image: Array, power: float) -> Array:
    """The channels' covariance to a power; what is below a millionth of its mean counts as that."""
    found = covariance(image)
    least = 1e-6 * max(mean(found[i, i] for i in range(len(found))), 1e-12)
    lengths, directions = np.linalg.eigh(found)
    result = np.zeros_like(found)
    for length, direction in zip(lengths, directions.T, strict=True):
        result += max(length, least) ** power * np.outer(direction, direction)
    return result


def colour(pair: Pair) -> Array:
    result = np.zeros_like(pair.host)
    matrix = root(pair.donor, 0.5) @ root(pair.host, -0.5)
    own, other = ([mean(channel.flatten()) for channel in image] for image in (pair.host, pair.donor))
    for row, column in every_position(*pair.host.shape[1:]):
        result[:, row, column] = matrix @ (pair.host[:, row, column] - own) + other
    return result


def tones(pair: Pair) -> Array:
    result = pair.host.copy()
    for channel, donor in zip(result, pair.donor, strict=True):
        values, given = channel.flatten().tolist(), sorted(donor.flatten().tolist())
        for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
            channel[divmod(place, channel.shape[1])] = given[rank]
    return result


def detail_share(image: Array, step: int = 1) -> float:
    """Log of the squared steps between pixels ``step`` apart, down and across, beside the channels' variance."""
    down = mean(float(value) ** 2 for value in (image[:, step:] - image[:, :-step]).flatten())
    across = mean(float(value) ** 2 for value in (image[:, :, step:] - image[:, :, :-step]).flatten())
    return log((down + across) / mean(deviation(channel) ** 2 for channel in image) + 1e-6)


def sharpness(pair: Pair) -> Array:
    """Of the host and its blurred and sharpened versions the one whose detail is nearest the donor's."""
    height, width = pair.host.shape[1:]
    best = pair.host
    for sigma in (0.3, 0.5, 0.7, 0.9, 1.2, 1.5, 1.9, 2.4, 3.0):
        for sign in (1, -1):

            def gain(row: int, column: int, sigma: float = sigma, sign: int = sign) -> float:
                squared = frequency(row, height) ** 2 + frequency(column, width) ** 2
                return exp(min(-sign * 2 * pi**2 * sigma**2 * squared, 3.0))

            tried = filtered(pair.host, gain)
            off, least = (abs(detail_share(image) - detail_share(pair.donor)) for image in (tried, best))
            if off < least:
                best = tried
    return best


def detail(pair: Pair, share: int) -> Array:
    size = pair.host.shape[1:]

    def part(image: Array, is_fine: bool) -> Array:
        return filtered(image, lambda row, column: (radius(row, column, size) > min(size) / share) == is_fine)

    fine = part(pair.donor, True)
    return part(pair.host, False) + np.array([channel - mean(channel.flatten()) for channel in fine])


def fringes(pair: Pair) -> Array:
    result = pair.host.copy()
    height, width = result.shape[1:]
    own, other = correlations(pair.host), correlations(pair.donor)
    places = [(down, across) for down in range(-4, 5) for across in range(-4, 5)]
    for channel in (0, 2):
        (y, x), (donor_y, donor_x) = (
            max(places, key=lambda place: found[channel, *place]) for found in (own, other)
        )
        for row, column in every_position(height, width):
            moved = (row - (donor_y - y)) % height, (column - (donor_x - x)) % width
            result[channel, row, column] = pair.host[channel, *moved]
    return result


def swapped_spot(pair: Pair) -> Array:
    result, size = pair.host.copy(), pair.host.shape[1:]
    corners = []
    for image in (pair.host, pair.donor):
        top, left, side = spot(image)
        corners.append(inside((top - 1, left - 1), side + 2, size))
    (top, left), (donor_top, donor_left) = corners
    for row, column in every_position(side + 2, side + 2):
        result[:, top + row, left + column] = pair.donor[:, donor_top + row, donor_left + column]
    return result


def background(pair: Pair) -> Array:
    result = pair.donor_background.copy()
    for row, column in every_position(*result.shape[1:]):
        if pair.host_mask[row, column]:
            result[:, row, column] = pair.host[:, row, column]
    return result


def filled_background(images: list[Array], masks: list[Array], labels: list[int], which: int) -> Array:
    """The image with the next images of its class where its object is: of up to six the first that shows its
    background there; else the image's mean. The masks are grown.
    """
    own = [i for i, label in enumerate(labels) if label == labels[which]]
    result = images[which].copy()
    for row, column in every_position(*result.shape[1:]):
        if not masks[which][row, column]:
            continue
        result[:, row, column] = [mean(channel.flatten()) for channel in images[which]]
        for turn in range(1, 7):
            other = own[(own.index(which) + turn) % len(own)]
            if not masks[other][row, column]:
                result[:, row, column] = images[other][:, row, column]
                break
    return result


CELLS = list(every_position(4, 4))
SWAPS: dict[str, Callable[[Pair], Array]] = {
    "border_8": partial(border, share=8),
    "border_16": partial(border, share=16),
    **{f"cell_{row}_{column}": partial(cell, row=row, column=column) for row, column in CELLS},
    "colour_mean": colour_mean,
    "colour": colour,
    "tones": tones,
    "fringes": fringes,
    "detail": partial(detail, share=4),
    "spot": swapped_spot,
    "sharpness": sharpness,
    "background": background,
}


def swap(name: str, pairs: list[Pair]) -> Array:
    return np.array([SWAPS[name](pair) for pair in pairs])


# --- Features: one image, and its mask as it is


def chosen(maps: Array, is_in: Callable[[int, int, tuple[int, int]], bool]) -> list[float]:
    return [
        channel[row, column]
        for channel in maps
        for row, column in every_position(*channel.shape)
        if is_in(row, column, channel.shape)
    ]


def of_border(image: Array, mask: Array | None, share: int) -> list[float]:
    def is_in(row: int, column: int, size: tuple[int, int]) -> bool:
        return in_ring(row, column, size, share)

    return chosen(pooled(image, 16), is_in) + chosen(textures(image), is_in)


def of_cell(image: Array, mask: Array | None, cell: tuple[int, int]) -> list[float]:
    def is_in(row: int, column: int, size: tuple[int, int]) -> bool:
        return in_cell(row, column, size, cell)

    return chosen(pooled(image, 16), is_in) + chosen(textures(image), is_in)


def of_colour_mean(image: Array, mask: Array | None) -> list[float]:
    return [mean(channel.flatten()) for channel in pooled(image, 32)]


def of_colour(image: Array, mask: Array | None) -> list[float]:
    palette = pooled(image, 32)
    flat = [channel.flatten().tolist() for channel in palette]
    shared = covariance(palette)
    above = [shared[i, j] for i in range(len(flat)) for j in range(i + 1, len(flat))]
    return [
        *map(mean, flat),
        *(sqrt(variance(values)) for values in flat),
        *(sorted(values)[(len(values) - 1) // 2] for values in flat),
        *(sqrt(abs(value)) * (-1 if value < 0 else 1) for value in above),
    ]


def at_ranks(values: list[float], count: int) -> list[float]:
    """Sorted values read at ``count`` even ranks, the first and the last among them."""
    found = []
    for place in range(count):
        rank = place * (len(values) - 1) / (count - 1)
        low = min(floor(rank), max(len(values) - 2, 0))
        high = min(low + 1, len(values) - 1)
        found.append(values[low] + (rank - low) * (values[high] - values[low]))
    return found


def of_tones(image: Array, mask: Array | None) -> list[float]:
    found = [at_ranks(sorted(channel.flatten().tolist()), 17) for channel in pooled(image, 32)]
    curves = [
        [(value - values[0]) / max(values[-1] - values[0], 1e-6) for value in values[1:-1]]
        for values in found
    ]
    entropies = []
    for levels in (16, 64, 256):
        for channel in crop(image):
            low, high = channel.min(), channel.max()
            counts = [0] * levels
            for value in channel.flatten().tolist():
                step = min(floor((value - low) / max(high - low, 1e-6) * 256), 255)
                counts[step // (256 // levels)] += 1
            entropies.append(-sum(n / channel.size * log(n / channel.size) for n in counts if n))
    return [value for values in found for value in values] + [v for c in curves for v in c] + entropies


def of_fringes(image: Array, mask: Array | None) -> list[float]:
    found = correlations(image)
    places = [(down, across) for down in range(-4, 5) for across in range(-4, 5)][:40]
    return [
        found[channel, down, across] - found[channel, -down, -across]
        for channel in (0, 2)
        for down, across in places
    ]


def of_detail(image: Array, mask: Array | None) -> list[float]:
    middle = crop(image)
    size = middle.shape[1:]
    rings: dict[int, list[float]] = {}
    for (row, column), value in amplitudes(middle).items():
        own = radius(row, column, size)
        if own > min(size) / 4:
            rings.setdefault(own, []).append(value)
    profile = [mean(rings[own]) if own in rings else 0.0 for own in range(min(rings), max(rings) + 1)]
    contrast = log(mean(deviation(channel) for channel in middle))
    strength = [value - contrast for value in textures(image)[0].flatten().tolist()]
    return profile + strength + blocks(middle, 1) + blocks(middle, 2)


def blocks(image: Array, dim: int) -> list[float]:
    """Log of the steps from lines 0, 8, 16, ... to the next, from 1, 9, ..., less their mean."""
    turned = image if dim == 1 else image.transpose(0, 2, 1)
    steps = [
        mean(abs(float(value)) for value in (turned[:, line + 1] - turned[:, line]).flatten())
        for line in range(turned.shape[1] - 1)
    ]
    whole = len(steps) // 8 * 8
    if not whole:
        return []
    least = 1e-3 * mean(deviation(channel) for channel in image)
    logs = [log(mean(steps[line:whole:8]) + least) for line in range(8)]
    return [value - mean(logs) for value in logs]


def of_spot(image: Array, mask: Array | None) -> list[float]:
    top, left, side = spot(image)
    top, left = inside((top, left), side, image.shape[1:])
    box = image[:, top : top + side, left : left + side]
    apart = [mean(own.flatten()) - mean(all_.flatten()) for own, all_ in zip(box, image, strict=True)]
    return pooled(box, 3).flatten().tolist() + apart


def of_sharpness(image: Array, mask: Array | None) -> list[float]:
    middle = crop(image)
    return spectrum(middle) + [detail_share(middle, step) for step in (1, 2, 4)]


def of_background(image: Array, mask: Array | None) -> list[float]:
    shown = 1.0 - grown(mask)[None]
    palette = pooled(image, 32)
    weight = share_shown(shown, palette.shape[1:])
    tones, middles, spreads = [], [], []
    for channel in palette:
        everything = channel.flatten().tolist()
        seen = [value for value, own in zip(everything, weight.flatten().tolist(), strict=True) if own > 0.5]
        tones += at_ranks(sorted(seen or everything), 9)
    total = max(weight.sum(), 1e-6)
    for channel in palette:
        middle = (channel * weight).sum() / total
        middles.append(middle)
        spreads.append(sqrt(((channel - middle) ** 2 * weight).sum() / total))
    found = textures(image)
    own = share_shown(shown, found.shape[1:])
    return tones + middles + spreads + [(part * own).sum() / max(own.sum(), 1e-6) for part in found]


def share_shown(shown: Array, size: tuple[int, int]) -> Array:
    """Of each place the share of its pixels that is shown."""
    result = np.zeros(size)
    for row, column in every_position(*size):
        rows = slice(floor(row * shown.shape[1] / size[0]), ceil((row + 1) * shown.shape[1] / size[0]))
        columns = slice(
            floor(column * shown.shape[2] / size[1]), ceil((column + 1) * shown.shape[2] / size[1])
        )
        result[row, column] = mean(shown[0, rows, columns].flatten())
    return result


FEATURES: dict[str, Callable[[Array, Array | None], list[float]]] = {
    "border_8": partial(of_border, share=8),
    "border_16": partial(of_border, share=16),
    **{f"cell_{row}_{column}": partial(of_cell, cell=(row, column)) for row, column in CELLS},
    "colour_mean": of_colour_mean,
    "colour": of_colour,
    "tones": of_tones,
    "fringes": of_fringes,
    "detail": of_detail,
    "spot": of_spot,
    "sharpness": of_sharpness,
    "background": of_background,
}
