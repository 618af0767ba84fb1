"""What each of several labels adds to the average image and to other averages: a linear fit."""

from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_cam.shortcuts.class_means import weighted
from lightning_cam.typing import Flags, Images, Index, Masks

LEAST_FREEDOM = 1e-6  # of an image's residual: below it, only this image tells two labels apart


@dataclass(frozen=True, eq=False)
class LabelEffects:
    """Features of images with several labels, as least squares explain them by their labels.

    With one label more, an image's feature is expected to change by that label's coefficient, the other
    labels being as they are: an average over all images with a label would hold what often comes with it.

    Args:
        labels: (n, K) zeros and ones; -1 where one is not known.
        features: By key of ``FEATURES``, (n, ...) one per image.
    """

    labels: Flags
    features: dict[str, Tensor]

    def of(self, feature: str, hosts: Index, donors: Index) -> tuple[Tensor, Tensor]:
        """(m, ...) what is expected of the hosts' labels, and of the donors', fitted without the host.

        Of a label that is not known of both, both are taken to be alike.

        Source: Cook, Detection of influential observation in linear regression, Technometrics 1977, eq. 5:
            the coefficients without one observation, by its residual and its leverage.
        """
        design, inverse = self._design, self._inverse
        coefficients, residuals = self._fits[feature]
        own = design[hosts.cpu()]
        leverage = ((own @ inverse) * own).sum(dim=1)
        freedom = 1 - leverage
        unlike = self._differences(hosts.cpu(), donors.cpu())
        moved = ((unlike @ inverse) * own).sum(dim=1)
        is_free = freedom > LEAST_FREEDOM
        shares = torch.stack([leverage, moved], dim=1) / torch.where(is_free, freedom, 1.0)[:, None]
        without = torch.where(is_free[:, None], shares, 0.0).to(coefficients)
        left = residuals[hosts]
        expected = own.to(coefficients) @ coefficients - without[:, :1] * left
        difference = unlike.to(coefficients) @ coefficients - without[:, 1:] * left
        shape = (len(hosts), *self.features[feature].shape[1:])
        return expected.reshape(shape), (expected + difference).reshape(shape)

    def effect(self, feature: str, place: int) -> Tensor:
        """(1, ...) the coefficient of the label in column ``place``."""
        coefficients, _ = self._fits[feature]
        return coefficients[place + 1].reshape(1, *self.features[feature].shape[1:])

    @cached_property
    def _design(self) -> Float[Tensor, "n K1"]:
        """A one, and the labels; what is not known is as the others are on average. In double precision."""
        labels = self.labels.cpu()
        known = labels >= 0
        shares = (labels * known).sum(dim=0).double() / known.sum(dim=0).clamp(min=1)
        filled = torch.where(known, labels.double(), shares)
        return torch.cat([torch.ones(len(labels), 1, dtype=torch.float64), filled], dim=1)

    @cached_property
    def _inverse(self) -> Float[Tensor, "K1 K1"]:
        """Of the normal equations; labels that always come together share what they add."""
        return torch.linalg.pinv(self._design.T @ self._design, hermitian=True)

    @cached_property
    def _fits(self) -> dict[str, tuple[Tensor, Tensor]]:
        """By feature, its coefficients (K + 1, f), and what they leave of each image (n, f)."""
        fits = {}
        for name, values in self.features.items():
            flat = values.flatten(1)
            coefficients = (self._inverse @ self._design.T).to(flat) @ flat
            fits[name] = coefficients, flat - self._design.to(flat) @ coefficients
        return fits

    def _differences(self, hosts: Index, donors: Index) -> Float[Tensor, "m K1"]:
        labels, design = self.labels.cpu(), self._design
        known = (labels[hosts] >= 0) & (labels[donors] >= 0)
        both = torch.cat([torch.zeros(len(hosts), 1, dtype=torch.bool), known], dim=1)
        return torch.where(both, design[donors] - design[hosts], 0.0)


def label_effects(
    features: Collection[str], images: Images, labels: Flags, masks: Masks | None
) -> LabelEffects:
    """The fits of ``features`` over images; what an object hides of one is as in the others on average."""
    return LabelEffects(labels, {name: _filled(*weighted(name, images, masks)) for name in features})


def _filled(values: Tensor, weights: Tensor) -> Tensor:
    """(n, ...) values by what they weigh; where they weigh nothing, the average of those that do."""
    totals = weights.sum(dim=0, keepdim=True)
    average = torch.where(totals > 1e-6, values.sum(dim=0, keepdim=True) / totals.clamp(min=1e-6), torch.nan)
    return torch.where(weights > 1e-6, values / weights.clamp(min=1e-6), average)
