"""Checks that several places share, each with an error that names argument, value and remedy."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lightning_cam.selectors import describe

Normalization = tuple[tuple[float, ...], tuple[float, ...]]
IMAGENET: Normalization = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def as_plain(tensor: Tensor) -> Tensor:
    """The same numbers as a plain tensor, without a copy.

    Classes of the user's own, such as MONAI's MetaTensor, would stand in the checkpoint, which could then not
    be loaded where their package is missing.
    """
    return tensor.as_subclass(Tensor)


def class_name(names: Sequence[str] | None, label: int) -> str:
    """The class' name, or its number where it has none."""
    return names[label] if names is not None and 0 <= label < len(names) else str(label)


def check_normalization(
    normalization: str | tuple[Sequence[float], Sequence[float]] | None,
) -> Normalization | None:
    """Mean and standard deviation as tuples.

    Raises:
        ValueError: Neither "imagenet", nor (mean, std) of equal length with positive std, nor None.
    """
    if normalization is None:
        return None
    if normalization == "imagenet":
        return IMAGENET
    try:
        mean, std = (tuple(float(value) for value in values) for values in normalization)
    except (TypeError, ValueError):
        raise ValueError(
            f"normalization: got {normalization!r}; give 'imagenet', (mean, std) or None."
        ) from None
    if len(mean) != len(std) or not mean or min(std) <= 0:
        raise ValueError(
            f"normalization: got {normalization!r}; mean and std need one value per channel, std above 0."
        )
    return mean, std


def check_images(images: Any) -> None:
    """Accepts finite images (n, c, H, W), volumes (n, c, D, H, W) or signals (n, c, T), n > 0.

    Raises:
        TypeError: ``images`` is not a tensor.
        ValueError: Wrong rank, no images, or values that are not finite.
    """
    if not isinstance(images, Tensor):
        raise TypeError(f"images: got {describe(images)}; give a tensor (n, c, H, W).")
    if images.ndim not in (3, 4, 5) or 0 in images.shape:
        raise ValueError(
            f"images: got {describe(images)}; give a tensor (n, c, H, W) with at least one image."
        )
    # A sum of values that are not finite is not finite, and needs no memory of the images' size.
    broken = (~images.flatten(1).sum(dim=1, dtype=torch.float32).isfinite()).nonzero()
    if len(broken):
        raise ValueError(
            f"images: image {int(broken[0])} holds values that are not finite (NaN or inf); mend or drop it."
        )


def check_labels(labels: Any, count: int, several: bool = False) -> None:
    """Accepts None, or one number per image (n,): a class, or what a regression shall yield.

    Args:
        several: Whether (n, C) will do, one number per image and column: zeros and ones for images with
            several labels, or numbers. NaN says that nobody knows.

    Raises:
        ValueError: Another shape, no real numbers, infinite ones, or no tensor.
    """
    if labels is None:
        return
    fits = isinstance(labels, Tensor) and not labels.is_complex() and labels.shape[:1] == (count,)
    if not (fits and (labels.ndim == 1 or (several and labels.ndim == 2))):
        columns = f", or one per class ({count}, C)" if several else ""
        raise ValueError(
            f"labels: got {describe(labels)} for {count} images; give one number per image, of shape "
            f"({count},){columns}."
        )
    if bool(labels.isinf().any()):
        raise ValueError("labels: got infinite numbers; mend them, or give NaN where a label is not known.")


def plain_labels(labels: Tensor) -> Tensor:
    """Labels in one form: (n,) whole numbers as int64, all others as float32.

    Floating zeros and ones (n,), as a loss on logits wants them, are whole numbers too; (n, 1) is (n,).
    """
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    are_whole = not labels.is_floating_point() or bool(((labels == 0) | (labels == 1)).all())
    return labels.long() if labels.ndim == 1 and are_whole else labels.float()


def check_class_names(names: Any, classes: int | None = None) -> tuple[str, ...] | None:
    """The names as a tuple of texts; None where there are none.

    Args:
        classes: How many classes the model has; None where nobody knows yet.

    Raises:
        TypeError: Not a list of names.
        ValueError: Not a list with one name for each of ``classes``.
    """
    if names is None:
        return None
    is_list = isinstance(names, Sequence) and not isinstance(names, str)
    if classes is None and not is_list:
        raise TypeError(f"class_names: got {names!r}; give one name per class, in a list.")
    if classes is not None and (not is_list or len(names) != classes):
        got = f"{len(names)} names" if is_list else repr(names)
        raise ValueError(
            f"class_names: got {got} for the model's {classes} classes; give one name per class."
        )
    return tuple(str(name) for name in names)


def check_opacity(opacity: Any) -> None:
    """Accepts the opacity of a heatmap over an image: "evidence", "constant", or a number in [0, 1].

    Raises:
        ValueError: It is something else.
    """
    is_number = isinstance(opacity, int | float) and not isinstance(opacity, bool)
    if opacity not in ("evidence", "constant") and not (is_number and 0 <= opacity <= 1):
        raise ValueError(f"opacity: got {opacity!r}; give 'evidence', 'constant' or a value in [0, 1].")


def check_whole(argument: str, value: Any, lowest: int, or_else: str = "") -> None:
    """Accepts a whole number of at least ``lowest``.

    Raises:
        TypeError: It is no whole number.
        ValueError: It is smaller.
    """
    remedy = f", {or_else}" if or_else else ""
    if isinstance(value, bool) or not isinstance(value, int):
        shown = repr(value) if isinstance(value, str | float | bool) else describe(value)
        raise TypeError(f"{argument}: got {shown}; give a whole number{remedy}.")
    if value < lowest:
        raise ValueError(f"{argument}: got {value}; give at least {lowest}{remedy}.")
