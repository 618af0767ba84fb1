"""What is taken from validation batches that pass by: the probe's images, and features of cues."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from lightning_cam.callbacks.cue_sample import CueSample
from lightning_cam.callbacks.lightning import Trainer
from lightning_cam.callbacks.observation import Observation
from lightning_cam.callbacks.settings import Settings
from lightning_cam.checks import Normalization
from lightning_cam.data.batch import Batch
from lightning_cam.data.dataset import (
    class_names,
    dataset_size,
    known_places,
    names_note,
    normalization,
    nth_loader,
)
from lightning_cam.data.history import Look
from lightning_cam.data.probe import Probe
from lightning_cam.data.sampler import sampler_for
from lightning_cam.distributed import Ranks


@dataclass(frozen=True)
class LoaderFacts:
    """What the watched validation loader tells.

    Args:
        length: Its batches on this rank; None where nobody knows.
        class_names: One name per class, or None.
        normalization: Mean and standard deviation, as the user or the dataset's transforms have it; None:
            unknown.
        batch_size: Images of each of its batches but the last; None where it does not tell.
        dataset_size: How many images its dataset holds; None where it does not tell.
        dataset: The dataset itself, or the loader where it has none.
        note: What the user should know of them; "" where there is nothing.
        place: The dataset index of the p-th image that it gives on this rank; None where nothing tells it.
    """

    length: int | None
    class_names: tuple[str, ...] | None
    normalization: Normalization | None
    batch_size: int | None = None
    dataset_size: int | None = None
    dataset: Any = None
    note: str = ""
    place: Callable[[int], int] | None = None


def read_loader(trainer: Trainer, settings: Settings, needs_indices: bool) -> LoaderFacts:
    """What the watched loader tells; no loader and no dataset is iterated.

    Args:
        needs_indices: Whether the probe is given by dataset indices.

    Raises:
        ValueError: There is no such loader, or it does not tell in which order it gives its dataset's images.
    """
    lengths = trainer.num_sanity_val_batches if trainer.sanity_checking else trainer.num_val_batches
    number = settings.inputs.dataloader_idx
    if number >= len(lengths):
        raise ValueError(
            f"dataloader_idx: got {number} for {len(lengths)} validation loaders; they count from 0."
        )
    loader, length = nth_loader(trainer.val_dataloaders, number), lengths[number]
    return LoaderFacts(
        length=None if length in (float("inf"), 0) else int(length),
        class_names=settings.names or class_names(loader),
        normalization=normalization(loader) if settings.reads_normalization else settings.known_normalization,
        batch_size=getattr(loader, "batch_size", None),
        dataset_size=dataset_size(loader),
        dataset=getattr(loader, "dataset", loader),
        note="" if settings.names else names_note(loader),
        place=known_places(loader) if needs_indices else None,
    )


class Collection:
    """What one fit takes from its validations.

    Args:
        settings: How many images the probe has, which cues are tested.
        observation: Reads batches.
        warn: Tells the user a note, each once.
    """

    def __init__(self, settings: Settings, observation: Observation, warn: Callable[[str], None]) -> None:
        self._observation = observation
        probe = settings.probe
        self._sampler = sampler_for(len(probe) if isinstance(probe, Probe) else probe)
        self._whole = self._sampler  # with what all ranks have, once asked
        self.cues = CueSample(settings.cues, warn)
        # serial numbers of its images, and the look at them
        self._rehearsed: tuple[list[int], Look] | None = None
        self._passed = 0  # images of this validation, on this rank
        self._facts: LoaderFacts | None = None  # of this validation
        self.batch_size: int | None = None  # of the validation, once seen

    @property
    def needs_indices(self) -> bool:
        """Whether the probe is given by dataset indices."""
        return self._sampler.needs_indices

    def begin(self, facts: LoaderFacts, *, needs_probe: bool, wants_features: bool) -> None:
        """A validation begins.

        Args:
            wants_features: Whether it is a whole one of a fit, from which features of cues can be taken.

        Raises:
            ValueError: An index of the probe lies outside the dataset.
        """
        self._passed, self._facts = 0, facts
        if needs_probe:
            self._sampler.start_again(facts.dataset_size)
        if wants_features:
            self.cues.begin()

    def begin_batch(self, batch: Any, probe: Probe | None) -> None:
        """Takes what is wanted of a batch before the user's step can change it; of the first batch of a fit
        the step is observed instead.

        Raises:
            ValueError: The batch cannot be read.
        """
        is_wanted = probe is None or self.batch_size is None or self.cues.is_taking
        if self._observation.begin_batch(is_wanted=is_wanted):
            return
        if is_wanted:
            self._take(self._observation.read(batch), probe)
        else:
            self._observation.release()

    def end_batch(self, probe: Probe | None) -> None:
        """Takes what is wanted of the batch whose step was observed.

        Raises:
            ValueError: The batch cannot be read.
        """
        self._take(self._observation.end_batch(), probe)

    def _take(self, found: Batch | None, probe: Probe | None) -> None:
        if found is None:
            return
        count = len(found.images)
        self.batch_size = max(self.batch_size or 1, count)
        if probe is None:
            self._sampler.offer(found, self._indices(count))
        self._passed += count
        self.cues.take(found, self._observation.task)

    def share_batch_size(self, ranks: Ranks) -> int:
        """The smallest batch size of all ranks; a collective."""
        self.batch_size = -ranks.largest(-(self.batch_size or 16))[0]
        return self.batch_size

    def candidates(
        self, ranks: Ranks, names: tuple[str, ...] | None, *, rehearsal: bool
    ) -> tuple[Probe, list[int]]:
        """What is chosen so far of all ranks' images, on the host, and their serial numbers, by which the
        rehearsal knows them.

        A collective, which fails together.

        Args:
            rehearsal: Whether a part of the probe will do.

        Raises:
            ValueError: There are no images, or one that was asked for by its index is missing.
        """
        self._whole = self._sampler.over(ranks)
        return ranks.from_zero(lambda: self._chosen(names, rehearsal))

    def _chosen(self, names: tuple[str, ...] | None, rehearsal: bool) -> tuple[Probe, list[int]]:
        if not self._whole.chosen:
            if self._whole.broken:
                raise ValueError(
                    f"images: all {self._whole.broken} hold values that are not finite (NaN or inf); "
                    "mend the data."
                )
            raise ValueError(
                "dataloader_idx: this validation loader gave no batch; name one that holds images."
            )
        probe, serials = self._whole.probe(names, rehearsal=rehearsal)
        return probe.to("cpu"), serials  # the device's memory is the training's

    def rehearse(self, untrained: Look, serials: list[int]) -> None:
        """Keeps the look at the untrained model, at images that may become part of the probe."""
        self._rehearsed = serials, untrained
        self._sampler.end_rehearsal()

    def end_choice(self, serials: Sequence[int]) -> tuple[Look | None, list[str]]:
        """The probe is chosen: what the rehearsal saw of it, None where it saw none, and notes for the
        user.
        """
        known, untrained = self._rehearsed or ([], None)
        rows = torch.tensor([known.index(serial) if serial in known else -1 for serial in serials])
        self._rehearsed = None
        seen = untrained.of(rows) if untrained is not None and (rows >= 0).any() else None
        notes = []
        if self._whole.skipped:
            notes.append(
                f"{self._whole.skipped} images differ in shape from the first one and cannot join the probe"
            )
        if self._whole.broken:
            notes.append(
                f"{self._whole.broken} images hold values that are not finite (NaN or inf) "
                "and cannot join the probe"
            )
        return seen, notes

    def _indices(self, count: int) -> list[int] | None:
        """The dataset indices of the next so many images; None where nothing tells them.

        Raises:
            ValueError: Batches hold other numbers of images than the loader takes from its dataset.
        """
        facts = self._facts
        if facts is None or facts.place is None:
            return None
        each = facts.batch_size
        # A batch that is not full is the last one, so before it all were full.
        if each is not None and (count > each or self._passed % each):
            raise ValueError(
                f"probe: got dataset indices, but a batch holds {count} images where the loader takes {each} "
                "items from its dataset, so positions tell no index; give a Probe."
            )
        return [facts.place(self._passed + i) for i in range(count)]
