"""Images that may become part of the probe."""

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_cam.data.batch import Batch
from lightning_cam.data.probe import Probe

NOTHING = -1  # an image that has none of several labels


@dataclass(frozen=True, eq=False)
class Candidate:
    """An image that may become part of the probe.

    Args:
        serial: By which the rehearsal knows it again; below zero for one that only stands in.
        label: Its class; of several labels, or of a regression, its numbers; None where nobody knows.
        groups: What it counts for where the probe is balanced: its class, or each label that it has,
            ``NOTHING`` where it has none of them. Empty where there is nothing to balance.
    """

    serial: int
    label: int | float | tuple[float, ...] | None
    image: Tensor
    mask: Tensor | None
    groups: tuple[int, ...] = ()

    def fits(self, other: "Candidate") -> bool:
        """Whether both can stand in one batch."""
        return (self.image.shape, self.label is None, self.mask is None) == (
            other.image.shape,
            other.label is None,
            other.mask is None,
        )

    def copy(self) -> "Candidate":
        """The same with tensors of its own: the user's step may change the batch, and inference tensors serve
        no later training.
        """
        with torch.inference_mode(False):
            mask = None if self.mask is None else self.mask.clone()
            return replace(self, image=self.image.clone(), mask=mask)

    def on(self, device: str) -> "Candidate":
        """The same on another device; on "meta" its shapes alone."""
        with torch.inference_mode(False):
            mask = None if self.mask is None else self.mask.to(device)
            return replace(self, image=self.image.to(device), mask=mask)

    @property
    def digest(self) -> tuple[str, str]:
        """What is the same of an image that two processes have."""
        exact = self.image.detach().cpu().contiguous().view(torch.uint8).numpy().tobytes()
        return hashlib.sha256(exact).hexdigest(), str(self.label)


def candidates(batch: Batch, serials: Iterable[int]) -> list[Candidate]:
    """A batch's images as candidates, without a copy."""
    # One wait for the device, not one an image.
    labels = [None] * len(batch.images) if batch.labels is None else batch.labels.tolist()
    masks = [None] * len(batch.images) if batch.masks is None else batch.masks
    rows = [tuple(label) if isinstance(label, list) else label for label in labels]
    groups = groups_of(rows)
    return [Candidate(*one) for one in zip(serials, rows, batch.images, masks, groups, strict=False)]


def groups_of(labels: Sequence[int | float | tuple[float, ...] | None]) -> list[tuple[int, ...]]:
    """What each image of a batch counts for, as ``Candidate`` has it.

    Rows of zeros and ones, and of what is not known (NaN, or -1), are several labels; other rows are numbers.
    """
    rows = [label for label in labels if isinstance(label, tuple)]
    are_flags = all(value in (0, 1, -1) or math.isnan(value) for row in rows for value in row)
    found: list[tuple[int, ...]] = []
    for label in labels:
        present = [i for i, value in enumerate(label) if value == 1] if isinstance(label, tuple) else []
        if isinstance(label, int):
            found.append((label,))
        else:
            found.append(tuple(present or [NOTHING]) if isinstance(label, tuple) and are_flags else ())
    return found


def probe_of(chosen: Sequence[Candidate], class_names: tuple[str, ...] | None) -> tuple[Probe, list[int]]:
    """Candidates as a probe, and their serial numbers."""
    device = chosen[0].image.device
    with torch.inference_mode(False):  # under validate(), what is made would serve no later training
        labels = None if chosen[0].label is None else torch.tensor([c.label for c in chosen], device=device)
        masks = (
            None if chosen[0].mask is None else torch.stack([c.mask for c in chosen if c.mask is not None])
        )
        probe = Probe(torch.stack([c.image for c in chosen]), labels, masks, class_names)
    return probe, [candidate.serial for candidate in chosen]
