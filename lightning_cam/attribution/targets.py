"""Targets: each a function ``(scores, labels) -> (n,)`` score to explain and a row in ``TARGETS``.

Where a row speaks of the class, that is the label, and the predicted class where there are no labels. Which
classes a row weighs is decided once, on the images as they are, and stays when their pixels change (noise,
masks): the question does not follow the answer.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from lightning_cam.registry import choose
from lightning_cam.selectors import describe
from lightning_cam.typing import Labels, Outputs, PerImage, Scores, Truth

Target = Callable[..., PerImage]  # (scores, labels) -> score; labels are None where nobody knows them
PlainTarget = str | int | Target | tuple[int, ...]  # a tuple: one class per image
SIMILAR_CLASSES, FINER_GAMMA = 3, 0.6


def label_score(scores: Scores, labels: Truth) -> PerImage:
    """Score of each image's label; of several labels (n, C) the sum of their scores."""
    if labels.ndim == 2:
        return torch.where(labels != 0, scores, 0.0).sum(dim=1)
    return scores.gather(1, labels[:, None])[:, 0]


def predicted_score(scores: Scores, labels: Labels | None = None) -> PerImage:
    """Score of each image's predicted class."""
    return scores.amax(dim=1)


def finer_score(scores: Scores, labels: Labels | None = None, gamma: float = FINER_GAMMA) -> PerImage:
    """``y_c - gamma mean_t y_t`` over the three classes t whose scores are closest to that of the class c:
    why c, and not they.

    Source: Zhang et al., FinerCAM, CVPR 2025, eq. 4, with the similar classes found by their scores.
        https://arxiv.org/abs/2501.11309
    """
    own = label_score(scores, _class(scores, labels))[:, None]
    apart = (scores - own).abs().scatter(1, _class(scores, labels)[:, None], torch.inf)
    others = apart.topk(min(SIMILAR_CLASSES, scores.shape[1] - 1), dim=1, largest=False).indices
    return own[:, 0] - gamma * scores.gather(1, others).mean(dim=1)


def contrast_score(scores: Scores, labels: Labels | None = None) -> PerImage:
    """Score of the class minus that of the strongest other one: why this class, and not the next best.

    Source: Prabhushankar et al., Contrastive Explanations in Neural Networks, ICIP 2020.
        https://arxiv.org/abs/2008.00178
    """
    own = _class(scores, labels)
    others = scores.scatter(1, own[:, None], -torch.inf)
    return label_score(scores, own) - others.amax(dim=1)


def counterfactual_score(scores: Scores, labels: Labels | None = None) -> PerImage:
    """Minus the score of the class: what speaks against it.

    Source: Selvaraju et al., Grad-CAM, ICCV 2017, eq. 3. https://arxiv.org/abs/1610.02391
    """
    return -label_score(scores, _class(scores, labels))


def probability_score(scores: Scores, labels: Labels | None = None) -> PerImage:
    """Softmax probability of the class, in [0, 1]; of one logit the sigmoid."""
    return label_score(probabilities(scores), _class(scores, labels))


def contrast(one: int, other: int) -> Target:
    """A target: the score of one class minus that of another, for every image."""

    def contrast_of_two(scores: Scores, labels: Labels | None = None) -> PerImage:
        return scores[:, one] - scores[:, other]

    return contrast_of_two


def region(channel: int, where: Tensor | None = None) -> Target:
    """A target for segmentation: the sum of one class' scores over a region, of outputs (n, C, H, W).

    Args:
        channel: Which class.
        where: (H, W) truth values; None takes all positions that the network gives to that class, image by
            image.

    Source: Vinogradova et al., Towards Interpretable Semantic Segmentation via Gradient-weighted CAM, AAAI
        2020.
    https://arxiv.org/abs/2002.11434
    """

    def region_score(scores: Outputs, labels: Labels | None = None) -> PerImage:
        inside = (
            scores.argmax(dim=1) == channel
            if where is None
            else where.to(scores.device).bool().expand_as(scores[:, 0])
        )
        return torch.where(inside, scores[:, channel], 0.0).flatten(1).sum(dim=1)

    return region_score


def similarity(reference: Tensor) -> Target:
    """A target for embeddings: cosine similarity of outputs (n, d) to a reference (d,), in [-1, 1]."""

    def similarity_score(scores: Scores, labels: Labels | None = None) -> PerImage:
        return torch.cosine_similarity(scores, reference.to(scores).reshape(1, -1), dim=1)

    return similarity_score


TARGETS: dict[str, Target] = {
    "label": label_score,
    "predicted": predicted_score,
    "finer": finer_score,
    "contrast": contrast_score,
    "counterfactual": counterfactual_score,
    "probability": probability_score,
}


# Rows that are weighted sums of scores.
WEIGHS_CLASSES = ("label", "predicted", "finer", "contrast", "counterfactual")


def probabilities(scores: Scores) -> Scores:
    """Softmax over classes, in [0, 1]. Two scores that are each other's negative are one logit: then it is
    the sigmoid's.
    """
    single = scores.shape[1] == 2 and bool((scores[:, 0] == -scores[:, 1]).all())
    return (scores / 2 if single else scores).softmax(dim=1)


