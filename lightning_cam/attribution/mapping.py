"""What methods make of evidence: maps, checked and fused over layers; why some show nothing; and the maps of
two classes that the model confuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from lightning_cam.attribution import maps
from lightning_cam.attribution.config import MethodLike
from lightning_cam.attribution.evidence import Evidence
from lightning_cam.selectors import describe
from lightning_cam.typing import Cams, Gradients, Images, Labels, Scores, Truth

MOST_LABELS = 3  # of those that an image has: so many get a map of their own


@dataclass(frozen=True, eq=False)
class Confusions:
    """Maps of the first m images, where the model answers another class than the label.

    Args:
        predicted: (m, *grid) raw maps of the predicted class.
        contrast: (m, *grid) positive where the image speaks for the label rather than for the predicted
            class, negative where it is the other way round: the map of (score of the label - score of the
            predicted class) minus the map of the opposite difference.
    """

    predicted: Cams
    contrast: Cams


@dataclass(frozen=True, eq=False)
class LabelMaps:
    """Maps of several labels, each of its own, of the first m images.

    Args:
        labels: (m, places) which; -1 where an image has fewer. The last place has the strongest label that
            the image has not, the others those that it has, the strongest first.
        cams: (m, places, *grid) raw maps; what belongs to no label is zero.
    """

    labels: Int[Tensor, "m places"]
    cams: Float[Tensor, "m places *grid"]


def mapped(
    name: str, method: MethodLike, evidences: Sequence[Evidence], size: tuple[int, ...]
) -> tuple[Cams, Labels]:
    """One batch's maps, and why some show nothing."""
    # A replaced Evidence shares the backward, and tells whether this method asked for gradients.
    asked = [replace(evidence) for evidence in evidences]
    made = fused([_checked(name, method(evidence), evidence.images) for evidence in asked])
    return made, blank_reasons(made, asked[-1], size)


def confused(
    name: str, method: MethodLike, evidences: Sequence[Evidence], size: tuple[int, ...]
) -> Confusions:
    """One batch's maps of the predicted classes, and maps for the labels against these.

    The gradient of a difference of scores is the difference of the gradients, so this costs one backward.
    """
    others = [evidence.with_classes(evidence.scores.argmax(dim=1)) for evidence in evidences]

    def apart(sign: int) -> Cams:
        pairs = zip(evidences, others, strict=True)
        both = [replace(own, differentiate=partial(_difference, own, other, sign)) for own, other in pairs]
        return mapped(name, method, both, size)[0].clamp(min=0)

    return Confusions(mapped(name, method, others, size)[0], apart(1) - apart(-1))


def label_maps(
    name: str, method: MethodLike, evidences: Sequence[Evidence], truth: Truth, size: tuple[int, ...]
) -> LabelMaps:
    """One batch's maps of the labels (n, C) that its images have, and of the strongest that each has not: one
    backward each, of one forward.
    """
    labels = shown_labels(evidences[-1].scores, truth)
    made = []
    for place in labels.unbind(dim=1):
        others = [evidence.with_classes(place.clamp(min=0)) for evidence in evidences]
        cams = mapped(name, method, others, size)[0]
        made.append(torch.where((place >= 0).reshape(-1, *[1] * (cams.ndim - 1)), cams, 0.0))
    return LabelMaps(labels, torch.stack(made, dim=1))


def shown_labels(scores: Scores, truth: Truth) -> Int[Tensor, "n places"]:
    """Which labels get a map of their own, as ``LabelMaps`` has them: at most three that the image has, and
    one that it has not. What is not known is neither.
    """
    present, absent = truth > 0.5, (truth <= 0.5) & (truth >= 0)
    most = min(MOST_LABELS, int(present.sum(dim=1).max()))
    places = [(present, most), (absent, 1)]
    found = []
    for kind, count in places:
        strengths, labels = torch.where(kind, scores, -torch.inf).topk(count, dim=1)
        found.append(torch.where(strengths > -torch.inf, labels, -1))
    return torch.cat(found, dim=1)


def _difference(own: Evidence, other: Evidence, sign: int) -> Gradients:
    return sign * (own.gradients - other.gradients)


def all_label_maps(parts: Sequence[LabelMaps], most: int) -> LabelMaps | None:
    """Several batches' label maps as one, of the first ``most`` images; None where there are none."""
    if not parts:
        return None
    places = max(part.labels.shape[1] for part in parts)
    labels, cams = [], []
    for part in parts:
        # The label that the image has not keeps the last place; what is missing goes before it.
        missing = places - part.labels.shape[1]
        before, last = part.labels[:, :-1], part.labels[:, -1:]
        labels.append(torch.cat([before, last.new_full((len(last), missing), -1), last], dim=1))
        empty = part.cams.new_zeros(len(last), missing, *part.cams.shape[2:])
        cams.append(torch.cat([part.cams[:, :-1], empty, part.cams[:, -1:]], dim=1))
    return LabelMaps(torch.cat(labels)[:most], torch.cat(cams)[:most])


def together(confusions: Sequence[Confusions], most: int) -> Confusions | None:
    """Several batches' confusions as one, of the first ``most`` images; None where there are none."""
    if not confusions:
        return None
    predicted = torch.cat([each.predicted for each in confusions])
    contrast = torch.cat([each.contrast for each in confusions])
    return Confusions(predicted[:most], contrast[:most])


def fused(made: list[Tensor]) -> Cams:
    """One layer's maps as they are, several layers' as one."""
    return (made[0] if len(made) == 1 else maps.fuse(made)).detach().float()


def blank_reasons(cams: Cams, evidence: Evidence, size: tuple[int, ...]) -> Labels:
    """Why maps show nothing, as indices into ``BLANK_REASONS``; gradients count where they were asked for."""
    return maps.blank_reason(maps.upsample(cams, size), evidence.activations, vars(evidence).get("gradients"))


def _checked(name: str, cams: Any, images: Images) -> Cams:
    if not (isinstance(cams, Tensor) and cams.ndim == images.ndim - 1 and len(cams) == len(images)):
        count = len(images)
        raise ValueError(
            f"method: {name!r} returned {describe(cams)} for {count} images; "
            "return one map per image, (n, h, w)."
        )
    return cams
