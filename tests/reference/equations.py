"""Every equation of the package a second time: float64, plain loops over images, channels and pixels, no cleverness.

Nothing here calls the package; of torch it takes random numbers alone. Each function below takes one image, but for methods that
look at all of them together; ``cams`` and ``statistic`` go through the images one by one. A row without a twin here fails its test;
``NO_METHOD_TWIN`` says which methods have no equation to write again, and why.
"""

from collections.abc import Callable, Iterator
from math import ceil, exp, floor, isfinite, log, log2, nan, sqrt, tanh
from typing import NamedTuple

import numpy as np
import torch

Array = np.ndarray


def every_position(height: int, width: int) -> Iterator[tuple[int, int]]:
    for i in range(height):
        for j in range(width):
            yield i, j


# --- Maps: one map (h, w)


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


# --- Methods: the facts of one image


class Facts(NamedTuple):
    """What a look may know of one image, in float64.

    Args:
        image: (c, H, W).
        activations: (k, h, w) at the target layer.
        gradients: (k, h, w) of the target score.
        score: The target score of another image, by the whole network.
        tail: The target score for other activations, by what follows the target layer.
        gradients_at: The gradients (k, h, w) at the target layer for another image.
        curvature: Second derivatives of the tail at the activations, (k*h*w, k*h*w).
    """

    image: Array
    activations: Array
    gradients: Array
    score: Callable[[Array], float]
    tail: Callable[[Array], float]
    gradients_at: Callable[[Array], Array]
    curvature: Callable[[], Array]


def own_generator() -> torch.Generator:
    """Methods that draw numbers draw the same ones at every look."""
    return torch.Generator().manual_seed(0)


def relu(value: float) -> float:
    return max(float(value), 0.0)


def channel_sum(values: Array) -> float:
    """Sum of one channel (h, w) over its positions."""
    total = 0.0
    for i, j in every_position(*values.shape):
        total += float(values[i, j])
    return total


def combination(weights: list[float], activations: Array) -> Array:
    """``sum_k w_k A_k``."""
    channels, h, w = activations.shape
    cam = np.zeros((h, w))
    for i, j in every_position(h, w):
        for k in range(channels):
            cam[i, j] += weights[k] * float(activations[k, i, j])
    return cam


def rectified_combination(weights: list[float], activations: Array) -> Array:
    """``relu(sum_k w_k A_k)``."""
    cam = combination(weights, activations)
    for i, j in every_position(*cam.shape):
        cam[i, j] = relu(cam[i, j])
    return cam


def class_activation_map(facts: Facts) -> Array:
    """Zhou et al. 2016, eq. 2: ``sum_k w_k A_k``, signed, with the head's weights.

    After global average pooling and a linear head ``g = w_k / Z`` at every position; that of the first one tells.
    """
    channels, h, w = facts.activations.shape
    weights = []
    for k in range(channels):
        weights.append(h * w * float(facts.gradients[k, 0, 0]))
    return combination(weights, facts.activations)


def grad_cam(facts: Facts) -> Array:
    """Selvaraju et al. 2017, eq. 1 and 2: ``w_k = 1/Z sum_ij g``, ``relu(sum_k w_k A_k)``."""
    channels, h, w = facts.activations.shape
    weights = []
    for k in range(channels):
        weights.append(channel_sum(facts.gradients[k]) / (h * w))
    return rectified_combination(weights, facts.activations)


def grad_cam_plus_plus(facts: Facts) -> Array:
    """Chattopadhay et al. 2018, eq. 19 with ``Y = exp(score)``, whose positive factor ``exp(score)`` is left out of ``w``.

    ``alpha = g^2 / (2 g^2 + S g^3)``, ``w_k = sum_ij alpha relu(g)``. Where ``g = 0`` nothing is added; nor where
    ``2 + g S <= 0``, for a negative share has no meaning.
    """
    channels, h, w = facts.activations.shape
    weights = []
    for k in range(channels):
        channel_total = channel_sum(facts.activations[k])
        weight = 0.0
        for i, j in every_position(h, w):
            g = float(facts.gradients[k, i, j])
            if g != 0 and 2 + g * channel_total > 0:
                alpha = g**2 / (2 * g**2 + channel_total * g**3)
                weight += alpha * relu(g)
        weights.append(weight)
    return rectified_combination(weights, facts.activations)


