"""Images that may become part of the probe."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lightning_cam.data.batch import Batch
from lightning_cam.data.probe import Probe


@dataclass(frozen=True, eq=False)
class Candidate:
    """An image that may become part of the probe.

    Args:
        serial: By which the rehearsal knows it again; below zero for one that only stands in.
    """

    serial: int
    label: int | None
    image: Tensor
    mask: Tensor | None

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


def candidates(batch: Batch, serials: Iterable[int]) -> list[Candidate]:
    """A batch's images as candidates, without a copy."""
    # One wait for the device, not one an image.
    labels = [None] * len(batch.images) if batch.labels is None else batch.labels.tolist()
    masks = [None] * len(batch.images) if batch.masks is None else batch.masks
    return [Candidate(*one) for one in zip(serials, labels, batch.images, masks, strict=False)]


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
