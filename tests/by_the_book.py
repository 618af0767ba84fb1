"""Every equation of the package a second time: float64, plain loops over images, channels and pixels, no cleverness.

Nothing here calls the package. Each function below takes one image; ``cams`` and ``statistic`` go through the images one by one.
A row without a twin here fails its test; ``NO_METHOD_TWIN`` says which methods have no equation to write again, and why.
"""

from collections.abc import Callable, Iterator
from math import floor, isfinite, log, log2, nan
from typing import NamedTuple

import numpy as np

Array = np.ndarray


def every_position(height: int, width: int) -> Iterator[tuple[int, int]]:
    for i in range(height):
        for j in range(width):
            yield i, j


# --- Maps: one map (h, w) ---------------------------------------------------------------------------------------------------------


def upsample(cam: Array, size: tuple[int, int]) -> Array:
    """Bilinear with ``align_corners=False``: pixel centers are at halves, and the outermost values reach out to the edge."""
    h, w = cam.shape
    height, width = size
    result = np.zeros(size)
    for row, column in every_position(height, width):
        y = min(max((row + 0.5) * h / height - 0.5, 0.0), h - 1.0)
        x = min(max((column + 0.5) * w / width - 0.5, 0.0), w - 1.0)
        top, left = floor(y), floor(x)
        bottom, right = min(top + 1, h - 1), min(left + 1, w - 1)
        down, across = y - top, x - left
        upper = (1 - across) * cam[top, left] + across * cam[top, right]
        lower = (1 - across) * cam[bottom, left] + across * cam[bottom, right]
        result[row, column] = (1 - down) * upper + down * lower
    return result


def normalize(cam: Array) -> Array:
    """Positive part divided by the maximum; zero where a value is not finite or none is positive."""
    result = np.zeros(cam.shape)
    peak = 0.0
    for i, j in every_position(*cam.shape):
        if not isfinite(cam[i, j]):
            return result
        peak = max(peak, float(cam[i, j]))
    if peak == 0:
        return result
    for i, j in every_position(*cam.shape):
        result[i, j] = max(float(cam[i, j]), 0.0) / peak
    return result


# --- Methods: activations and gradients of one image, both (k, h, w) --------------------------------------------------------------


def relu(value: float) -> float:
    return max(float(value), 0.0)


def channel_sum(values: Array) -> float:
    """Sum of one channel (h, w) over its positions."""
    total = 0.0
    for i, j in every_position(*values.shape):
        total += float(values[i, j])
    return total


def rectified_combination(weights: list[float], activations: Array) -> Array:
    """``relu(sum_k w_k A_k)``."""
    channels, h, w = activations.shape
    cam = np.zeros((h, w))
    for i, j in every_position(h, w):
        total = 0.0
        for k in range(channels):
            total += weights[k] * float(activations[k, i, j])
        cam[i, j] = relu(total)
    return cam


def grad_cam(activations: Array, gradients: Array) -> Array:
    """Selvaraju et al. 2017, eq. 1 and 2: ``w_k = 1/Z sum_ij g``, ``relu(sum_k w_k A_k)``."""
    channels, h, w = activations.shape
    weights = []
    for k in range(channels):
        weights.append(channel_sum(gradients[k]) / (h * w))
    return rectified_combination(weights, activations)


def grad_cam_plus_plus(activations: Array, gradients: Array) -> Array:
    """Chattopadhay et al. 2018, eq. 19 with ``Y = exp(score)``, whose positive factor ``exp(score)`` is left out of ``w``.

    ``alpha = g^2 / (2 g^2 + S g^3)``, ``w_k = sum_ij alpha relu(g)``. Where ``g = 0`` nothing is added; nor where
    ``2 + g S <= 0``, for a negative share has no meaning.
    """
    channels, h, w = activations.shape
    weights = []
    for k in range(channels):
        channel_total = channel_sum(activations[k])
        weight = 0.0
        for i, j in every_position(h, w):
            g = float(gradients[k, i, j])
            if g != 0 and 2 + g * channel_total > 0:
                alpha = g**2 / (2 * g**2 + channel_total * g**3)
                weight += alpha * relu(g)
        weights.append(weight)
    return rectified_combination(weights, activations)


def xgrad_cam(activations: Array, gradients: Array) -> Array:
    """Fu et al. 2020, eq. 8: ``w_k = sum_ij (A_k(i,j) / S_k) g``; a channel with ``S_k = 0`` gets 0. Rectified."""
    channels, h, w = activations.shape
    weights = []
    for k in range(channels):
        channel_total = channel_sum(activations[k])
        weight = 0.0
        if channel_total != 0:
            for i, j in every_position(h, w):
                weight += float(activations[k, i, j]) / channel_total * float(gradients[k, i, j])
        weights.append(weight)
    return rectified_combination(weights, activations)