def xgrad_cam(facts: Facts) -> Array:
    """Fu et al. 2020, eq. 8: ``w_k = sum_ij (A_k(i,j) / S_k) g``; a channel with ``S_k = 0`` gets 0. Rectified."""
    channels, h, w = facts.activations.shape
    weights = []
    for k in range(channels):
        channel_total = channel_sum(facts.activations[k])
        weight = 0.0
        if channel_total != 0:
            for i, j in every_position(h, w):
                weight += float(facts.activations[k, i, j]) / channel_total * float(facts.gradients[k, i, j])
        weights.append(weight)
    return rectified_combination(weights, facts.activations)


def gradients_times_activations(facts: Facts) -> Array:
    """(k, h, w)."""
    products = np.zeros(facts.activations.shape)
    for k in range(len(products)):
        for i, j in every_position(*products[k].shape):
            products[k, i, j] = float(facts.gradients[k, i, j]) * float(facts.activations[k, i, j])
    return products


def hires_cam(facts: Facts) -> Array:
    """Draelos and Carin 2020, eq. 4: ``sum_k g A_k``, signed."""
    products = gradients_times_activations(facts)
    return combination([1.0] * len(products), products)


def grad_cam_elementwise(facts: Facts) -> Array:
    """Pillai and Pirsiavash 2021: ``sum_k relu(g A_k)``."""
    products = gradients_times_activations(facts)
    cam = np.zeros(products[0].shape)
    for i, j in every_position(*cam.shape):
        for k in range(len(products)):
            cam[i, j] += relu(products[k, i, j])
    return cam


def layer_cam(facts: Facts) -> Array:
    """Jiang et al. 2021, eq. 6 and 7: ``relu(sum_k relu(g) A_k)``."""
    channels, h, w = facts.activations.shape
    cam = np.zeros((h, w))
    for i, j in every_position(h, w):
        total = 0.0
        for k in range(channels):
            total += relu(facts.gradients[k, i, j]) * float(facts.activations[k, i, j])
        cam[i, j] = relu(total)
    return cam


def by_position(values: Array) -> Array:
    """Positions as rows: (h*w, k)."""
    channels, h, w = values.shape
    rows = np.zeros((h * w, channels))
    for row, (i, j) in enumerate(every_position(h, w)):
        for k in range(channels):
            rows[row, k] = values[k, i, j]
    return rows


def along_the_sum(projection: Array, values: Array) -> Array:
    """A projection (h*w,) as a map, with the sign that makes its product with ``sum_k values_k`` positive.

    Where that product is but rounding, the largest absolute value becomes positive.
    """
    rows = by_position(values)
    product, possible, largest = 0.0, 0.0, 0.0
    for row in range(len(rows)):
        product += projection[row] * sum(rows[row])
        possible += abs(projection[row]) * sum(abs(value) for value in rows[row])
        if abs(projection[row]) > abs(largest):
            largest = projection[row]
    if abs(product) <= 1e-5 * possible:
        product = largest
    cam = np.zeros(values[0].shape)
    for row, (i, j) in enumerate(every_position(*cam.shape)):
        cam[i, j] = -projection[row] if product < 0 else projection[row]
    return cam


def somewhere_positive(cam: Array) -> Array:
    """A map that is nowhere positive, turned."""
    return -cam if raw_peak(cam) <= 0 else cam


def first_projection(values: Array) -> Array:
    """``A v_1`` of the singular value decomposition of A (h*w, k), which is not centered; its sign that of ``sum_k A_k``."""
    rows = by_position(values)
    right = np.linalg.svd(rows, full_matrices=False)[2]
    return along_the_sum(rows @ right[0], values)


def eigen_cam(facts: Facts) -> Array:
    """Muhammad and Yeasin 2020, eq. 3 and 4; turned where no position were positive."""
    return somewhere_positive(first_projection(facts.activations))


def eigen_grad_cam(facts: Facts) -> Array:
    """The same of ``g A``, which may be negative throughout."""
    return first_projection(gradients_times_activations(facts))


