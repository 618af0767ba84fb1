"""Images, labels and masks in a user's batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lightning_cam.checks import as_plain
from lightning_cam.selectors import Parts, Selector, describe, first_fitting, parts_of, pick
from lightning_cam.typing import Images, Labels, Masks, Truth

IMAGE_KEYS = ("image", "images", "img", "imgs", "pixel_values", "x", "input", "inputs", "data")
LABEL_KEYS = ("label", "labels", "target", "targets", "y", "class", "classes")
MASK_KEYS = ("mask", "masks", "segmentation", "segmentations")
FEWEST_INDICES = 8  # consecutive numbers that are no chance: of ten classes, once in 10 million batches


@dataclass(frozen=True)
class Batch:
    """The images of a user's batch, and their labels and masks where there are any: plain tensors.

    Args:
        labels: Classes (n,), whole numbers; zeros and ones (n, C) where an image may have several labels, of
            which NaN and -1 say that nobody knows; or other numbers (n,) or (n, C), floating.
    """

    images: Images
    labels: Truth | None
    masks: Masks | None

    def __post_init__(self) -> None:
        # A door: whoever reads a batch, and however, what is kept of it are plain tensors.
        for name in ("images", "labels", "masks"):
            part = getattr(self, name)
            object.__setattr__(self, name, None if part is None else as_plain(part))

    @property
    def classes(self) -> Labels | None:
        """The labels where each is one class (n,), else None."""
        is_class = self.labels is not None and self.labels.ndim == 1 and not self.labels.is_floating_point()
        return self.labels if is_class else None


def read_batch(batch: Any, images: Selector = None, labels: Selector = None, masks: Selector = None) -> Batch:
    """Images, labels and masks of a batch: tensor, tuple, dict, namedtuple or dataclass.

    Where nothing says how, a dict's or a dataclass' usual names decide, then the shapes. Images are the first
    floating (n, c, H, W), else volumes (n, c, D, H, W), else whole numbers (n, c, H, W), else floating
    signals (n, c, T) with c < T (or of any length, where they have a usual name).

    Labels are what has a usual name. What has another name never is one: it may be an index, a hospital, an
    age. Of a tuple's parts, labels are whole numbers, truth values, or floating zeros and ones, (n,) or (n,
    1), if nothing else there could be a label. Numbers that count up by ones are the images' indices.

    Masks are the first of two values, (n, H, W) or (n, 1, H, W), and likewise of the volumes' or signals'
    size; floating ones only where they have a usual name. Among several that have other names nothing is
    guessed.

    Args:
        images: A key, an index or a function of the batch; None finds them. Likewise ``labels`` and
            ``masks``. A function of the batch for labels or masks may return None: there are none.

    Raises:
        ValueError: No images; the message says what the batch holds.
    """
    parts = parts_of(batch)
    found = _find_images(parts) if images is None else pick(batch, images, "images")
    if not (isinstance(found, Tensor) and found.ndim in (3, 4, 5)):
        raise ValueError(
            f"images: no images (n, c, H, W) found in the batch, which holds {describe(batch)}; "
            f"{_way_out(batch if images is None else found)}"
        )
    others = [(name, part) for name, part in parts if part is not found]
    count = len(found)
    found_labels = (
        _find_labels(others, count, found.shape[2:]) if labels is None else pick(batch, labels, "labels")
    )
    if not (found_labels is None or _may_be_labels(found_labels, count)):
        raise ValueError(
            f"labels: got {describe(found_labels)} for {count} images; "
            f"give whole numbers of shape ({count},), or of several labels zeros and ones ({count}, C)."
        )
    return Batch(
        found.detach(),
        None if found_labels is None else _plain_labels(found_labels.detach()),
        read_masks(batch, found, masks),
    )


def read_masks(batch: Any, images: Images, masks: Selector = None) -> Masks | None:
    """The masks of these images, or None: truth values of the images' size, one for each.

    Args:
        images: The batch's, (n, c, *size), as they were found.
        masks: A key, an index or a function of the batch; None finds them. A function may return None.

    Raises:
        ValueError: What ``masks`` finds has another shape.
    """
    count, size = len(images), images.shape[2:]
    others = [part for part in parts_of(batch) if part[1] is not images]
    found = _find_masks(others, count, size) if masks is None else pick(batch, masks, "masks")
    if not (found is None or _are_masks(found, count, size)):
        raise ValueError(
            f"masks: got {describe(found)} for images {tuple(images.shape)}; "
            f"give truth values of shape {(count, *size)}."
        )
    return None if found is None else found.detach().reshape(count, *size) != 0


def _way_out(found: Any) -> str:
    """What to do about images that were not found."""
    if _is_list_of_images(found) or any(_is_list_of_images(part) for _, part in parts_of(found)):
        return (
            "a list of images, as a detector takes it, must become one tensor. For a detector, hand it a "
            "list again, and explain one number per image, such as the sum of its boxes' scores: "
            "inputs=Inputs(images=lambda batch: torch.stack([resize(image, [256, 256]) for image in "
            "batch[0]])), network=lambda module, images: torch.stack([found['scores'].sum() for found in "
            "module(list(images))]), target='predicted'; resize is torchvision.transforms.functional.resize."
        )
    return "say where they are with images=, a key, an index or a function of the batch."


def _is_list_of_images(part: Any) -> bool:
    return isinstance(part, list | tuple) and bool(part) and all(_has_rank(one, 3) for one in part)


def _find_labels(parts: Parts, count: int, size: Sequence[int]) -> Any:
    """What has a usual name; else the only part without a name that could be a label, if it surely is one."""
    named = [part for part in parts if part[0] in LABEL_KEYS]
    if named:
        kinds = [_are_classes, _are_zeros_and_ones, _may_be_labels]
        found = (first_fitting(named, LABEL_KEYS, partial(fits, count=count)) for fits in kinds)
        return next((one for one in found if one is not None), None)
    # Of signals, (n, T) truth values are masks.
    unnamed = [part for name, part in parts if not (isinstance(name, str) or _are_masks(part, count, size))]
    possible = [part for part in unnamed if _could_be_labels(part, count)]
    # Floating ones beside something else weigh the images.
    if len(possible) > 1:
        possible = [part for part in possible if not (part.is_floating_point() and bool((part == 1).all()))]
    surely = [part for part in possible if _are_classes(part, count) or _are_zeros_and_ones(part, count)]
    return surely[0] if len(possible) == len(surely) == 1 else None


def _find_masks(parts: Parts, count: int, size: Sequence[int]) -> Any:
    named = [part for part in parts if part[0] in MASK_KEYS]
    if named:
        return first_fitting(
            named, MASK_KEYS, lambda part: _are_masks(part, count, size) and _are_truth_values(part)
        )
    # Where nothing has a usual name, the first of two values; among other names the only one.
    whole = [part for _, part in parts if _are_masks(part, count, size) and not part.is_floating_point()]
    fitting = [part for part in whole if _of_two_values(part)]
    by_name = any(isinstance(name, str) for name, _ in parts)
    return fitting[0] if fitting and not (by_name and len(fitting) > 1) else None


def _are_truth_values(part: Tensor) -> bool:
    """Whole numbers, or floating zeros and ones."""
    return not part.is_floating_point() or bool(((part == 0) | (part == 1)).all())


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


def _is_numeric(part: Any, count: int) -> bool:
    return isinstance(part, Tensor) and not part.is_complex() and part.ndim in (1, 2) and len(part) == count


def _are_classes(part: Any, count: int) -> bool:
    """Whole numbers or truth values, one per image."""
    return _is_numeric(part, count) and not part.is_floating_point() and part.shape[1:] in ((), (1,))


def _are_zeros_and_ones(part: Any, count: int) -> bool:
    """Labels of a binary head, as a loss on logits wants them."""
    floating = _is_numeric(part, count) and part.is_floating_point() and part.shape[1:] in ((), (1,))
    return floating and bool(((part == 0) | (part == 1)).all())


def _are_several(part: Any, count: int) -> bool:
    """Several labels per image (n, C): zeros and ones, and -1 or NaN where nobody knows."""
    if not (_is_numeric(part, count) and part.ndim == 2 and part.shape[1] > 1):
        return False
    return bool(((part == 0) | (part == 1) | (part == -1) | (part != part)).all())


def _may_be_labels(part: Any, count: int) -> bool:
    """Whether it can be labels, if somebody says that it is."""
    if _is_numeric(part, count) and part.is_floating_point():
        return True
    return _are_classes(part, count) or _are_several(part, count)


def _could_be_labels(part: Any, count: int) -> bool:
    """Whether it looks like labels: one number per image that is no index, or several zeros and ones."""
    if not _is_numeric(part, count):
        return False
    one_each = part.shape[1:] in ((), (1,))
    return (one_each and not _counts_up(part)) or _are_several(part, count)


def _counts_up(part: Tensor) -> bool:
    """Whether whole numbers are consecutive, as the indices of images are; a few may be so by chance."""
    if len(part) < FEWEST_INDICES or part.is_floating_point() or part.dtype == torch.bool:
        return False
    return bool((part.flatten().long().diff() == 1).all())


def _plain_labels(labels: Tensor) -> Tensor:
    """Classes as long (n,), also those of a binary head that are floating; floating numbers as they are."""
    labels = labels[:, 0] if labels.shape[1:] == (1,) else labels
    is_class = not labels.is_floating_point() or _are_zeros_and_ones(labels, len(labels))
    return labels.long() if is_class else labels


def _are_masks(part: Any, count: int, size: Sequence[int]) -> bool:
    return isinstance(part, Tensor) and tuple(part.shape) in ((count, *size), (count, 1, *size))


def _of_two_values(part: Tensor) -> bool:
    return part.dtype == torch.bool or len(part.unique()) <= 2
