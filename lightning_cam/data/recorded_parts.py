"""The parts of a batch as they were before a step that may write into them."""

from collections.abc import Collection
from typing import Any

import torch
from torch import Tensor

from lightning_cam.data.nested import Path, leaves

EVERY = 4  # of pixels, each way: those that tell whether a part was written into, and how it was normalized
MOST_OF_A_SIDE = 8  # places of a dense output, each way, that are kept to compare replays with
SMALLEST = 4  # pixels a side, of an image


def is_image_like(tensor: Tensor) -> bool:
    """Whether it may be images (n, c, H, W), (n, H, W, c) or volumes (n, c, D, H, W)."""
    return tensor.ndim in (4, 5) and tensor.dtype not in (torch.bool, torch.int64) and not tensor.is_complex()


def is_image(tensor: Tensor) -> bool:
    """Whether a network may take it for images."""
    return is_image_like(tensor) and min(tensor.shape[-2:]) >= SMALLEST


class BatchParts:
    """The tensors in a batch.

    Images are copied, and small parts too; long ones, such as masks, are held as they are.

    Attributes:
        batch: The batch itself.
        originals: Its tensors by place, which the step may change.
        images: By place, what was like images, as it was before the step.
        small: By place, other parts of one or two dimensions, as they were before the step.
    """

    def __init__(self, batch: Any) -> None:
        self.batch = batch
        self.originals: dict[Path, Tensor] = dict(leaves(batch))
        self._witnesses: dict[Path, Tensor] = {}
        with torch.inference_mode(False):
            self.images = {p: copied(t) for p, t in self.originals.items() if is_image_like(t)}
            if not self.images:
                self.images = {p: copied(t) for p, t in self.originals.items() if _is_listed(p, t)}
            self.small = {p: copied(t) for p, t in self.originals.items() if t.ndim <= 2}

    @property
    def count(self) -> int | None:
        """How many images the batch has: the length of its first images, else of a list of images, else what
        most parts have.
        """
        stacked = [len(tensor) for tensor in self.originals.values() if is_image_like(tensor)]
        if stacked:
            return stacked[0]
        listed = self.listed_images()
        if listed is not None:
            return sum(path[:-1] == listed for path in self.images)
        lengths = [len(tensor) for tensor in self.originals.values() if tensor.ndim]
        return max(set(lengths), key=lengths.count) if lengths else None

    def listed_images(self) -> Path | None:
        """Where a list of images (c, H, W) stands, if one does."""
        for path, tensor in self.images.items():
            if tensor.ndim == 3 and path and isinstance(path[-1], int):
                return path[:-1]
        return None

    def equal_image(self, tensor: Tensor) -> Path | None:
        """The part that is, to the last bit, these images."""
        tensor = plain(tensor)
        for path in [*self.images, *self._witnesses]:
            image = self.image_before(path)
            if image is None:
                continue
            alike = (
                image.shape == tensor.shape and image.dtype == tensor.dtype and image.device == tensor.device
            )
            if alike and torch.equal(image, tensor):
                return path
        return None

    def equal_to(self, tensor: Tensor, candidates: Collection[Path]) -> tuple[Path | None, bool]:
        """The part, among ``candidates``, that has these values, in whichever shape and dtype; and whether it
        is that part itself.
        """
        for path in candidates:
            original = self.originals[path]
            before = plain(self.small.get(path, self.images.get(path, original)))
            if before.numel() == tensor.numel() and _are_equal(before.flatten(), plain(tensor).flatten()):
                return path, original is tensor
        return None, False

    def release(self, path: Path) -> None:
        """Keeps some pixels of a part, where another copy of what the network received is kept: one batch is
        held, not two. A part that was written into stays whole.
        """
        kept = self.images.get(path)
        if kept is not None and kept.ndim > 3 and torch.equal(kept, plain(self.originals[path])):
            with torch.inference_mode(False):
                self._witnesses[path] = thinned(self.images.pop(path)).clone()

    def image_before(self, path: Path) -> Tensor | None:
        """A part's images before the step; None if the step has written into them and no copy is left."""
        witness = self._witnesses.get(path)
        if witness is None:
            return self.images.get(path)
        original = plain(self.originals[path])
        return original if torch.equal(thinned(original), witness) else None

    def pixels_before(self, path: Path) -> Tensor | None:
        """Some pixels of a part's images before the step, as :func:`thinned` chooses them."""
        if path in self._witnesses:
            return self._witnesses[path]
        return thinned(self.images[path]) if path in self.images else None


def thinned(images: Tensor) -> Tensor:
    """Every fourth pixel each way, of (n, c, H, W), (n, H, W, c) or (n, c, D, H, W)."""
    is_last = images.ndim == 4 and images.shape[-1] < SMALLEST
    return images[:, ::EVERY, ::EVERY] if is_last else images[..., ::EVERY, ::EVERY]


def _are_equal(a: Tensor, b: Tensor) -> bool:
    return bool(((a == b) | ((a != a) & (b != b))).all())  # a label that is missing may be NaN


def _is_listed(path: Path, tensor: Tensor) -> bool:
    is_in_list = bool(path) and isinstance(path[-1], int)
    return is_in_list and tensor.ndim == 3 and min(tensor.shape[-2:]) >= SMALLEST


def plain(tensor: Tensor) -> Tensor:
    """The same numbers, of torch's own class and without a graph."""
    return tensor.detach().as_subclass(Tensor)


def copied(tensor: Tensor) -> Tensor:
    """A copy of its own, of torch's own class."""
    return plain(tensor).clone()


def sampled(tensor: Tensor) -> Tensor:
    """Scores whole; of dense outputs at most 8 places each way, so that little memory is held."""
    if tensor.ndim <= 2:
        return tensor.detach()
    steps = [1, 1, *(-(-side // MOST_OF_A_SIDE) for side in tensor.shape[2:])]
    return tensor.detach()[tuple(slice(None, None, step) for step in steps)]
