"""How well the label can be told from a part of the image alone, no model asked. Tensors in, tensors out."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_cam.shortcuts.features import FEATURES, GRID, in_cell
from lightning_cam.typing import Images, Labels

SHARE = 8  # the ring is an eighth of each side thick
SMALLEST = 8  # pixels of a side
MOST_OF_THE_BORDER = 64  # numbers
ROUNDING = 1e-6  # of the largest value: below it, a spread is rounding
LEAST = 1e-100  # so that nothing is divided by zero
Features = Float[Tensor, "n d"]


def label_skill(features: Features, labels: Labels) -> float:
    """How well features tell the label, no model asked, in [-1, 1]: 1 without an error, about 0 as well as
    chance.

    Each image goes to the nearest class mean, made without it, in units of the spread within classes. The
    share of right answers is averaged over classes, so that a frequent one is no skill. A mean of few images
    lies further from every image, by the spread over how many there are: that is taken off. NaN where fewer
    than two classes have two images.
    """
    several = (labels[:, None] == labels).sum(dim=1) > 1
    features, labels = features[several].cpu().double(), labels[several].cpu()
    classes, own, counts = labels.unique(return_inverse=True, return_counts=True)
    if len(classes) < 2:
        return float("nan")
    sums = features.new_zeros(len(classes), features.shape[1]).index_add(0, own, features)
    means = sums / counts[:, None]
    variances = (features - means[own]).square().sum(dim=0) / (len(features) - len(classes))
    units = torch.maximum(variances.sqrt(), ROUNDING * features.abs().amax(dim=0)).clamp(min=LEAST)
    noise = (variances / units.square()).sum()
    exact = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(features / units, means / units, compute_mode=exact).square()
    without = (counts / (counts - 1)).square() * distances - noise / (
        counts - 1
    )  # the mean without the image lies further away
    is_own = own[:, None] == torch.arange(len(classes))
    right = torch.where(is_own, without, distances - noise / counts).argmin(dim=1) == own
    recalls = features.new_zeros(len(classes)).index_add(0, own, right.double()) / counts
    chance = 1 / len(classes)
    return ((recalls.mean() - chance) / (1 - chance)).item()


def kappa(first: Labels, second: Labels, classes: int) -> float:
    """Cohen's kappa, agreement beyond chance, in [-1, 1]; 1 where both give the same class always; NaN
    without images.

    Source: Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement
        1960.
    """
    if not len(first):
        return float("nan")
    first, second = first.cpu(), second.cpu()
    agreed = (first == second).double().mean().item()
    shares = [
        torch.bincount(answers, minlength=classes).double() / len(answers) for answers in (first, second)
    ]
    chance = (shares[0] * shares[1]).sum().item()
    return 1.0 if chance == 1 else (agreed - chance) / (1 - chance)


# What may tell the label


def border(images: Images) -> Features:
    """Averages of each channel along the four sides of the ring: at most 64 numbers, or four a channel."""
    down, across = (side // SHARE for side in images.shape[2:])
    sides = (
        (images[:, :, :down], 3),
        (images[:, :, -down:], 3),
        (images[:, :, down:-down, :across], 2),
        (images[:, :, down:-down, -across:], 2),
    )
    places = max(1, MOST_OF_THE_BORDER // 4 // images.shape[1])
    parts = [part for side, dim in sides for part in side.tensor_split(min(places, side.shape[dim]), dim)]
    return torch.cat([part.mean(dim=(2, 3)) for part in parts], dim=1)


def corners(images: Images) -> Features:
    """Mean and spread of each channel in the four corner cells of a 4 x 4 grid."""
    places = [in_cell(images, row, column) for row in (0, GRID - 1) for column in (0, GRID - 1)]
    return torch.cat([_moments(images[:, :, place]) for place in places], dim=1)


def colour(images: Images) -> Features:
    """Mean and spread of each channel."""
    return _moments(images.flatten(2))


OFFERS: dict[str, Callable[[Images], Features]] = {
    "border": border,
    "corners": corners,
    "colour": colour,
    "spectrum": FEATURES["spectrum"],
}


def _moments(values: Float[Tensor, "n c p"]) -> Features:
    return torch.cat([values.mean(dim=2), values.std(dim=2)], dim=1)
