"""The measures of ``lightning_cam.metrics`` a second time: float64, plain loops over pixels, one image at a time, no cleverness.

Nothing here calls the package. ``score`` is a function of one image (c, H, W); what it asks for is the test's affair.
"""

from collections.abc import Callable
from math import exp, nan, sqrt

import numpy as np

from reference.equations import every_position

Array = np.ndarray
Score = Callable[[Array], float]


def by_saliency(saliency: Array) -> list[tuple[int, int]]:
    """Pixels, the most salient first; equal ones row by row."""
    return sorted(every_position(*saliency.shape), key=lambda pixel: (-float(saliency[pixel]), pixel))


def replaced(image: Array, other: Array, pixels: list[tuple[int, int]]) -> Array:
    """The image with these pixels as in the other."""
    result = image.copy()
    for i, j in pixels:
        for channel in range(len(image)):
            result[channel, i, j] = other[channel, i, j]
    return result


def area(score: Score, first: Array, last: Array, saliency: Array, steps: int) -> float:
    """Under the scores on the way from the first to the last image, pixel by pixel."""
    order = by_saliency(saliency)
    total, before, start = 0.0, score(first), 0
    for step in range(1, steps + 1):
        end = round(step * len(order) / steps)
        after = score(replaced(first, last, order[:end]))
        total += (before + after) / 2 * (end - start) / len(order)
        before, start = after, end
    return total


def deletion(score: Score, image: Array, saliency: Array, steps: int, baseline: float = 0.0) -> float:
    return area(score, image, np.full(image.shape, baseline), saliency, steps)


def insertion(score: Score, image: Array, saliency: Array, steps: int) -> float:
    return area(score, blurred(image), image, saliency, steps)


def mirrored(place: int, length: int) -> int:
    """Where a place beyond the border lies when the line is reflected, its last cell repeated."""
    while not 0 <= place < length:
        place = -1 - place if place < 0 else 2 * length - 1 - place
    return place


def gaussian_kernel(width: int = 11, sigma: float = 5.0) -> Array:
    """A cell of 1 in the middle of ``width`` x ``width``, blurred up to four deviations away, with mirrored borders."""
    kernel = np.zeros((width, width))
    reach, middle = int(4 * sigma + 0.5), width // 2
    for down, across in every_position(2 * reach + 1, 2 * reach + 1):
        y, x = down - reach, across - reach
        kernel[mirrored(middle + y, width), mirrored(middle + x, width)] += exp(
            -(y * y + x * x) / (2 * sigma * sigma)
        )
    total = 0.0
    for i, j in every_position(width, width):
        total += kernel[i, j]
    return kernel / total


def blurred(image: Array) -> Array:
    """The kernel around every pixel; what lies beyond the edge counts as 0."""
    kernel, result = gaussian_kernel(), np.zeros(image.shape)
    for channel in range(len(image)):
        for i, j in every_position(*image.shape[1:]):
            for down, across in every_position(*kernel.shape):
                y, x = i + down - 5, j + across - 5
                if 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
                    result[channel, i, j] += kernel[down, across] * image[channel, y, x]
    return result


def kept(image: Array, saliency: Array) -> Array:
    result = image.copy()
    for channel in range(len(image)):
        for i, j in every_position(*saliency.shape):
            result[channel, i, j] = saliency[i, j] * image[channel, i, j]
    return result


def average_drop(score: Score, image: Array, saliency: Array) -> float:
    whole = score(image)
    return max(0.0, whole - score(kept(image, saliency))) / whole


def increase_in_confidence(score: Score, image: Array, saliency: Array) -> float:
    return 1.0 if score(kept(image, saliency)) > score(image) else 0.0


def imputed(image: Array, removed: list[tuple[int, int]]) -> Array:
    """Every removed pixel the weighted mean of its neighbours: one dense system, a row for each."""
    row_of = {pixel: row for row, pixel in enumerate(removed)}
    matrix, right = np.zeros((len(removed), len(removed))), np.zeros((len(removed), len(image)))
    for (i, j), row in row_of.items():
        weights = {}
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                y, x = i + down, j + across
                if (down, across) != (0, 0) and 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
                    weights[y, x] = 1 / 6 if down == 0 or across == 0 else 1 / 12
        total = sum(weights.values())
        matrix[row, row] = 1.0
        for (y, x), weight in weights.items():
            if (y, x) in row_of:
                matrix[row, row_of[y, x]] -= weight / total
            else:
                for channel in range(len(image)):
                    right[row, channel] += weight / total * image[channel, y, x]
    solution, result = np.linalg.solve(matrix, right), image.copy()
    for (i, j), row in row_of.items():
        for channel in range(len(image)):
            result[channel, i, j] = solution[row, channel]
    return result


def road_curves(
    score: Score, image: Array, saliency: Array, noise: Array, percentages: list[int]
) -> tuple[list, list]:
    """Scores without the most salient pixels, and without the least salient ones."""
    order = by_saliency(saliency)
    most, least = [], []
    for percentage in percentages:
        count = len(order) * percentage // 100
        for scores, removed in ((most, order[:count]), (least, order[len(order) - count :])):
            filled = imputed(image, removed)
            scores.append(score(replaced(filled, filled + noise, removed)))
    return most, least


def road(score: Score, image: Array, saliency: Array, noise: Array, percentages: list[int]) -> float:
    most, least = road_curves(score, image, saliency, noise, percentages)
    total = 0.0
    for worst, best in zip(most, least, strict=True):
        total += (best - worst) / 2
    return total / len(percentages)


def ranks(values: list[float]) -> list[float]:
    """How many are smaller, and half of how many others are equal."""
    result = []
    for value in values:
        smaller = sum(other < value for other in values)
        equal = sum(other == value for other in values)
        result.append(smaller + (equal - 1) / 2)
    return result


def rank_correlation(one: Array, other: Array) -> float:
    """Spearman's: Pearson's correlation of the ranks."""
    first, second = (
        ranks([float(one[p]) for p in every_position(*one.shape)]),
        ranks([float(other[p]) for p in every_position(*one.shape)]),
    )
    middle = (len(first) - 1) / 2
    product = spread = other_spread = 0.0
    for a, b in zip(first, second, strict=True):
        product += (a - middle) * (b - middle)
        spread += (a - middle) ** 2
        other_spread += (b - middle) ** 2
    return nan if spread == 0 or other_spread == 0 else product / sqrt(spread * other_spread)