def kpca_cam(facts: Facts, kernel: str = "sigmoid") -> Array:
    """First kernel principal component of the positions, centered in feature space: Schölkopf et al. 1998, eq. 20 and 24."""
    rows = by_position(facts.activations)
    positions, channels = rows.shape
    gram = np.zeros((positions, positions))
    for a, b in every_position(positions, positions):
        product, distance = 0.0, 0.0
        for k in range(channels):
            product += rows[a, k] * rows[b, k]
            distance += (rows[a, k] - rows[b, k]) ** 2
        gram[a, b] = tanh(product / channels + 1) if kernel == "sigmoid" else exp(-distance / channels)
    means = [sum(gram[a]) / positions for a in range(positions)]
    mean = sum(means) / positions
    centered = np.zeros((positions, positions))
    for a, b in every_position(positions, positions):
        centered[a, b] = gram[a, b] - means[a] - means[b] + mean
    # The component of a sample is its row of the centered kernel times the eigenvector, divided by the root of the eigenvalue.
    values, vectors = np.linalg.eigh(centered)
    projection = centered @ vectors[:, -1] / sqrt(values[-1])
    return somewhere_positive(along_the_sum(projection, facts.activations))


def fem(facts: Facts, deviations: float = 2.0) -> Array:
    """Ahmed Asif Fuad et al. 2020, eq. 1 to 3: a channel counts with its mean where it exceeds mean + 2 standard deviations."""
    channels, h, w = facts.activations.shape
    cam = np.zeros((h, w))
    for k in range(channels):
        mean = channel_sum(facts.activations[k]) / (h * w)
        variance = 0.0
        for i, j in every_position(h, w):
            variance += (float(facts.activations[k, i, j]) - mean) ** 2 / (h * w)
        for i, j in every_position(h, w):
            if float(facts.activations[k, i, j]) > mean + deviations * sqrt(variance):
                cam[i, j] += mean
    return cam


def ablation_cam(facts: Facts) -> Array:
    """Desai and Ramaswamy 2020, eq. 3 and 4, divided by ``abs(y)``: ``w_k = (y - y with A_k set to 0) / abs(y)``. Rectified."""
    y = facts.tail(facts.activations)
    weights = []
    for k in range(len(facts.activations)):
        ablated = facts.activations.copy()
        for i, j in every_position(*ablated[k].shape):
            ablated[k, i, j] = 0.0
        drop = y - facts.tail(ablated)
        weights.append(drop / abs(y) if y != 0 else drop)
    return rectified_combination(weights, facts.activations)


def energy(channel: Array) -> float:
    total = 0.0
    for i, j in every_position(*channel.shape):
        total += float(channel[i, j]) ** 2
    return total


def covered(image: Array, mask: Array) -> Array:
    """``X * M``, the same mask for every color."""
    result = np.zeros(image.shape)
    for c in range(len(image)):
        for i, j in every_position(*mask.shape):
            result[c, i, j] = float(image[c, i, j]) * float(mask[i, j])
    return result


def softmax(scores: dict[int, float]) -> dict[int, float]:
    highest = max(scores.values(), default=0.0)
    powers = {k: exp(score - highest) for k, score in scores.items()}
    return {k: power / sum(powers.values()) for k, power in powers.items()}


def weighted_by_scores(facts: Facts, variants: Callable[[Array], list[Array]], top_k: int | None) -> Array:
    """``relu(sum_k a_k A_k)``: a is the softmax over channels of the mean score behind the variants of ``H_k``.

    ``H_k`` is the channel upsampled, then scaled to [0, 1]. A channel that is flat takes no part.
    """
    activations = facts.activations
    size = facts.image.shape[1:]
    strongest = sorted(range(len(activations)), key=lambda k: energy(activations[k]), reverse=True)
    scores = {}
    for k in strongest[:top_k]:
        upsampled = upsample(activations[k], size)
        low, high = -raw_peak(-upsampled), raw_peak(upsampled)
        if high > low:
            mask = np.zeros(size)
            for i, j in every_position(*size):
                mask[i, j] = (upsampled[i, j] - low) / (high - low)
            answers = [facts.score(covered(facts.image, variant)) for variant in variants(mask)]
            scores[k] = sum(answers) / len(answers)
    shares = softmax(scores)
    return rectified_combination([shares.get(k, 0.0) for k in range(len(activations))], activations)


def score_cam(facts: Facts, top_k: int | None = None) -> Array:
    """Wang et al. 2020, eq. 2 to 6. The score of a baseline image is left out: the softmax cancels it."""
    return weighted_by_scores(facts, lambda mask: [mask], top_k)


