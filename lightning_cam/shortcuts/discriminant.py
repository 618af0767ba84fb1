"""A closed-form classifier: which class features belong to, each image answered without itself. Tensors in,
tensors out.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lightning_cam.shortcuts.features import Features
from lightning_cam.typing import Labels

LEAST_SHRINKAGE = 0.01
CONSTANT = 1e-6  # of the largest value: a feature with a smaller spread says nothing


@dataclass(frozen=True, eq=False)
class Discriminant:
    """Linear discriminant analysis with a shrunk covariance, fitted.

    Args:
        centre: (d,) what is taken off each feature.
        scale: (d,) what it is divided by; infinite where it is constant.
        rotation: (d, r) onto the features that are not constant; onto n directions where these are more than
            the n images.
        whitening: (r, r) the lower Cholesky factor of the covariance, scaled by n.
        means: (C, r) of the classes, whitened.
        counts: (C,) images of each class.
    """

    centre: Tensor
    scale: Tensor
    rotation: Tensor
    whitening: Tensor
    means: Tensor
    counts: Tensor

    def scores(self, features: Features) -> Float[Tensor, "n C"]:
        """Log likelihood plus log prior, up to a constant of each image."""
        whitened = _whiten((features.double() - self.centre) / self.scale @ self.rotation, self.whitening)
        n, classes = int(self.counts.sum()), int((self.counts > 0).sum())
        distances = torch.cdist(whitened, self.means, compute_mode="donot_use_mm_for_euclid_dist").square()
        prior = (self.counts / n).log()
        return torch.where(self.counts > 0, prior - distances * (n - classes) / 2, -torch.inf)


def fit(features: Features, labels: Labels, classes: int) -> tuple[Discriminant, Float[Tensor, "n C"]]:
    """The classifier, and each image's scores by a classifier that has not seen it.

    Class means and one covariance, shrunk to a multiple of the identity by Ledoit and Wolf's share; without
    an image, its class' mean and the scatter follow from a rank-one update (Sherman and Morrison). The share,
    and each feature's unit, are kept. A class of which no other image is left has the score ``-inf``.

    Source: Ledoit and Wolf, A well-conditioned estimator for large-dimensional covariance matrices, Journal
        of Multivariate Analysis 2004, lemma 3.2 and 3.3, of the residuals within classes.
    """
    exact, labels = features.double().cpu(), labels.cpu()
    centre = exact.mean(dim=0)
    spread = exact.std(dim=0)
    says_nothing = spread <= CONSTANT * exact.abs().amax(dim=0)
    scale = torch.where(says_nothing, torch.inf, spread)
    unit = (exact - centre) / scale
    # Constant features would take their part of the variance that is spread over all.
    says = ~says_nothing if not bool(says_nothing.all()) else torch.ones_like(says_nothing)
    rotation = torch.eye(len(scale), dtype=unit.dtype)[:, says]
    unit = unit[:, says]
    n, dims = unit.shape
    if dims > n:
        directions = torch.linalg.svd(unit, full_matrices=False).Vh.T
        rotation, unit = rotation @ directions, unit @ directions
    member = F.one_hot(labels, classes).double()
    counts = member.sum(dim=0)
    present = int((counts > 0).sum())
    means = member.T @ unit / counts.clamp(min=1)[:, None]
    residuals = unit - means[labels]
    scatter = residuals.T @ residuals
    size = unit.shape[1]
    level = (scatter.trace() / n / size).clamp(min=1e-12)
    share = _shrinkage(residuals, scatter / n, level)
    shrunk = (1 - share) * scatter + share * level * n * torch.eye(size, dtype=unit.dtype)
    whitening = torch.linalg.cholesky(shrunk)
    whitened, whitened_means = _whiten(unit, whitening), _whiten(means, whitening)

    own_count = counts[labels]
    rest = whitened - whitened_means[labels]
    length = rest.square().sum(dim=1)
    grown = own_count / (own_count - 1).clamp(min=1)
    kept = (1 - share) * grown
    gain = kept / (1 - kept * length).clamp(min=1e-6)
    exactly = "donot_use_mm_for_euclid_dist"
    distances = torch.cdist(whitened, whitened_means, compute_mode=exactly).square()
    cross = (whitened * rest).sum(dim=1, keepdim=True) - rest @ whitened_means.T
    distances = distances + gain[:, None] * cross.square()
    own_distance = grown.square() * (length + gain * length.square())
    distances = torch.where(member > 0, own_distance[:, None], distances)
    left = counts - member
    prior = (left / max(n - 1, 1)).log()
    scores = torch.where(left > 0, prior - distances * max(n - present, 1) / 2, -torch.inf)
    return Discriminant(centre, scale, rotation, whitening, whitened_means, counts), scores


def _whiten(values: Tensor, whitening: Tensor) -> Tensor:
    return torch.linalg.solve_triangular(whitening, values.T, upper=False).T


def _shrinkage(residuals: Tensor, covariance: Tensor, level: Tensor) -> float:
    n, dims = residuals.shape
    square = covariance.square().sum()
    distance = square - dims * level**2
    noise = residuals.square().sum(dim=1).square().sum() / n**2 - square / n
    return float((noise / distance.clamp(min=1e-300)).clamp(LEAST_SHRINKAGE, 1))
