"""Predictivity: how well the label can be told from a cue alone, no model asked."""

import random
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from lightning_cam.checks import check_images, check_labels, plain_labels
from lightning_cam.distributed import Ranks
from lightning_cam.shortcuts.cues import CUES, Cue
from lightning_cam.shortcuts.discriminant import fit
from lightning_cam.shortcuts.features import Features, Views
from lightning_cam.typing import Flags, Images, Labels, Masks

MOST_IMAGES = 1000
MOST_LABELS = 8  # of several per image, that are tested
FEWEST = 5  # images that have a label, and that lack it
BATCH = 64  # images whose features are made at once
SEED = 0  # of the sample's own random numbers


@dataclass(frozen=True, eq=False)
class Predictivity:
    """How well one cue tells the label.

    Args:
        kappa: Cohen's kappa between the label and what the cue says, in [-1, 1]: 0 as chance does, 1 always.
        accuracy: Share of the images whose label it tells, in [0, 1].
        f1: (C,) of each class against the rest, in [0, 1].
        images: How many images were asked.
        said: (n,) the class that the cue says of each, by a classifier that has not seen it.

    Source: Cohen, A coefficient of agreement for nominal scales, Educational and Psychological Measurement
    1960.
    """

    kappa: float
    accuracy: float
    f1: Tensor
    images: int
    said: Labels


def predictivity(images: Images, labels: Tensor, masks: Masks | None = None) -> dict[str, Predictivity]:
    """How well each cue of ``CUES`` tells the label; no model is asked, no random number is drawn.

    A linear discriminant analysis with a shrunk covariance, each image answered by a classifier that has not
    seen it. Cues that need masks or more channels or pixels than there are are left out.

    Args:
        images: (n, c, H, W), some 500 or more; with fewer the values are too low.
        labels: (n,) classes.
        masks: (n, H, W) True where the object is.

    Raises:
        TypeError: The images are no tensor, the labels no whole numbers.
        ValueError: Sizes differ, or there are fewer than two classes.

    Example:
        >>> images = torch.rand(60, 1, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> labels = torch.arange(60) % 3
        >>> images[:, :, :4, :4] = labels[:, None, None, None] / 2.0  # a corner that tells the class
        >>> found = predictivity(images, labels)
        >>> round(found["cell_0_0"].kappa, 2), found["cell_3_3"].kappa < 0.3
        (1.0, True)
    """
    check_images(images)
    labels = plain_labels(labels)
    check_labels(labels, len(images))
    if images.ndim != 4:
        raise ValueError(
            f"images: got {tuple(images.shape)}; cues are made for images (n, c, H, W), not for signals or "
            "volumes."
        )
    if masks is not None and masks.shape != (len(images), *images.shape[2:]):
        raise ValueError(
            f"masks: got {tuple(masks.shape)} for images {tuple(images.shape)}; give one (H, W) mask per "
            "image."
        )
    if len(labels.unique()) < 2:
        raise ValueError(f"labels: all {len(labels)} images are of class {int(labels[0])}; give two classes.")
    parts = [
        features_of(CUES, images[rows], None if masks is None else masks[rows])
        for rows in torch.arange(len(images), device=images.device).split(BATCH)
    ]
    features = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    classes = int(labels.max()) + 1
    return {name: told(values, labels.cpu(), classes) for name, values in features.items()}


@dataclass
class CueFeatures:
    """Features of images that pass by, on the host: a sample of at most a thousand, by its own random
    numbers.

    Args:
        cues: Whose features are kept.
    """

    cues: Mapping[str, Cue]
    shape: tuple[int, ...] | None = None  # of an image, (c, H, W)
    skipped: int = 0  # images of another shape
    passed: int = 0
    kept: list[tuple[float, Tensor, dict[str, Tensor]]] = field(default_factory=list)
    numbers: random.Random = field(default_factory=lambda: random.Random(SEED))  # noqa: S311 - a sample, no secret

    def add(self, images: Images, labels: Tensor, masks: Masks | None, most: int = MOST_IMAGES) -> None:
        """Samples a batch: each image passes with the same probability, however many there are.

        Images of another shape than the first, and those that are not finite, are left out.
        """
        self.shape = self.shape or tuple(images.shape[1:])
        if tuple(images.shape[1:]) != self.shape:
            self.skipped += len(images)
            return
        marks = [self.numbers.random() for _ in range(len(images))]
        self.passed += len(images)
        limit = self.kept[-1][0] if len(self.kept) >= most else 1.0
        drawn = [i for i, mark in enumerate(marks) if mark < limit]
        are_finite = images[drawn].flatten(1).isfinite().all(dim=1).tolist()
        chosen = [i for i, is_finite in zip(drawn, are_finite, strict=True) if is_finite]
        if not chosen:
            return
        rows = torch.tensor(chosen, device=images.device)
        features = features_of(self.cues, images[rows], None if masks is None else masks[rows])
        own = labels[rows].cpu()
        are_numbers = [values.isfinite().all(dim=1) for values in features.values()]
        whole = torch.stack([torch.ones(len(chosen), dtype=torch.bool), *are_numbers]).all(dim=0)
        for place in whole.nonzero()[:, 0].tolist():
            # Copies: a row of a tensor keeps all of it alive, and is sent to other processes with all of it.
            numbers = {name: values[place].clone() for name, values in features.items()}
            self.kept.append((marks[chosen[place]], own[place].clone(), numbers))
        self.kept = sorted(self.kept, key=lambda one: one[0])[:most]

    def over(self, ranks: Ranks, most: int = MOST_IMAGES) -> "CueFeatures":
        """The sample over all ranks; a collective."""
        if ranks.count == 1:
            return self
        facts = ranks.of_all((self.shape, self.skipped, self.passed, [mark for mark, *_ in self.kept]))
        shape = next((own for own, *_ in facts if own is not None), None)
        unfit = sum(skipped + (0 if own == shape else passed) for own, skipped, passed, _ in facts)
        marks = sorted(mark for own, _, _, marks in facts if own == shape for mark in marks)[:most]
        # Each sends what the whole sample takes of it, as one tensor a cue.
        sent = [one for one in self.kept if self.shape == shape and one[0] <= marks[-1]]
        part = CueFeatures(self.cues, kept=sent)
        packed = (
            [mark for mark, *_ in sent],
            part.labels if sent else torch.empty(0),
            {name: part.of(name) for name in part.names},
        )
        whole = [
            (mark, labels[i], {name: values[i] for name, values in numbers.items()})
            for own, labels, numbers in ranks.of_all(packed)
            for i, mark in enumerate(own)
        ]
        whole = sorted(whole, key=lambda one: one[0])[:most]
        return CueFeatures(self.cues, shape, unfit, sum(passed for _, _, passed, _ in facts), whole)

    @property
    def labels(self) -> Tensor:
        """(n,) classes, or (n, C) of several labels."""
        return torch.stack([label for _, label, _ in self.kept])

    def of(self, cue: str) -> Features:
        """(n, d) one cue's features."""
        return torch.stack([numbers[cue] for _, _, numbers in self.kept])

    @property
    def names(self) -> list[str]:
        """The cues that all of these images have."""
        if not self.kept:
            return []
        return [name for name in self.kept[0][2] if all(name in numbers for _, _, numbers in self.kept)]

    def told(self, labels: Labels, classes: int) -> dict[str, Predictivity]:
        """How well each cue tells labels (n,) of the kept images; those below 0 are left out."""
        known = labels >= 0
        if len(labels[known].unique()) < 2:
            return {}
        return {name: told(self.of(name)[known], labels[known], classes) for name in self.names}