def ss_cam(facts: Facts, samples: int = 35, sigma: float = 2.0, top_k: int | None = None) -> Array:
    """SS-CAM 2020: the scores are averaged over masks ``H_k + noise``, the same noises for every channel."""
    noises = torch.randn(samples, *facts.image.shape[1:], generator=own_generator()).double().numpy()
    return weighted_by_scores(facts, lambda mask: [mask + sigma * noise for noise in noises], top_k)


def is_cam(facts: Facts, steps: int = 10, top_k: int | None = None) -> Array:
    """IS-CAM 2020: the scores are averaged over masks ``i / N H_k``, i from 1 to N."""
    return weighted_by_scores(facts, lambda mask: [mask * (i / steps) for i in range(1, steps + 1)], top_k)


def smooth_grad_cam_plus_plus(facts: Facts, samples: int = 10, noise: float = 0.15) -> Array:
    """Omeiza et al. 2019, eq. 6 to 8: Grad-CAM++ with the means of ``g``, ``g^2``, ``g^3`` over noisy images.

    The noise has a share of the image's range as its standard deviation; activations are the clean image's.
    """
    generator = own_generator()
    spread = noise * float(facts.image.max() - facts.image.min())
    noisy = []
    for _ in range(samples):
        drawn = torch.randn(facts.image.shape, generator=generator).double().numpy()
        noisy.append(facts.gradients_at(facts.image + spread * drawn))
    channels, h, w = facts.activations.shape
    weights = []
    for k in range(channels):
        channel_total = channel_sum(facts.activations[k])
        weight = 0.0
        for i, j in every_position(h, w):
            first = sum(float(gradients[k, i, j]) for gradients in noisy) / samples
            second = sum(float(gradients[k, i, j]) ** 2 for gradients in noisy) / samples
            third = sum(float(gradients[k, i, j]) ** 3 for gradients in noisy) / samples
            if 2 * second + channel_total * third > 0:
                weight += second / (2 * second + channel_total * third) * relu(first)
        weights.append(weight)
    return rectified_combination(weights, facts.activations)


def shapley_cam(facts: Facts) -> Array:
    """Cai 2025, eq. 17: ``w_k = 1/Z sum_ij (g - 1/2 (H A))``, H the second derivatives of the score. Rectified."""
    channels, h, w = facts.activations.shape
    curvature = facts.curvature()
    flat = [float(value) for value in facts.activations.flatten()]
    weights = []
    for k in range(channels):
        weight = 0.0
        for i, j in every_position(h, w):
            along = 0.0
            for second_derivative, value in zip(curvature[(k * h + i) * w + j].tolist(), flat, strict=True):
                along += second_derivative * value
            weight += (float(facts.gradients[k, i, j]) - along / 2) / (h * w)
        weights.append(weight)
    return rectified_combination(weights, facts.activations)


def rise(facts: Facts, masks: int = 1000, cells: int = 7, keep: float = 0.5) -> Array:
    """Petsiuk et al. 2018, eq. 6: ``1 / (N p) sum_i y(X M_i) M_i``, (H, W).

    A mask is a grid of cells that are visible with probability p, upsampled to the image and one cell more a side, cut out at a
    random shift of less than a cell.
    """
    height, width = facts.image.shape[1:]
    cell_height, cell_width = ceil(height / cells), ceil(width / cells)
    generator = own_generator()
    grids = torch.rand(masks, cells, cells, generator=generator).numpy()
    downs = torch.randint(0, cell_height, (masks,), generator=generator).tolist()
    rights = torch.randint(0, cell_width, (masks,), generator=generator).tolist()
    cam = np.zeros((height, width))
    for grid, down, right in zip(grids, downs, rights, strict=True):
        visible = np.zeros((cells, cells))
        for i, j in every_position(cells, cells):
            visible[i, j] = 1.0 if grid[i, j] < keep else 0.0
        large = upsample(visible, ((cells + 1) * cell_height, (cells + 1) * cell_width))
        mask = np.zeros((height, width))
        for i, j in every_position(height, width):
            mask[i, j] = large[i + down, j + right]
        y = facts.score(covered(facts.image, mask))
        for i, j in every_position(height, width):
            cam[i, j] += y * mask[i, j] / (masks * keep)
    return cam


