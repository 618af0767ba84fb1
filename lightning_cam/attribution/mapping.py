"""What methods make of evidence: maps, checked and fused over layers; why some show nothing; and the maps of
two classes that the model confuses.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_cam.attribution import maps
from lightning_cam.attribution.config import MethodLike
from lightning_cam.attribution.evidence import Evidence
from lightning_cam.selectors import describe
from lightning_cam.typing import Cams, Gradients, Images, Labels


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


def _difference(own: Evidence, other: Evidence, sign: int) -> Gradients:
    return sign * (own.gradients - other.gradients)


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
