"""Whether a layer carries the score, and where its map lies, a second time: float64, plain loops, no cleverness."""

from math import sqrt

import numpy as np

Array = np.ndarray


def closeness_and_share(replaced: Array, own: Array, other: Array) -> tuple[float, float]:
    """Over all pairs and classes together."""
    missing = length = product = 0.0
    for t, b, a in zip(replaced.flatten(), own.flatten(), other.flatten(), strict=True):
        missing += (t - a) ** 2
        length += (b - a) ** 2
        product += (t - b) * (a - b)
    return 1 - sqrt(missing) / sqrt(length), product / length


def regions(height: int, width: int) -> Array:
    """Zeros and ones: eight stripes from the top, eight from the left, then top, bottom, left, right."""
    masks = np.zeros((20, height, width))
    for i in range(height):
        for j in range(width):
            for stripe in range(8):
                masks[stripe, i, j] = round(stripe * height / 8) <= i < round((stripe + 1) * height / 8)
                masks[8 + stripe, i, j] = round(stripe * width / 8) <= j < round((stripe + 1) * width / 8)
            masks[16, i, j] = i < max(1, round(height / 16))
            masks[17, i, j] = i >= height - max(1, round(height / 16))
            masks[18, i, j] = j < max(1, round(width / 16))
            masks[19, i, j] = j >= width - max(1, round(width / 16))
    return masks


def peaks(changes: Array, asked: list[int]) -> Array:
    """Where the stripes are that change each place most."""
    count, height, width = changes.shape
    found = np.zeros((height, width))
    means = {}
    for stripe in asked:
        means[stripe] = sum(changes[stripe, i, j] for i in range(height) for j in range(width)) / (
            height * width
        )
    for i in range(height):
        for j in range(width):
            relative = {stripe: changes[stripe, i, j] / means[stripe] for stripe in asked}
            least, most = min(relative.values()), max(relative.values())
            above = total = 0.0
            for stripe in asked:
                weight = ((relative[stripe] - least) / (most - least)) ** 3 if most > least else 1.0
                above += weight * (stripe + 0.5) / count
                total += weight
            found[i, j] = above / total
    return found


def median(values: list[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


def plane(values: Array, living: list[tuple[int, int]], own_axis: int) -> tuple[float, float, float]:
    """Start, slope down, slope to the right: medians over all pairs in a column, in a row."""
    height, width = values.shape
    slopes = []
    for axis in (0, 1):
        steps = []
        for first in living:
            for second in living:
                if first[1 - axis] == second[1 - axis] and first[axis] < second[axis]:
                    distance = (second[axis] - first[axis]) / (height, width)[axis]
                    steps.append((values[second] - values[first]) / distance)
        slopes.append(median(steps) if steps else float(axis == own_axis))
    rest = [values[i, j] - slopes[0] * (i + 0.5) / height - slopes[1] * (j + 0.5) / width for i, j in living]
    return median(rest), slopes[0], slopes[1]
