"""Copies of images in which pixels are covered, the most salient first; what covers them; and the scores of
such copies.
"""

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from lightning_cam.attribution.methods.perturbation import MOST_VALUES
from lightning_cam.typing import Images, Index, PerImage, PerRow, Rows, Saliency

BLUR_WIDTH, BLUR_SIGMA = 11, 5.0  # pixels
NOISE = 0.01  # standard deviation, in the unit of the images
CACHED = 2**18  # values that a processor's cache holds several times
SMALL = 1e-5  # what may be left of a linear system, as a share of its right side
Removed = Bool[Tensor, "n 1 H W"]
Curve = Float[Tensor, "n steps"]
Score = Callable[[Rows, Index], PerRow]
Cover = Callable[
    [slice, Tensor], Tensor
]  # (which images, (n, s, *size) which pixels are marked) -> copies (n, s, c, *size)


def along(score: Score, images: Images, saliency: Saliency, counts: Sequence[int], cover: Cover) -> Curve:
    """Scores of copies in which so many of the most salient pixels are covered, in the score's unit.

    Equal pixels go in reading order. How many copies are held at once does not depend on the number of
    images.
    """
    copies_at_once = max(1, MOST_VALUES // images[0].numel())
    images_at_once = max(1, copies_at_once // len(counts))
    marks = (
        torch.tensor(counts, device=images.device)
        .reshape(-1, *[1] * (saliency.ndim - 1))
        .split(copies_at_once)
    )
    everyone = torch.arange(len(images), device=images.device)
    curves = []
    for first in range(0, len(images), images_at_once):
        some = slice(first, first + images_at_once)
        order = saliency[some].flatten(1).argsort(dim=1, descending=True, stable=True)
        places = order.argsort(dim=1).reshape(saliency[some].shape)
        parts = [_scores(score, cover(some, places[:, None] < part), everyone[some]) for part in marks]
        curves.append(torch.cat(parts, dim=1))
    return torch.cat(curves)


def area(score: Score, images: Images, saliency: Saliency, steps: int, cover: Cover) -> PerImage:
    """Area under the scores over the share of pixels that are covered, in the score's unit, by the
    trapezoidal rule.
    """
    pixels = saliency[0].numel()
    steps = min(steps, pixels)
    counts = [round(pixels * step / steps) for step in range(steps + 1)]
    curves = along(score, images, saliency, counts, cover)
    shares = torch.tensor(counts, dtype=curves.dtype, device=curves.device) / pixels
    return torch.trapezoid(curves, shares, dim=1)


def blurred(images: Images) -> Images:
    """Images behind a Gaussian of 5 pixels on 11 x 11, in the unit of the images; beyond the edge lies 0.

    Source: Petsiuk et al., RISE, BMVC 2018, the authors' code, which folds the Gaussian's tails back in.
    https://github.com/eclique/RISE/blob/master/evaluation.py
    """
    values = images.to(torch.promote_types(images.dtype, torch.float32))
    for dim in range(2, images.ndim):
        beyond = values.new_zeros(
            [BLUR_WIDTH // 2 if d == dim else side for d, side in enumerate(images.shape)]
        )
        padded = torch.cat([beyond, values, beyond], dim)
        shifted = [weight * padded.narrow(dim, i, images.shape[dim]) for i, weight in enumerate(_gaussian())]
        values = torch.stack(shifted).sum(dim=0)
    return values.to(images.dtype)


def imputed(images: Images, removed: Removed) -> Images:
    """Images whose removed pixels are the means of their eight neighbours, and noise, in the unit of the
    images.

    Direct neighbours weigh 1/6, diagonal ones 1/12, those beyond the edge nothing; all removed pixels are
    found together. The noise has a standard deviation of 0.01, comes from a generator of its own, and is the
    same for every image.

    Source: Rong et al., A Consistent and Efficient Evaluation Strategy for Attribution Methods, ICML 2022.
    https://arxiv.org/abs/2202.00449
    """
    precise = images.to(torch.promote_types(images.dtype, torch.float32))
    noise = NOISE * torch.randn(images.shape[1:], generator=torch.Generator().manual_seed(0)).to(precise)
    # A processor solves few at once: they stay in its cache, and stop when they are done.
    at_once = max(1, CACHED // images[0].numel()) if images.device.type == "cpu" else len(images)
    parts = zip(precise.split(at_once), removed.split(at_once), strict=True)
    means = torch.cat([_means_of_neighbors(some, holes) for some, holes in parts])
    return torch.where(removed, means + noise, precise).to(images.dtype)


def _scores(score: Score, copies: Tensor, index: Index) -> Curve:
    scores = score(copies.flatten(0, 1), index.repeat_interleave(copies.shape[1]))
    return scores.reshape(copies.shape[:2])


def _means_of_neighbors(images: Images, removed: Removed) -> Images:
    """Conjugate gradients: a row of the system times the weights inside the image makes it symmetric and
    positive definite.
    """
    weights = _neighbors(torch.ones_like(images[:1, :1]))
    right = torch.where(removed, _neighbors(torch.where(removed, 0.0, images)), 0.0)
    solution, residual, direction = torch.zeros_like(right), right, right
    left = first = right.square().sum(dim=(1, 2, 3), keepdim=True)
    for iteration in range(removed[0].numel()):
        # The device is waited for now and then only.
        if iteration % 10 == 0 and bool((left <= SMALL**2 * first).all()):
            break
        product = torch.where(removed, weights * direction - _neighbors(direction), 0.0)
        step = _ratio(left, (direction * product).sum(dim=(1, 2, 3), keepdim=True))
        solution, residual = solution + step * direction, residual - step * product
        before, left = left, residual.square().sum(dim=(1, 2, 3), keepdim=True)
        direction = residual + _ratio(left, before) * direction
    return solution


def _ratio(above: Tensor, below: Tensor) -> Tensor:
    return torch.where(below > 0, above / torch.where(below > 0, below, 1.0), 0.0)


def _neighbors(images: Images) -> Images:
    """Sum over each pixel's neighbours inside the image, 1/6 of the direct and 1/12 of the diagonal ones."""
    # No convolution: on a GPU its products may be rounded to ten bits.
    padded = F.pad(images, (1, 1, 1, 1))
    across = padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]
    return (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :] - 4 * images) / 12


def _gaussian() -> list[float]:
    """What scipy's gaussian_filter makes of one bright cell in the middle: cut at four deviations, mirrored
    at the edges.
    """
    reach, middle = int(4 * BLUR_SIGMA), BLUR_WIDTH // 2
    distances = torch.arange(-reach, reach + 1)
    places = (middle + distances) % (2 * BLUR_WIDTH)
    places = torch.minimum(places, 2 * BLUR_WIDTH - 1 - places)
    values = torch.exp(-((distances.double() / BLUR_SIGMA) ** 2) / 2)
    kernel = torch.zeros(BLUR_WIDTH, dtype=torch.float64).index_add(0, places, values)
    return (kernel / kernel.sum()).tolist()
