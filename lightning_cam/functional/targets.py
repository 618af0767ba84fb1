"""Targets: each a function ``(scores, labels) -> (n,)`` score to explain and a row in ``TARGETS``."""

from collections.abc import Callable

import torch

from lightning_cam.tables import choose
from lightning_cam.typing import Labels, PerImage, Scores

Target = Callable[..., PerImage]  # (scores, labels) -> score; labels are None where nobody knows them


def label_score(scores: Scores, labels: Labels) -> PerImage:
    """Score of each image's label."""
    return scores.gather(1, labels[:, None])[:, 0]


def predicted_score(scores: Scores, labels: Labels | None = None) -> PerImage:
    """Score of each image's predicted class."""
    return scores.amax(dim=1)


TARGETS: dict[str, Target] = {"label": label_score, "predicted": predicted_score}


def check_target(target: str | int | Target) -> None:
    """Accepts a row of ``TARGETS``, a class index or a function.

    Raises:
        ValueError: No such row, or a negative index.
        TypeError: Neither name, index nor function.
    """
    if isinstance(target, int) and not isinstance(target, bool):
        if target < 0:
            raise ValueError(f"target: class index {target} is negative; class indices start at 0.")
    else:
        choose(TARGETS, target, "target")


def target_classes(target: str | int | Target, scores: Scores, labels: Labels | None) -> Labels | None:
    """The class whose score each image's target is, or None where the target is a function of its own.

    A class found here stays the image's target when its pixels change (noise, masks): the question does not follow the answer.

    Raises:
        ValueError: Labels are needed and missing, or a class lies outside the scores.
    """
    classes = scores.shape[1]
    if isinstance(target, int):
        if not 0 <= target < classes:
            raise ValueError(f"target: class index {target} is outside the model's {classes} classes; use 0 to {classes - 1}.")
        return torch.full((len(scores),), target, device=scores.device)
    if target in ("predicted", predicted_score):
        return scores.argmax(dim=1)
    if target not in ("label", label_score):
        return None
    if labels is None:
        raise ValueError("labels: target 'label' needs labels and got None; pass labels, or target='predicted'.")
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise ValueError(
            f"labels: label {int(outside[0])} is outside the model's {classes} classes; labels run from 0 to {classes - 1}."
        )
    return labels
