"""A probe of the images that the user names by their dataset index."""

from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any

from torch import Tensor

from lightning_cam.data.batch import Batch
from lightning_cam.data.candidate import Candidate, candidates, probe_of
from lightning_cam.data.probe import Probe
from lightning_cam.distributed import Ranks
from lightning_cam.selectors import describe


class IndexSampler:
    """Takes the images of the given dataset indices, in their order. Its serial numbers are these indices.

    An image that is asked for by its index and cannot be had is an error; none is left out in silence. Until
    one of them has passed, the first images that come stand in for the rehearsal.

    Args:
        indices: Whole numbers from 0, each once, as the loader's dataset counts.

    Raises:
        TypeError: Not whole numbers.
        ValueError: None at all, a negative one, or one twice.
    """

    skipped = broken = 0
    needs_indices = True

    def __init__(self, indices: Iterable[int]) -> None:
        self.indices = _checked(indices)
        self._taken: dict[int, Candidate] = {}
        self._refused: dict[int, str] = {}  # why an image that passed cannot join, in words
        self._stand_ins: list[Candidate] = []
        self._rehearsed: frozenset[int] = frozenset()
        self._dataset_size: int | None = None

    @property
    def size(self) -> int:
        """How many indices there are."""
        return len(self.indices)

    @property
    def chosen(self) -> list[Candidate]:
        """The images that have passed, in the order of the indices; stand-ins until there is one."""
        return [self._taken[i] for i in self.indices if i in self._taken] or self._stand_ins

    def anew(self) -> "IndexSampler":
        """Another one for the same indices that has seen nothing."""
        return IndexSampler(self.indices)

    def start_again(self, dataset_size: int | None = None) -> None:
        """A validation begins: what an interrupted one left is dropped, what was rehearsed stays.

        Raises:
            ValueError: An index lies outside the dataset.
        """
        for index in self.indices:
            if dataset_size is not None and index >= dataset_size:
                raise ValueError(
                    f"probe: got index {index} for a dataset of {dataset_size} images; "
                    f"use 0 to {dataset_size - 1}."
                )
        self._dataset_size = dataset_size
        self._taken = {i: taken for i, taken in self._taken.items() if i in self._rehearsed}
        self._refused, self._stand_ins = {}, []

    def offer(self, batch: Batch, indices: Sequence[int] | None = None) -> None:
        """Takes the images that are wanted, as copies.

        Raises:
            ValueError: Nobody knows the indices.
        """
        if indices is None:
            raise ValueError("probe: got dataset indices, but the loader does not tell them; give a Probe.")
        wanted = set(self.indices) - self._taken.keys()
        if wanted.intersection(indices):
            for candidate in candidates(batch, indices):
                if candidate.serial in wanted:
                    self._take(candidate)
        if not self._taken and not self._stand_ins:
            first = candidates(batch, range(-1, -1 - self.size, -1))
            self._stand_ins = [one.copy() for one in first if one.image.isfinite().all()]

    def over(self, ranks: Ranks) -> "IndexSampler":
        """Itself, with what all ranks have taken: each sees only its share of the indices. A collective."""
        if ranks.count > 1:
            self._taken = ranks.together(lambda: {i: one.on("cpu") for i, one in self._taken.items()})
            for of_rank in ranks.of_all(list(self._taken.values())):
                for candidate in of_rank:
                    self._take(candidate)
        return self

    def end_rehearsal(self) -> None:
        """What was chosen so far has been looked at, and stays."""
        self._rehearsed = frozenset(self._taken)

    def probe(
        self, class_names: tuple[str, ...] | None = None, *, rehearsal: bool = False
    ) -> tuple[Probe, list[int]]:
        """The probe in the order of the indices, and these.

        Raises:
            ValueError: An image cannot join, or, unless this is the rehearsal, has not passed.
        """
        for index, reason in self._refused.items():
            raise ValueError(f"probe: image {index} {reason}; name another, or mend the data.")
        missing = [index for index in self.indices if index not in self._taken]
        if missing and not (rehearsal and self.chosen):
            size = "" if self._dataset_size is None else f" of {self._dataset_size} images"
            raise ValueError(
                f"probe: image {missing[0]} of the dataset{size} was not among those that this validation "
                "delivered; raise limit_val_batches, or name images that come earlier."
            )
        return probe_of(self.chosen, class_names)

    def _take(self, candidate: Candidate) -> None:
        """Keeps a copy, or the reason why it cannot join the others."""
        others = next(iter(self._taken.values()), candidate)
        if not candidate.image.isfinite().all():
            self._refused[candidate.serial] = "holds values that are not finite (NaN or inf)"
        elif not candidate.fits(others):
            self._refused[candidate.serial] = (
                f"{tuple(candidate.image.shape)} differs from image {others.serial}, "
                f"{tuple(others.image.shape)}, in shape or in what is known of it"
            )
        elif candidate.serial not in self._taken:
            self._taken[candidate.serial] = candidate.copy()


def _checked(indices: Any) -> tuple[int, ...]:
    remedy = "give dataset indices, whole numbers from 0, each once"
    if isinstance(indices, Tensor):
        if indices.ndim != 1:
            raise ValueError(f"probe: got {describe(indices)}; {remedy}.")
        indices = indices.tolist()
    found: dict[int, None] = {}
    for index in indices:
        if isinstance(index, bool) or not isinstance(index, Integral):
            raise TypeError(f"probe: got {index!r} among the indices; {remedy}.")
        if index < 0:
            raise ValueError(f"probe: got the index {index}; {remedy}.")
        if index in found:
            raise ValueError(f"probe: got the index {index} twice; {remedy}.")
        found[int(index)] = None
    if not found:
        raise ValueError(f"probe: got no indices; {remedy}.")
    return tuple(found)
