"""Which images of a dataset carry a cue, and which contradict it."""

import csv
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from lightning_cam.checks import class_name
from lightning_cam.data.batch import read_batch
from lightning_cam.selectors import Selector
from lightning_cam.shortcuts.cues import Cue
from lightning_cam.shortcuts.discriminant import fit
from lightning_cam.shortcuts.features import Features
from lightning_cam.shortcuts.predictivity import MOST_IMAGES, features_of, label_flags
from lightning_cam.typing import Labels, PerImage, Truth

COLUMNS = ("index", "label", "says", "margin", "group", "group_name")
FIT = 5 * MOST_IMAGES  # images that the classifier is fitted on


@dataclass(frozen=True, eq=False, repr=False)
class CueImages:
    """Images by what one cue says of them, in the loader's order.

    An image carries the cue where the cue says its own label, and contradicts it where it says another.

    Args:
        labels: (n,) the images' classes; of one label 1 with it and 0 without, -1 where it is not known.
        says: (n,) what the cue says, by a classifier that has not seen the image.
        margin: (n,) log odds of the image's own label against the best other one by the cue alone: above 0 it
            carries the cue, far below 0 it contradicts it clearly.
        class_names: One name per class, or None.
    """

    labels: Labels
    says: Labels
    margin: PerImage
    class_names: tuple[str, ...] | None = None

    def __repr__(self) -> str:
        known = self.labels >= 0
        count, carrying = int(known.sum()), int((self.carries & known).sum())
        return f"CueImages({count} images: {carrying} carry the cue, {count - carrying} contradict it)"

    @property
    def carries(self) -> Tensor:
        """(n,) which images carry the cue."""
        return self.says == self.labels

    @property
    def groups(self) -> Labels:
        """(n,) twice the label, and one more where the image contradicts the cue: the groups of GroupDRO; -1
        where the label is not known.

        Source: Sagawa et al., Distributionally robust neural networks for group shifts, ICLR 2020.
        https://arxiv.org/abs/1911.08731
        """
        return torch.where(self.labels < 0, -1, 2 * self.labels + (~self.carries).long())

    def counts(self) -> dict[str, int]:
        """Images by group, in words."""
        found: dict[str, int] = {}
        for group in self.groups[self.groups >= 0].unique().tolist():
            found[self._name(group)] = int((self.groups == group).sum())
        return found

    def save(self, path: str | Path, files: Sequence[str] | None = None) -> Path:
        """Writes a table with a line for each image: index, label, says, margin, group, group_name.

        Args:
            path: Of a file that ends with ".csv".
            files: The images' own files, for a last column; None: there is none.

        Raises:
            ValueError: The file's name has another ending, or there are fewer or more files than images.
        """
        path = Path(path)
        if path.suffix != ".csv":
            raise ValueError(f"path: got {str(path)!r}; give a name that ends with '.csv'.")
        if files is not None and len(files) != len(self.labels):
            raise ValueError(f"files: got {len(files)} for {len(self.labels)} images; give one for each.")
        columns = (self.labels, self.says, self.margin, self.groups)
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow((*COLUMNS, *(() if files is None else ("file",))))
            for i, (label, says, margin, group) in enumerate(
                zip(*(column.tolist() for column in columns), strict=True)
            ):
                last = () if files is None else (files[i],)
                writer.writerow((i, label, says, f"{margin:.3f}", group, self._name(group), *last))
        return path

    def _name(self, group: int) -> str:
        if group < 0:
            return "not known"
        return f"{class_name(self.class_names, group // 2)}, {'contradicts' if group % 2 else 'carries'}"


@dataclass(frozen=True)
class Conflicts:
    """Accuracy where a cue says another label than the image has, beside accuracy on the rest: no image is
    made.

    Args:
        accuracy: On images that contradict the cue, in [0, 1].
        images: How many there are.
        accuracy_elsewhere: On images that carry it, in [0, 1].
        images_elsewhere: How many there are.
    """

    accuracy: float
    images: int
    accuracy_elsewhere: float
    images_elsewhere: int


