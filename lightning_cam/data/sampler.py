"""Which validation images become the probe: each a class and a row in ``SAMPLERS``."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from lightning_cam.checks import check_whole
from lightning_cam.data.batch import Batch
from lightning_cam.data.candidate import Candidate, candidates, probe_of
from lightning_cam.data.index_sampler import IndexSampler
from lightning_cam.data.probe import Probe
from lightning_cam.distributed import Ranks

GOLDEN_RATIO = 0x9E3779B97F4A7C15  # its fraction in 64 bits: multiples of it spread evenly


@runtime_checkable
class Sampler(Protocol):
    """Chooses the probe from batches that pass by. Nobody but the sampler itself writes into its fields.

    A validation is ``start_again``, ``offer`` once a batch, ``over`` where there are several ranks,
    ``probe``. The sanity check is a rehearsal: it
    may see only the first batches, asks for ``probe(rehearsal=True)`` and tells ``end_rehearsal``.
    """

    @property
    def size(self) -> int:
        """How many images the probe has at most."""

    @property
    def chosen(self) -> Sequence[Candidate]:
        """Those that are chosen so far; none before the first batch."""

    @property
    def skipped(self) -> int:
        """How many images of this validation could not join because their shape differs."""

    @property
    def broken(self) -> int:
        """How many could not join because they hold values that are not finite."""

    @property
    def needs_indices(self) -> bool:
        """Whether ``offer`` must be told dataset indices."""

    def anew(self) -> "Sampler":
        """Another one that is asked for the same and has seen nothing."""

    def start_again(self, dataset_size: int | None = None) -> None:
        """A validation begins: what an interrupted one left is dropped, what was rehearsed stays."""

    def offer(self, batch: Batch, indices: Sequence[int] | None = None) -> None:
        """Takes what it wants from a batch, as copies.

        Args:
            indices: The dataset index of each image; None where nobody knows.
        """

    def over(self, ranks: Ranks) -> "Sampler":
        """One that has ``chosen`` from what all ranks have; itself where there is one rank. A collective."""

    def end_rehearsal(self) -> None:
        """What was chosen so far has been looked at; offered again, it is known."""

    def probe(
        self, class_names: tuple[str, ...] | None = None, *, rehearsal: bool = False
    ) -> tuple[Probe, list[int]]:
        """The probe, and each image's serial number.

        Args:
            rehearsal: Whether a part of it, or images in its place, will do.

        Raises:
            ValueError: There is no such probe.
        """


@dataclass
class BalancedSampler:
    """Chooses a class-balanced probe from batches that pass by, by counting, without a random number.

    It holds at most ``size`` images. Once full, an image of a class with fewer images replaces the newest of
    the class with most. Where there are more classes than places, a fixed hash of the class decides, so that
    a loader sorted by class does not fill the probe with its first classes.

    Of several labels an image stands for the rarest that it has: once full, one whose rarest label has two
    images fewer replaces the newest of those whose rarest label has most. Where there is nothing to balance,
    without labels and for a regression, the first images stay.
    """

    size: int
    chosen: list[Candidate] = field(default_factory=list)
    skipped: int = 0  # of another shape
    broken: int = 0  # not finite
    serial: int = 0
    rehearsed: int = 0
    needs_indices: bool = field(default=False, init=False)

    def anew(self) -> "BalancedSampler":
        """Another one of this size that has seen nothing."""
        return BalancedSampler(self.size)

    def offer(self, batch: Batch, indices: Sequence[int] | None = None) -> None:
        """Takes what it wants from a batch, as copies; dataset indices do not matter."""
        for offered in candidates(batch, [self.serial] * len(batch.images)):
            candidate = replace(offered, serial=self.serial)
            if not self._wants(candidate):
                continue
            if not candidate.image.isfinite().all():
                self.broken += 1
            elif not self._known(candidate):
                self._take(candidate.copy())
                self.serial += 1

    def over(self, ranks: Ranks) -> "BalancedSampler":
        """One that has chosen, by the same rule, from what all ranks have chosen; a collective.

        An image that several ranks have is taken once. Only what is chosen travels, as copies on the host.
        """
        if ranks.count == 1:
            return self
        own = [replace(one, serial=one.serial * ranks.count + ranks.own) for one in self.chosen]
        shapes = ranks.together(lambda: [(one.digest, one.on("meta")) for one in own])
        seen: set[tuple[str, str]] = set()
        offered: list[Candidate] = []
        for of_rank in ranks.of_all(shapes):
            offered += [shape for digest, shape in of_rank if digest not in seen]
            seen.update(digest for digest, _ in of_rank)

        whole = self.anew()
        # The first images of all ranks come before their second ones.
        for shape in sorted(offered, key=lambda shape: shape.serial):
            if whole._wants(shape):
                whole._take(shape)
        wanted = [shape.serial for shape in whole.chosen]
        images = ranks.together(lambda: [one.on("cpu") for one in own if one.serial in wanted])
        found = {one.serial: one for of_rank in ranks.of_all(images) for one in of_rank}
        counts = ranks.of_all((self.skipped, self.broken))
        return replace(
            whole,
            chosen=[found[serial] for serial in wanted],
            skipped=whole.skipped + sum(skipped for skipped, _ in counts),
            broken=sum(broken for _, broken in counts),
        )

    def end_rehearsal(self) -> None:
        """What was chosen so far has been looked at; offered again, it is known."""
        self.rehearsed = self.serial
        self.skipped = self.broken = 0

    def start_again(self, dataset_size: int | None = None) -> None:
        """A validation begins: what an interrupted one left is dropped, what was rehearsed stays."""
        self.chosen = [candidate for candidate in self.chosen if candidate.serial < self.rehearsed]
        self.skipped = self.broken = 0

    def probe(
        self, class_names: tuple[str, ...] | None = None, *, rehearsal: bool = False
    ) -> tuple[Probe, list[int]]:
        """The probe, classes in turn, and each image's serial number."""
        rounds: Counter[int] = Counter()
        order = []
        for candidate in self.chosen:
            groups = candidate.groups or (0,)
            turn = min(rounds[group] for group in groups)
            rounds.update(groups)
            order.append((turn, groups, candidate.serial))
        in_turn = sorted(zip(order, self.chosen, strict=True), key=lambda pair: pair[0])
        return probe_of([candidate for _, candidate in in_turn], class_names)

    def _wants(self, candidate: Candidate) -> bool:
        """Whether an image would join; one whose shape is in the way is counted."""
        if self._place(candidate.groups) is None:
            return False
        fits = not self.chosen or candidate.fits(self.chosen[0])
        self.skipped += not fits
        return fits

    def _take(self, candidate: Candidate) -> None:
        """Takes an image that is wanted."""
        place = self._place(candidate.groups) or 0
        self.chosen[place:] = [*self.chosen[place + 1 :], candidate]

    def _place(self, groups: tuple[int, ...]) -> int | None:
        """Where an image of this class, or of these labels, would go: the end, the place of one that leaves,
        or nowhere.
        """
        if len(self.chosen) < self.size:
            return len(self.chosen)
        counts = Counter(group for candidate in self.chosen for group in candidate.groups)
        if not groups or not counts:
            return None
        if max(len(candidate.groups) for candidate in self.chosen) > 1 or len(groups) > 1:
            # An image stands for the rarest of its labels.
            stands = [min(counts[group] for group in candidate.groups) for candidate in self.chosen]
            place = max(range(len(stands)), key=lambda i: (stands[i], i))
            return place if stands[place] - min(counts[group] for group in groups) > 1 else None
        (label,) = groups
        most = max(counts, key=lambda known: (counts[known], _spread(known)))
        # Two fewer: the exchange balances. One fewer: it would only turn the two classes around, but for
        # classes of one image and of none, where the hash decides which of them are in the probe.
        gain = counts[most] - counts[label]
        if gain < 1 or (gain == 1 and (counts[most] > 1 or _spread(label) > _spread(most))):
            return None
        return max(i for i, candidate in enumerate(self.chosen) if candidate.groups == (most,))

    def _known(self, candidate: Candidate) -> bool:
        rehearsed = (c for c in self.chosen if c.serial < self.rehearsed and c.groups == candidate.groups)
        return any(torch.equal(known.image, candidate.image) for known in rehearsed)


SAMPLERS: dict[str, Callable[..., Sampler]] = {"balanced": BalancedSampler, "indices": IndexSampler}


def sampler_for(probe: Any) -> Sampler:
    """The sampler that ``CAMMonitor(probe=...)`` means: a number of images, dataset indices, or a sampler.

    Raises:
        TypeError: It is none of these.
        ValueError: A number below 1, or indices that cannot be used.
    """
    if isinstance(probe, Sampler):
        return probe.anew()
    if isinstance(probe, list | tuple | range | Tensor):
        return SAMPLERS["indices"](probe)
    check_whole("probe", probe, 1, "how many images to choose, a list of dataset indices, or a Probe")
    return SAMPLERS["balanced"](probe)


def _spread(label: int) -> int:
    """A fixed hash that spreads neighbouring classes."""
    return (label + 1) * GOLDEN_RATIO % 2**64