def hires_cam(activations: Array, gradients: Array) -> Array:
    """Draelos and Carin 2020, eq. 4: ``sum_k g A_k``, signed."""
    channels, h, w = activations.shape
    cam = np.zeros((h, w))
    for i, j in every_position(h, w):
        for k in range(channels):
            cam[i, j] += float(gradients[k, i, j]) * float(activations[k, i, j])
    return cam


def grad_cam_elementwise(activations: Array, gradients: Array) -> Array:
    """Pillai and Pirsiavash 2021: ``sum_k relu(g A_k)``."""
    channels, h, w = activations.shape
    cam = np.zeros((h, w))
    for i, j in every_position(h, w):
        for k in range(channels):
            cam[i, j] += relu(float(gradients[k, i, j]) * float(activations[k, i, j]))
    return cam


def layer_cam(activations: Array, gradients: Array) -> Array:
    """Jiang et al. 2021, eq. 6 and 7: ``relu(sum_k relu(g) A_k)``."""
    channels, h, w = activations.shape
    cam = np.zeros((h, w))
    for i, j in every_position(h, w):
        total = 0.0
        for k in range(channels):
            total += relu(gradients[k, i, j]) * float(activations[k, i, j])
        cam[i, j] = relu(total)
    return cam


def eigen_cam(activations: Array, gradients: Array) -> Array:
    """Muhammad and Yeasin 2020, eq. 3 and 4: ``A v_1`` of the singular value decomposition of A (h*w, k), which is not centered.

    The sign makes the map's product with ``sum_k A_k`` positive.
    """
    channels, h, w = activations.shape
    matrix = np.zeros((h * w, channels))
    for row, (i, j) in enumerate(every_position(h, w)):
        for k in range(channels):
            matrix[row, k] = activations[k, i, j]
    right = np.linalg.svd(matrix, full_matrices=False)[2]
    projection = matrix @ right[0]
    product = 0.0
    for row in range(h * w):
        product += projection[row] * sum(matrix[row])
    cam = np.zeros((h, w))
    for row, (i, j) in enumerate(every_position(h, w)):
        cam[i, j] = -projection[row] if product < 0 else projection[row]
    return cam


METHODS: dict[str, Callable[[Array, Array], Array]] = {
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "xgradcam": xgrad_cam,
    "hirescam": hires_cam,
    "gradcam-elementwise": grad_cam_elementwise,
    "layercam": layer_cam,
    "eigencam": eigen_cam,
}

NO_METHOD_TWIN: dict[str, str] = {
    "random": "noise has no equation; its range, its repetition and its independence of the model are tested instead",
}


def cams(name: str, activations: Array, gradients: Array) -> Array:
    """The method ``name`` for every image: (n, h, w)."""
    activations, gradients = np.asarray(activations, dtype=np.float64), np.asarray(gradients, dtype=np.float64)
    maps = []
    for image in range(len(activations)):
        maps.append(METHODS[name](activations[image], gradients[image]))
    return np.stack(maps)


# --- Statistics: all that is known of one image's map -----------------------------------------------------------------------------


Index = tuple[int, ...]  # of a pixel: row and column; of a signal the sample; of a volume depth, row and column


def every_index(shape: Index) -> Iterator[Index]:
    """Every pixel, the last side running fastest."""
    if not shape:
        yield ()
        return
    for first in range(shape[0]):
        for rest in every_index(shape[1:]):
            yield (first, *rest)


def sum_of(values: Array) -> float:
    total = 0.0
    for pixel in every_index(values.shape):
        total += float(values[pixel])
    return total


class Maps(NamedTuple):
    """Saliency (H, W) in [0, 1], raw map (h, w), mask (H, W), raw maps of the last and of the first look (h, w).

    Of signals likewise (T) and (t), of volumes (D, H, W) and (d, h, w).
    """

    saliency: Array
    cam: Array
    mask: Array
    last: Array
    first: Array


def share(saliency: Array, belongs: Callable[[Index], bool]) -> float:
    """Sum of the saliency over the pixels that belong, divided by the sum over all; NaN for a blank map."""
    part, total = 0.0, 0.0
    for pixel in every_index(saliency.shape):
        total += float(saliency[pixel])
        if belongs(pixel):
            part += float(saliency[pixel])
    return part / total if total > 0 else nan


def thickness(side: int, width: float) -> int:
    """That fraction of a side in whole pixels, at least one."""
    return max(1, round(width * side))


def near_an_end(position: int, side: int, width: float) -> bool:
    distance = min(position, side - 1 - position)
    return distance < thickness(side, width)


def border_mass(saliency: Array, width: float = 0.1) -> float:
    def near_any_end(pixel: Index) -> bool:
        return any(near_an_end(position, side, width) for position, side in zip(pixel, saliency.shape, strict=True))

    return share(saliency, near_any_end)