METHODS: dict[str, Callable[..., Array]] = {
    "cam": class_activation_map,
    "gradcam": grad_cam,
    "gradcam++": grad_cam_plus_plus,
    "xgradcam": xgrad_cam,
    "hirescam": hires_cam,
    "gradcam-elementwise": grad_cam_elementwise,
    "layercam": layer_cam,
    "eigencam": eigen_cam,
    "eigengradcam": eigen_grad_cam,
    "kpcacam": kpca_cam,
    "fem": fem,
    "ablationcam": ablation_cam,
    "scorecam": score_cam,
    "sscam": ss_cam,
    "iscam": is_cam,
    "smoothgradcam++": smooth_grad_cam_plus_plus,
    "shapleycam": shapley_cam,
    "rise": rise,
}


def matrix_product(left: list[list[float]], right: list[list[float]]) -> list[list[float]]:
    """Of two matrices, as lists of rows."""
    columns = transposed(right)
    result = []
    for row in left:
        result.append([sum(a * b for a, b in zip(row, column, strict=True)) for column in columns])
    return result


def transposed(matrix: list[list[float]]) -> list[list[float]]:
    return [list(column) for column in zip(*matrix, strict=True)]


def improved(
    factor: list[list[float]], above: list[list[float]], below: list[list[float]]
) -> list[list[float]]:
    """``factor * above / below``, entry by entry, 0 where nothing is below."""
    result = []
    for values, uppers, lowers in zip(factor, above, below, strict=True):
        result.append(
            [value * a / b if b != 0 else 0.0 for value, a, b in zip(values, uppers, lowers, strict=True)]
        )
    return result


def deep_feature_factorization(images: list[Facts], parts: int = 5, iterations: int = 200) -> list[Array]:
    """Collins et al. 2018: ``relu(A) = W H`` over the positions of all images; each image's map of the largest part.

    Updates: Lee and Seung 2000, eq. 4. The start are absolute normal numbers, W's before H's of each part, times the root of
    ``mean / parts``. A part is as large as its column of W, where its row of H has length 1.
    """
    rows = []
    for facts in images:
        for row in by_position(facts.activations):
            rows.append([relu(value) for value in row])
    positions, channels = len(rows), len(rows[0])
    mean = sum(sum(row) for row in rows) / (positions * channels)
    start = torch.randn(parts, positions + channels, generator=own_generator()).double().numpy()
    start_of = [[abs(float(number)) * sqrt(mean / parts) for number in part] for part in start]
    w = transposed([part[:positions] for part in start_of])
    h = [part[positions:] for part in start_of]
    for _ in range(iterations):
        w = improved(
            w, matrix_product(rows, transposed(h)), matrix_product(w, matrix_product(h, transposed(h)))
        )
        h = improved(
            h, matrix_product(transposed(w), rows), matrix_product(matrix_product(transposed(w), w), h)
        )
    columns = []
    for column, row in zip(transposed(w), h, strict=True):
        length = sqrt(sum(value**2 for value in row))
        columns.append([value * length for value in column])
    largest = max(columns, key=lambda column: sum(value**2 for value in column))
    height, width = images[0].activations.shape[1:]
    maps = []
    for image in range(len(images)):
        cam = np.zeros((height, width))
        for row, (i, j) in enumerate(every_position(height, width)):
            cam[i, j] = largest[image * height * width + row]
        maps.append(cam)
    return maps


METHODS_OF_ALL_IMAGES: dict[str, Callable[..., list[Array]]] = {"dff": deep_feature_factorization}

NO_METHOD_TWIN: dict[str, str] = {
    "random": "noise has no equation; its range, its repetition and its independence of the model are tested instead",
}


def cams(name: str, images: list[Facts], **options: float | str) -> Array:
    """The method ``name`` for every image: (n, h, w)."""
    if name in METHODS_OF_ALL_IMAGES:
        return np.stack(METHODS_OF_ALL_IMAGES[name](images, **options))
    return np.stack([METHODS[name](facts, **options) for facts in images])


# --- Statistics: all that is known of one image's map


Index = tuple[
    int, ...
]  # of a pixel: row and column; of a signal the sample; of a volume depth, row and column


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
        return any(
            near_an_end(position, side, width) for position, side in zip(pixel, saliency.shape, strict=True)
        )

    return share(saliency, near_any_end)


def corner_mass(saliency: Array, width: float = 0.25) -> float:
    def near_an_end_of_all(pixel: Index) -> bool:
        return all(
            near_an_end(position, side, width) for position, side in zip(pixel, saliency.shape, strict=True)
        )

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
