"""The average image of each class, and other averages: running sums over the images that pass by. Bounded."""

import sys
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_cam.distributed import Ranks
from lightning_cam.shortcuts.features import FEATURES, dilated
from lightning_cam.typing import Images, Labels, Masks

MOST_CLASSES = 64
MOST_IMAGES = 512  # of a class, of a whole validation: more would cost time and tell no more
FEWEST_IMAGES = 4  # of a class, without the host: below, the mean is these images rather than the class
Weighted = tuple[Tensor, Tensor]  # a feature (n, ...), and what it weighs


@dataclass
class ClassMeans:
    """Sums of features by class, on the images' device; over images of one shape, that of the first.

    Args:
        features: Keys of ``FEATURES``.
    """

    features: Collection[str]
    counts: dict[int, int] = field(default_factory=dict)  # images, by class
    sums: dict[str, dict[int, Weighted]] = field(default_factory=dict)  # by feature and class
    shape: tuple[int, ...] | None = None  # of an image, (c, H, W)
    skipped: int = 0  # images of another shape: no average can be taken over several sizes

    def add(
        self,
        images: Images,
        labels: Labels,
        masks: Masks | None,
        classes: Collection[int],
        most: int = sys.maxsize,
    ) -> None:
        """Adds a batch's images of ``classes``, of each class the first ``most`` at the most.

        Images of another shape than the first are counted and left out.
        """
        self.shape = self.shape or tuple(images.shape[1:])
        if tuple(images.shape[1:]) != self.shape:
            self.skipped += len(images)
            return
        for label in sorted(set(labels.tolist()) & set(classes)):
            known = self.counts.get(label, 0)
            own = (labels == label).nonzero()[: most - known, 0]
            if not len(own):
                continue
            self.counts[label] = known + len(own)
            for feature in self.features:
                values, weights = weighted(feature, images[own], None if masks is None else masks[own])
                before = self.sums.setdefault(feature, {}).get(label, (0.0, 0.0))
                self.sums[feature][label] = values.sum(dim=0) + before[0], weights.sum(dim=0) + before[1]

    def over(self, ranks: Ranks, classes: Sequence[int], images: Images, masks: Masks | None) -> "ClassMeans":
        """The sums over all ranks, of ``classes``; a collective, which fails together.

        Args:
            images: One or more like those that were added, which say what shape a class has that this rank
                has not seen. A rank whose images have another shape has nothing to add.
        """
        shape = tuple(images.shape[1:])
        own = self if self.shape == shape else ClassMeans(self.features)
        counts = ranks.summed(
            torch.tensor([own.counts.get(label, 0) for label in classes], device=images.device)
        ).tolist()
        whole = ClassMeans(
            self.features,
            {label: count for label, count in zip(classes, counts, strict=True) if count},
            shape=shape,
            skipped=self.skipped,
        )
        if not whole.counts:
            return whole

        def nothing() -> dict[str, Weighted]:
            one = images[:1], None if masks is None else masks[:1]
            found = {feature: weighted(feature, *one) for feature in self.features}
            return {
                feature: (torch.zeros_like(values[0]), torch.zeros_like(weights[0]))
                for feature, (values, weights) in found.items()
            }

        for feature, zeros in ranks.together(nothing).items():
            whole.sums[feature] = {}
            for label in whole.counts:
                values, weights = own.sums.get(feature, {}).get(label, zeros)
                whole.sums[feature][label] = ranks.summed(values), ranks.summed(weights)
        return whole

    def known(self, left_out: int) -> list[int]:
        """Classes of enough images, when so many are left out of each."""
        return sorted(label for label, count in self.counts.items() if count - left_out >= FEWEST_IMAGES)

    def of(self, feature: str, labels: Labels, without: Weighted | None = None) -> Tensor:
        """Means (m, ...) of the classes ``labels``; NaN where every image of the class shows the object.

        Args:
            without: Images, one for each label, that are left out of the mean.
        """
        classes, places = labels.unique(return_inverse=True)
        parts = [self.sums[feature][label] for label in classes.tolist()]
        if without is None:
            return torch.stack([_ratio(*part) for part in parts])[places]
        return _ratio(
            *(
                torch.stack(sums)[places] - own
                for sums, own in zip(zip(*parts, strict=True), without, strict=True)
            )
        )


def weighted(feature: str, images: Images, masks: Masks | None) -> Weighted:
    """Each image's feature, and what it weighs: where masks are given, pixels of the object weigh nothing."""
    precise = images.to(torch.promote_types(images.dtype, torch.float32))
    if masks is None or feature != "image":
        values = FEATURES[feature](precise)
        return values, torch.ones_like(values[:, :1])
    seen = (~dilated(masks))[:, None].to(precise)
    return FEATURES["image"](precise * seen), FEATURES["image"](seen)


def _ratio(total: Tensor, weight: Tensor) -> Tensor:
    return torch.where(weight > 1e-6, total / weight.clamp(min=1e-6), torch.nan)