def cue_images(
    row: Cue,
    loader: Iterable[Any],
    *,
    column: int | None = None,
    class_names: tuple[str, ...] | None = None,
    images: Selector = None,
    labels: Selector = None,
    masks: Selector = None,
) -> CueImages:
    """What a cue says of every image that a loader gives; no model is asked.

    The classifier is fitted on at most 5,000 of them; each of these is answered without itself.

    Args:
        column: Of several labels per image, the one that is asked about.
        images, labels, masks: How to read a batch, as ``Inputs`` has it.

    Raises:
        ValueError: There is no batch, or the images do not suit the cue, or have no labels.
    """
    features, truth = gathered({"cue": row}, loader, images=images, labels=labels, masks=masks)
    return said_of(features["cue"], truth, column, class_names)


def gathered(
    cues: Mapping[str, Cue],
    loader: Iterable[Any],
    *,
    images: Selector = None,
    labels: Selector = None,
    masks: Selector = None,
) -> tuple[dict[str, Features], Truth]:
    """By cue its features of all images, and their labels, (n,) or (n, C), on the host; read once.

    Raises:
        ValueError: There is no batch, or the images do not suit a cue, or have no labels.
    """
    parts: list[dict[str, Features]] = []
    truth: list[Truth] = []
    for given in loader:
        # Of a tuple the second part: (n, C) zeros and ones could be anything else, were no labels asked for.
        second = 1 if labels is None and isinstance(given, (tuple, list)) and len(given) > 1 else labels
        batch = read_batch(given, images, second, masks)
        if batch.labels is None:
            raise ValueError("loader: its batches have no labels; give (images, labels).")
        found = features_of(cues, batch.images, batch.masks)
        for row in (row for name, row in cues.items() if name not in found):
            raise ValueError(
                f"loader: {row.meaning} cannot be measured on images {tuple(batch.images.shape)}"
                f"{' without masks' if row.needs == 'masks' else ''}; give the images of the finding."
            )
        parts.append(found)
        truth.append(batch.labels.cpu())
    if not truth:
        raise ValueError("loader: it gave no batch; give one that holds the images.")
    return {name: torch.cat([part[name] for part in parts]) for name in cues}, torch.cat(truth)


def said_of(
    features: Features, truth: Truth, column: int | None = None, class_names: tuple[str, ...] | None = None
) -> CueImages:
    """What features (n, d) say of each image.

    Args:
        truth: (n,) classes; or (n, C) zeros and ones, of which ``column`` is asked about.

    Raises:
        ValueError: The labels are no classes, or all are alike.
    """
    own = _labels_of(truth, column)
    usable = features.isfinite().all(dim=1) & (own >= 0)
    rows = usable.nonzero()[:, 0]
    order = torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))
    chosen = rows[order[:FIT]]
    if len(own[chosen].unique()) < 2:
        raise ValueError("loader: all images have one label; give images of two labels or more.")
    classes = int(own[usable].max()) + 1
    classifier, without = fit(features[chosen], own[chosen], classes)
    scores = classifier.scores(features.nan_to_num())
    scores[chosen] = without
    return CueImages(own, scores.argmax(dim=1), _margin(scores, own), class_names)


def conflicts(found: CueImages, predicted: Labels) -> Conflicts | None:
    """Accuracy on images that contradict a cue, and on those that carry it; None where one of them is
    missing.

    Args:
        predicted: (n,) what the model answers to the images, in the same order.
    """
    known = found.labels >= 0
    right = (predicted.cpu() == found.labels).double()
    against, along = known & ~found.carries, known & found.carries
    if not (against.any() and along.any()):
        return None
    return Conflicts(
        float(right[against].mean()), int(against.sum()), float(right[along].mean()), int(along.sum())
    )


def _labels_of(truth: Truth, column: int | None) -> Labels:
    if column is not None and truth.ndim == 2:
        return label_flags(truth)[:, column]
    if truth.ndim == 2 or truth.is_floating_point():
        raise ValueError(f"loader: labels {tuple(truth.shape)} are no classes (n,); give whole numbers.")
    return truth


def _margin(scores: Float[Tensor, "n C"], labels: Labels) -> PerImage:
    own = scores.gather(1, labels.clamp(min=0)[:, None])[:, 0]
    best = scores.scatter(1, labels.clamp(min=0)[:, None], -torch.inf).amax(dim=1)
    return torch.where(labels < 0, torch.nan, own - best).float()
