"""Images, labels and masks in a user's batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_cam.selectors import Parts, Selector, describe, first_fitting, parts_of, pick
from lightning_cam.typing import Images, Masks, Truth

IMAGE_KEYS = ("image", "images", "img", "imgs", "pixel_values", "x", "input", "inputs", "data")
LABEL_KEYS = ("label", "labels", "target", "targets", "y", "class", "classes")
MASK_KEYS = ("mask", "masks", "segmentation", "segmentations")


@dataclass(frozen=True)
class Batch:
    """The images of a user's batch, and their labels and masks where there are any."""

    images: Images
    labels: Truth | None
    masks: Masks | None


def read_batch(batch: Any, images: Selector = None, labels: Selector = None, masks: Selector = None) -> Batch:
    """Images, labels and masks of a batch: tensor, tuple, dict, namedtuple or dataclass.

    Where nothing says how, a dict's or a dataclass' usual names decide, then the shapes. Images are the first
    floating (n, c, H, W), else volumes (n, c, D, H, W), else whole numbers (n, c, H, W), else floating
    signals (n, c, T) with c < T (or of any length, where they have a usual name). Labels are the first whole
    numbers (n,) or (n, 1), else floating ones that are all 0 or 1. Masks are the first of two values, (n, H,
    W) or (n, 1, H, W), and likewise of the volumes' or signals' size. Among several that have other names
    nothing is guessed.

    Args:
        images: A key, an index or a function of the batch; None finds them. Likewise ``labels`` and
            ``masks``.

    Raises:
        ValueError: No images; the message says what the batch holds.
    """
    parts = parts_of(batch)
    found = _find_images(parts) if images is None else pick(batch, images, "images")
    if not (isinstance(found, Tensor) and found.ndim in (3, 4, 5)):
        raise ValueError(
            f"images: no images (n, c, H, W) found in the batch, which holds {describe(batch)}; "
            "say where they are with images=, a key, an index or a function of the batch."
        )
    others = [(name, part) for name, part in parts if part is not found]
    count = len(found)
    if labels is None:
        found_labels = _only(others, LABEL_KEYS, lambda part: _are_labels(part, count))
        if found_labels is None:
            found_labels = _only(others, LABEL_KEYS, lambda part: _are_zeros_and_ones(part, count))
    else:
        found_labels = pick(batch, labels, "labels")
        if not (_are_labels(found_labels, count) or _are_zeros_and_ones(found_labels, count)):
            raise ValueError(
                f"labels: got {describe(found_labels)} for {count} images; "
                f"give whole numbers of shape ({count},)."
            )
    found_masks = read_masks(batch, found, masks)
    return Batch(
        found.detach(),
        None if found_labels is None else found_labels.detach().reshape(count).long(),
        found_masks,
    )


def read_masks(batch: Any, images: Images, masks: Selector = None) -> Masks | None:
    """The masks of these images, or None: truth values of the images' size, one for each.

    Args:
        images: The batch's, (n, c, *size), as they were found.
        masks: A key, an index or a function of the batch; None finds them.

    Raises:
        ValueError: What ``masks`` finds has another shape.
    """
    count, size = len(images), images.shape[2:]
    if masks is None:
        found = _only(
            [part for part in parts_of(batch) if part[1] is not images],
            MASK_KEYS,
            lambda part: _are_masks(part, count, size) and not part.is_floating_point(),
            _of_two_values,
        )
    else:
        found = pick(batch, masks, "masks")
        if not _are_masks(found, count, size):
            raise ValueError(
                f"masks: got {describe(found)} for images {tuple(images.shape)}; "
                f"give truth values of shape {(count, *size)}."
            )
    return None if found is None else found.detach().reshape(count, *size) != 0


def _only(
    parts: Parts,
    names: tuple[str, ...],
    fits: Callable[[Any], bool],
    convinces: Callable[[Any], bool] = lambda part: True,
) -> Any:
    """What has a usual name, if it fits; where nothing has one, the first that convinces, or among other
    names the only one.
    """
    named = [part for part in parts if part[0] in names]
    if named:
        return first_fitting(named, names, fits)
    fitting = [part for _, part in parts if fits(part) and convinces(part)]
    by_name = any(isinstance(name, str) for name, _ in parts)
    return fitting[0] if fitting and not (by_name and len(fitting) > 1) else None


def _find_images(parts: Parts) -> Any:
    """What is called so, whatever its rank; else by shape, those that are called labels or masks last."""
    # What is called so comes first. By shape alone, whole numbers come after floating images, which they may
    # be the masks of; and three dimensions come last, as a sequence of embeddings has them too.
    named: Parts = [(name, part) for name, part in parts if name in IMAGE_KEYS]
    unnamed = [(name, part) for name, part in parts if name not in IMAGE_KEYS]
    ways: list[tuple[Parts, Callable[[Any], bool]]] = [
        (named, lambda part: _has_rank(part, 4, 5)),
        (named, lambda part: _has_rank(part, 3) and part.is_floating_point()),
        (unnamed, lambda part: _has_rank(part, 4) and part.is_floating_point()),
        (unnamed, lambda part: _has_rank(part, 5) and part.is_floating_point()),
        (unnamed, lambda part: _has_rank(part, 5) and part.dtype != torch.bool),
        (unnamed, lambda part: _has_rank(part, 4) and part.dtype != torch.bool),
        (unnamed, _looks_like_signals),
    ]
    found = (first_fitting(some, IMAGE_KEYS, fits, LABEL_KEYS + MASK_KEYS) for some, fits in ways)
    return next((one for one in found if one is not None), None)


def _has_rank(part: Any, *ranks: int) -> bool:
    return isinstance(part, Tensor) and part.ndim in ranks


def _looks_like_signals(part: Any) -> bool:
    return _has_rank(part, 3) and part.is_floating_point() and part.shape[1] < part.shape[2]


def _are_labels(part: Any, count: int) -> bool:
    if not isinstance(part, Tensor) or part.is_floating_point() or part.is_complex():
        return False
    return part.dtype != torch.bool and part.shape in ((count,), (count, 1))


def _are_zeros_and_ones(part: Any, count: int) -> bool:
    """Labels of a binary head, as a loss on logits wants them."""
    floating = isinstance(part, Tensor) and part.is_floating_point() and part.shape in ((count,), (count, 1))
    return floating and bool(((part == 0) | (part == 1)).all())


def _are_masks(part: Any, count: int, size: Sequence[int]) -> bool:
    return isinstance(part, Tensor) and tuple(part.shape) in ((count, *size), (count, 1, *size))


def _of_two_values(part: Tensor) -> bool:
    return part.dtype == torch.bool or len(part.unique()) <= 2