def told_of(kept: CueFeatures, classes: int) -> dict[int, dict[str, Predictivity]]:
    """How well each cue tells the class, under 0; of several labels per image each one's, by its column, at
    most eight: those that most images have and most lack.
    """
    if not kept.kept:
        return {0: {}}
    labels = kept.labels
    if labels.ndim == 1:
        return {0: kept.told(labels, max(classes, int(labels.max()) + 1))}
    flags = label_flags(labels)
    rarer = [min(int((column == 0).sum()), int((column == 1).sum())) for column in flags.T]
    columns = sorted(range(len(rarer)), key=lambda column: -rarer[column])[:MOST_LABELS]
    return {column: kept.told(flags[:, column], 2) for column in sorted(columns) if rarer[column] >= FEWEST}


def features_of(cues: Mapping[str, Cue], images: Images, masks: Masks | None) -> dict[str, Features]:
    """The features, on the host, of the cues that the images have."""
    views = Views(images.to(torch.promote_types(images.dtype, torch.float32)), masks)
    return {
        name: row.features(views).float().cpu()
        for name, row in cues.items()
        if not unfit(row, images) and (row.needs != "masks" or masks is not None)
    }


def unfit(row: Cue, images: Images) -> str:
    """Why images do not suit a cue, in words; nothing where they do."""
    if images.ndim != 4:
        return "cues are made for images (n, c, H, W), not for signals or volumes"
    side = min(images.shape[2:])
    if side < row.smallest:
        return f"{row.meaning}: the images' shorter side is {side} pixels; this cue needs {row.smallest}"
    if row.channels > 1 and images.shape[1] != row.channels:
        own = f"{images.shape[1]} channel{'s' * (images.shape[1] > 1)}"
        return f"{row.meaning}: the images have {own}; this cue needs {row.channels}"
    return ""


def told(features: Features, labels: Labels, classes: int) -> Predictivity:
    """How well features (n, d) tell labels (n,) of ``classes`` classes."""
    _, scores = fit(features, labels, classes)
    return scored(scores.argmax(dim=1), labels, classes)


def scored(said: Labels, labels: Labels, classes: int) -> Predictivity:
    """What a classifier said, beside the labels."""
    n = len(labels)
    confusion = (
        torch.bincount(labels * classes + said, minlength=classes**2).reshape(classes, classes).double()
    )
    right, of_label, of_said = confusion.diagonal(), confusion.sum(dim=1), confusion.sum(dim=0)
    accuracy = float(right.sum() / n)
    chance = float(of_label @ of_said / n**2)
    agreement = 0.0 if chance == 1 else (accuracy - chance) / (1 - chance)
    f1 = 2 * right / (of_label + of_said).clamp(min=1)
    return Predictivity(agreement, accuracy, f1, n, said)


def kappa(first: Labels, second: Labels, classes: int) -> float:
    """Cohen's kappa, agreement beyond chance, in [-1, 1]; 1 where both give the same class always; NaN
    without images.
    """
    if not len(first):
        return float("nan")
    if bool((first == second).all()):
        return 1.0
    return scored(first.cpu(), second.cpu(), classes).kappa


def label_flags(labels: Tensor) -> Flags:
    """Labels (n, K) of zeros and ones as whole numbers; -1 where one is not known: NaN, or negative."""
    return torch.where(labels.isfinite() & (labels >= 0), (labels > 0.5).long(), -1)