def corner_mass(saliency: Array, width: float = 0.25) -> float:
    def near_an_end_of_all(pixel: Index) -> bool:
        return all(near_an_end(position, side, width) for position, side in zip(pixel, saliency.shape, strict=True))

    return share(saliency, near_an_end_of_all)


def entropy(saliency: Array) -> float:
    """``- sum p log p / log N`` with ``0 log 0 = 0``."""
    total = sum_of(saliency)
    if total == 0:
        return nan
    result = 0.0
    for pixel in every_index(saliency.shape):
        p = float(saliency[pixel]) / total
        if p > 0:
            result -= p * log(p)
    return result / log(saliency.size)


def gini(saliency: Array) -> float:
    """Half the mean absolute difference of two pixels, divided by the mean: ``sum_ab abs(s_a - s_b) / (2 N^2 mean)``."""
    total = sum_of(saliency)
    if total == 0:
        return nan
    differences = 0.0
    for pixel in every_index(saliency.shape):
        for other in every_index(saliency.shape):
            differences += abs(float(saliency[pixel]) - float(saliency[other]))
    mean = total / saliency.size
    return differences / (2 * saliency.size**2 * mean)


def center(saliency: Array, side: int) -> float:
    """Mean position along one side, of pixels weighted by their saliency, as a fraction of the side."""
    total, moment = 0.0, 0.0
    for pixel in every_index(saliency.shape):
        total += float(saliency[pixel])
        moment += float(saliency[pixel]) * (pixel[side] + 0.5) / saliency.shape[side]
    return moment / total if total > 0 else nan


def center_x(saliency: Array) -> float:
    return center(saliency, -1)


def center_y(saliency: Array) -> float:
    return center(saliency, -2) if saliency.ndim > 1 else nan


def effective_area(saliency: Array) -> float:
    """``(sum s)^2 / (N sum s^2)``."""
    total, squares = 0.0, 0.0
    for pixel in every_index(saliency.shape):
        total += float(saliency[pixel])
        squares += float(saliency[pixel]) ** 2
    return total**2 / (saliency.size * squares) if total > 0 else nan


def mass_inside(saliency: Array, mask: Array) -> float:
    if not any(mask[pixel] for pixel in every_index(mask.shape)):
        return nan
    return share(saliency, lambda pixel: bool(mask[pixel]))


def pointing_game(saliency: Array, mask: Array) -> float:
    """1 where the first of the highest pixels, row by row, is in the mask."""
    if not any(mask[pixel] for pixel in every_index(mask.shape)):
        return nan
    highest, hit = 0.0, nan
    for pixel in every_index(saliency.shape):
        if saliency[pixel] > highest:
            highest, hit = float(saliency[pixel]), float(mask[pixel])
    return hit


def raw_peak(cam: Array) -> float:
    highest = float("-inf")
    for position in every_index(cam.shape):
        highest = max(highest, float(cam[position]))
    return highest


def jensen_shannon(cam: Array, other: Array) -> float:
    """Lin 1991, eq. 4.1, in bits: ``(KL(p, m) + KL(q, m)) / 2`` with ``m = (p + q) / 2``, of the positive parts."""
    total, other_total = 0.0, 0.0
    for position in every_index(cam.shape):
        if not (isfinite(cam[position]) and isfinite(other[position])):
            return nan
        total += relu(cam[position])
        other_total += relu(other[position])
    if total == 0 or other_total == 0:
        return nan
    divergence = 0.0
    for position in every_index(cam.shape):
        p, q = relu(cam[position]) / total, relu(other[position]) / other_total
        middle = (p + q) / 2
        if p > 0:
            divergence += p * log2(p / middle) / 2
        if q > 0:
            divergence += q * log2(q / middle) / 2
    return divergence


STATISTICS: dict[str, Callable[[Maps], float]] = {
    "border_mass": lambda maps: border_mass(maps.saliency),
    "corner_mass": lambda maps: corner_mass(maps.saliency),
    "entropy": lambda maps: entropy(maps.saliency),
    "gini": lambda maps: gini(maps.saliency),
    "center_x": lambda maps: center_x(maps.saliency),
    "center_y": lambda maps: center_y(maps.saliency),
    "effective_area": lambda maps: effective_area(maps.saliency),
    "mass_inside": lambda maps: mass_inside(maps.saliency, maps.mask),
    "pointing_game": lambda maps: pointing_game(maps.saliency, maps.mask),
    "raw_peak": lambda maps: raw_peak(maps.cam),
    "drift_last": lambda maps: jensen_shannon(maps.cam, maps.last),
    "drift_first": lambda maps: jensen_shannon(maps.cam, maps.first),
}


def statistic(name: str, maps: list[Maps]) -> Array:
    """The statistic ``name`` for every image: (n,)."""
    return np.array([STATISTICS[name](one) for one in maps])
