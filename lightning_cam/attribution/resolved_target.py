"""From what is asked for to what is explained: targets checked, class names looked up, classes found."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from lightning_cam.attribution.targets import (
    TARGETS,
    WEIGHS_CLASSES,
    Target,
    class_of,
    label_score,
    output_score,
    predicted_score,
    probability_score,
)
from lightning_cam.attribution.task import AUTO, TASKS
from lightning_cam.registry import choose, did_you_mean
from lightning_cam.selectors import describe
from lightning_cam.typing import Labels, Outputs, PerImage, Scores, Truth

PlainTarget = str | int | Target | tuple[int, ...]  # a tuple: one class per image


def check_target(target: Any, may_be_class: bool = False) -> PlainTarget:
    """The target, where it is a row of ``TARGETS``, a class index, a function, or one class per image.

    One class per image, a list or a tensor (n,), comes back as a tuple of whole numbers.

    Args:
        may_be_class: Whether another text will do, the name of a class that ``resolve_class_name`` looks up.

    Raises:
        ValueError: No such row, a negative index, or a tensor of another shape.
        TypeError: Neither name, index, function nor whole numbers.
    """
    if isinstance(target, Tensor | list | tuple):
        return _one_class_per_image(target)
    if isinstance(target, int) and not isinstance(target, bool):
        if target < 0:
            raise ValueError(f"target: class index {target} is negative; class indices start at 0.")
    elif not (may_be_class and isinstance(target, str) and target):
        choose(TARGETS, target, "target")
    return target


def resolve_class_name(target: PlainTarget, class_names: Sequence[str] | None) -> PlainTarget:
    """The index of the class that ``target`` names; every other target as it is.

    Raises:
        ValueError: A text is neither a row of ``TARGETS`` nor the name of one class; the message names the
            closest one.
    """
    if not isinstance(target, str) or target in TARGETS:
        return target
    names = list(class_names or ())
    if names.count(target) == 1:
        return names.index(target)
    if target in names:
        raise ValueError(
            f"target: {names.count(target)} classes are called {target!r}; give the index of one, such as "
            f"target={names.index(target)}."
        )
    classes = "the names of classes" if names else "class names where they are given with class_names="
    hint = did_you_mean(target, [*TARGETS, *names]) or f"; there are {', '.join(TARGETS)}, and {classes}."
    raise ValueError(f"target: no target {target!r}{hint}")


def target_of_task(target: PlainTarget, task: str) -> PlainTarget:
    """What a target means for this task: the label and the prediction of a regression are its output.

    Raises:
        ValueError: The target is about classes and the task has none, or the other way round.
    """
    rows = {name: (name, row) for name, row in TARGETS.items()}
    about_numbers = target in rows["output"]
    if task == AUTO or (TASKS[task].has_classes and not about_numbers):
        return target
    if about_numbers or target in (*rows["label"], *rows["predicted"]):
        if TASKS[task].has_classes:
            raise ValueError(
                f"target: 'output' is the number that a regression yields, and the task is {task!r}; "
                "give target='predicted' or the index of a class, or task='regression'."
            )
        return "output"
    if isinstance(target, str) or target in TARGETS.values():
        name = next(name for name, pair in rows.items() if target in pair)
        raise ValueError(
            f"target: {name!r} is about a class, and the task {task!r} has none; "
            "give target='output', or the index of an output."
        )
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


def resolve_target(
    target: PlainTarget, scores: Outputs, labels: Truth | None, task: str = AUTO
) -> ResolvedTarget:
    """The target, with its classes found on these scores.

    Args:
        task: A key of ``TASKS``; "auto": one of classes.

    Raises:
        ValueError: Labels are needed and missing, a class lies outside the scores, or the task has no such
            target.
    """
    target = target_of_task(target, task)
    classes = target_classes(target, scores, labels)
    known = labels if classes is None else classes
    # A class that was found or given is from here on what a label is.
    is_one_class = isinstance(target, int | tuple) or target == "predicted"
    row = choose(TARGETS, "label" if is_one_class else target, "target")
    if row is probability_score and task != AUTO:
        row = _confidence_of(task)
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
    if target in ("output", output_score) or (not isinstance(target, str) and target not in TARGETS.values()):
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


def _confidence_of(task: str) -> Target:
    """A target: the class' confidence as the task has it, in [0, 1]."""

    def confidence_score(scores: Scores, labels: Labels | None = None) -> PerImage:
        shares = TASKS[task].shares(scores)
        return label_score(scores if shares is None else shares, class_of(scores, labels))

    return confidence_score
