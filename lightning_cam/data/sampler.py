"""Which validation images become the probe: chosen while they pass by, by counting, without a random
number.
"""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from lightning_cam.data.batch import Reading
from lightning_cam.data.probe import Probe

GOLDEN_RATIO = 0x9E3779B97F4A7C15  # its fraction in 64 bits: multiples of it spread evenly


@dataclass
class Collector:
    """Chooses a class-balanced probe from batches that pass by, by counting, without a random number.

    It holds at most ``size`` images. Once full, an image of a class with fewer images replaces the newest of
    the class with most. Where there are more classes than places, a fixed hash of the class decides, so that
    a loader sorted by class does not fill the probe with its first classes.
    """

    size: int
    chosen: list["_Candidate"] = field(default_factory=list)
    skipped: int = 0  # of another shape
    broken: int = 0  # not finite
    serial: int = 0
    rehearsed: int = 0

    def offer(self, reading: Reading) -> None:
        """Takes what it wants from a batch, as copies."""
        count = len(reading.images)
        labels = [0] * count if reading.labels is None else reading.labels.tolist()
        for i, label in enumerate(labels):
            place = self._place(label)
            if place is None:
                continue
            mask = None if reading.masks is None else reading.masks[i]
            candidate = _Candidate(
                self.serial, None if reading.labels is None else label, reading.images[i], mask
            )
            if self.chosen and not candidate.fits(self.chosen[0]):
                self.skipped += 1
            elif not candidate.image.isfinite().all():
                self.broken += 1
            elif not self._known(candidate):
                self.chosen[place:] = [*self.chosen[place + 1 :], candidate.copy()]
                self.serial += 1

    def end_rehearsal(self) -> None:
        """What was chosen so far has been looked at; offered again, it is known."""
        self.rehearsed = self.serial
        self.skipped = self.broken = 0

    def start_again(self) -> None:
        """A validation begins: what an interrupted one left is dropped, what was rehearsed stays."""
        self.chosen = [candidate for candidate in self.chosen if candidate.serial < self.rehearsed]
        self.skipped = self.broken = 0

    def probe(self, class_names: tuple[str, ...] | None = None) -> tuple[Probe, list[int]]:
        """The probe, classes in turn, and each image's serial number."""
        rounds: dict[int | None, int] = {}
        order = []
        for candidate in self.chosen:
            rounds[candidate.label] = rounds.get(candidate.label, -1) + 1
            order.append((rounds[candidate.label], candidate.label or 0, candidate.serial))
        chosen = [
            candidate
            for _, candidate in sorted(zip(order, self.chosen, strict=True), key=lambda pair: pair[0])
        ]
        with torch.inference_mode(False):  # under validate(), what is made would serve no later training
            labels = (
                None
                if chosen[0].label is None
                else torch.tensor([c.label for c in chosen], device=chosen[0].image.device)
            )
            masks = (
                None
                if chosen[0].mask is None
                else torch.stack([c.mask for c in chosen if c.mask is not None])
            )
            probe = Probe(torch.stack([c.image for c in chosen]), labels, masks, class_names)
        return probe, [candidate.serial for candidate in chosen]

    def _place(self, label: int) -> int | None:
        """Where an image of this class would go: the end, the place of one that leaves, or nowhere."""
        if len(self.chosen) < self.size:
            return len(self.chosen)
        counts: dict[int, int] = {}
        for candidate in self.chosen:
            counts[candidate.label or 0] = counts.get(candidate.label or 0, 0) + 1
        most = max(counts, key=lambda known: (counts[known], _spread(known)))
        gain = counts[most] - counts.get(label, 0)
        if gain < 1 or (gain == 1 and (counts[most] > 1 or _spread(label) > _spread(most))):
            return None
        return max(i for i, candidate in enumerate(self.chosen) if (candidate.label or 0) == most)

    def _known(self, candidate: "_Candidate") -> bool:
        rehearsed = (c for c in self.chosen if c.serial < self.rehearsed and c.label == candidate.label)
        return any(torch.equal(known.image, candidate.image) for known in rehearsed)


@dataclass(frozen=True, eq=False)
class _Candidate:
    serial: int
    label: int | None
    image: Tensor
    mask: Tensor | None

    def fits(self, other: "_Candidate") -> bool:
        """Whether both can stand in one batch."""
        return (self.image.shape, self.label is None, self.mask is None) == (
            other.image.shape,
            other.label is None,
            other.mask is None,
        )

    def copy(self) -> "_Candidate":
        """The same with tensors of its own: the user's step may change the batch, and inference tensors serve
        no later training.
        """
        with torch.inference_mode(False):
            return replace(
                self, image=self.image.clone(), mask=None if self.mask is None else self.mask.clone()
            )


def _spread(label: int) -> int:
    """A fixed hash that spreads neighbouring classes."""
    return (label + 1) * GOLDEN_RATIO % 2**64