def check_target(target: Any) -> PlainTarget:
    """The target, where it is a row of ``TARGETS``, a class index, a function, or one class per image.

    One class per image, a list or a tensor (n,), comes back as a tuple of whole numbers.

    Raises:
        ValueError: No such row, a negative index, or a tensor of another shape.
        TypeError: Neither name, index, function nor whole numbers.
    """
    if isinstance(target, Tensor | list | tuple):
        return _one_class_per_image(target)
    if isinstance(target, int) and not isinstance(target, bool):
        if target < 0:
            raise ValueError(f"target: class index {target} is negative; class indices start at 0.")
    else:
        choose(TARGETS, target, "target")
    return target


def _one_class_per_image(classes: Tensor | Sequence[Any]) -> tuple[int, ...]:
    remedy = "give one whole number per image, in a list or a tensor (n,)"
    if isinstance(classes, Tensor) and classes.ndim != 1:
        raise ValueError(f"target: got {describe(classes)}; {remedy}.")
    values = classes.tolist() if isinstance(classes, Tensor) else classes
    if not len(values):
        raise ValueError(f"target: got no classes; {remedy}.")
    if any(isinstance(value, str) for value in values):
        raise TypeError(f"target: got {list(values)!r}, a list of texts; give a name or a function.")
    for image, value in enumerate(values):
        if isinstance(value, bool) or not isinstance(value, Integral):
            raise TypeError(f"target: got {value!r} for image {image}; {remedy}.")
        if value < 0:
            raise ValueError(
                f"target: class index {value} of image {image} is negative; class indices start at 0."
            )
    return tuple(int(value) for value in values)


def check_one_per_image(target: PlainTarget, count: int) -> None:
    """Accepts one class for each of ``count`` images, and every target that is not given image by image.

    Raises:
        ValueError: There are more or fewer classes than images.
    """
    if isinstance(target, tuple) and len(target) != count:
        raise ValueError(
            f"target: got {len(target)} classes for {count} images; give one class per image, or one for all."
        )


@dataclass(frozen=True)
class ResolvedTarget:
    """A target whose classes are found.

    Args:
        classes: The class that each image's target is about; None where the target is a function, or has
            several labels.
        score: ``(outputs, index)`` to the target scores (m,); ``index`` (m,) says to which image each row
            belongs.
    """

    classes: Labels | None
    score: Callable[[Outputs, Labels], PerImage]


def resolve_target(target: PlainTarget, scores: Outputs, labels: Truth | None) -> ResolvedTarget:
    """The target, with its classes found on these scores.

    Raises:
        ValueError: Labels are needed and missing, or a class lies outside the scores.
    """
    classes = target_classes(target, scores, labels)
    known = labels if classes is None else classes
    # A class that was found or given is from here on what a label is.
    is_one_class = isinstance(target, int | tuple) or target == "predicted"
    row = choose(TARGETS, "label" if is_one_class else target, "target")
    if row not in [TARGETS[key] for key in WEIGHS_CLASSES]:
        return ResolvedTarget(
            classes, lambda outputs, index: row(outputs, None if known is None else known[index])
        )
    with torch.enable_grad():
        leaf = scores.detach().clone().requires_grad_()
        # The gradient of a weighted sum is its weights.
        (weights,) = torch.autograd.grad(row(leaf, known).sum(), leaf)
    return ResolvedTarget(
        classes,
        lambda outputs, index: torch.where(weights[index] != 0, outputs * weights[index], 0.0).sum(dim=1),
    )


def target_classes(target: PlainTarget, scores: Outputs, labels: Truth | None) -> Labels | None:
    """The class that each image's target is about, or None where the target is a function, or has several
    labels.

    Raises:
        ValueError: Labels are needed and missing, or a class lies outside the scores.
    """
    classes = scores.shape[1]
    check_one_per_image(target, len(scores))
    if isinstance(target, int | tuple):
        numbers = target if isinstance(target, tuple) else (target,) * len(scores)
        unknown = [number for number in numbers if not 0 <= number < classes]
        if unknown:
            raise ValueError(
                f"target: class index {unknown[0]} is outside the model's {classes} classes; "
                f"use 0 to {classes - 1}."
            )
        return torch.tensor(numbers, device=scores.device)
    if target in ("predicted", predicted_score):
        return scores.argmax(dim=1)
    if not isinstance(target, str) and target not in TARGETS.values():
        return None
    if labels is None:
        if target in ("label", label_score):
            raise ValueError(
                "labels: target 'label' needs labels and got None; pass labels, or target='predicted'."
            )
        return scores.argmax(dim=1)
    if labels.ndim == 2:
        if labels.shape[1] != classes:
            raise ValueError(
                f"labels: got {labels.shape[1]} columns for the model's {classes} classes; "
                "give one column per class."
            )
        if target in ("label", label_score):
            return None
        raise ValueError(
            f"labels: target {target!r} is about one class and got several per image; "
            "use target='label' or an index."
        )
    outside = labels[(labels < 0) | (labels >= classes)]
    if len(outside):
        raise ValueError(
            f"labels: label {int(outside[0])} is outside the model's {classes} classes; "
            f"labels run from 0 to {classes - 1}."
        )
    return labels


def _class(scores: Scores, labels: Labels | None) -> Labels:
    return scores.argmax(dim=1) if labels is None else labels
