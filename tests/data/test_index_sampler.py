"""A probe of the images that are named by their dataset index, from real loaders."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from support.threads import on_ranks
from torch import Tensor
from torch.utils.data import DataLoader, DistributedSampler, TensorDataset

from lightning_cam.data.batch import Batch
from lightning_cam.data.candidate import Candidate, candidates, probe_of
from lightning_cam.data.dataset import dataset_size, known_places
from lightning_cam.data.index_sampler import IndexSampler
from lightning_cam.data.sampler import SAMPLERS, BalancedSampler, Sampler, sampler_for
from lightning_cam.distributed import Ranks

COUNT = 23


def images(count: int = COUNT) -> Tensor:
    """Image i is i everywhere."""
    return torch.arange(count, dtype=torch.float32)[:, None, None, None].expand(count, 1, 2, 2).clone()


def loader(count: int = COUNT, **options: Any) -> DataLoader:
    data = TensorDataset(images(count), torch.arange(count) % 3)
    return DataLoader(data, **{"batch_size": 4, **options})


def watch(sampler: Sampler, batches: Any, most: int | None = None) -> Sampler:
    """One validation of a loader, or of its first batches."""
    place, seen = known_places(batches), 0
    sampler.start_again(dataset_size(batches))
    for number, (some, labels) in enumerate(batches):
        if number == most:
            break
        indices = [place(seen + i) for i in range(len(some))]
        sampler.offer(Batch(some, labels, None), indices)
        seen += len(some)
    return sampler


def numbers(sampler: Sampler, **options: Any) -> list[int]:
    probe, _ = sampler.probe(**options)
    return probe.images[:, 0, 0, 0].int().tolist()


@pytest.mark.parametrize("wanted", [[3, 17, 22], [22, 0, 9], [5], list(range(COUNT))[::-1]])
@pytest.mark.parametrize("batch_size", [1, 4, 7, 23, 50])
def test_the_images_in_the_given_order(wanted: list[int], batch_size: int) -> None:
    probe, serials = watch(IndexSampler(wanted), loader(batch_size=batch_size)).probe(("a", "b", "c"))
    assert probe.images[:, 0, 0, 0].tolist() == wanted
    assert probe.labels.tolist() == [i % 3 for i in wanted]
    assert probe.class_names == ("a", "b", "c")
    assert serials == wanted


def test_what_drop_last_leaves_out_is_missing() -> None:
    sampler = watch(IndexSampler([0, 21, 22]), loader(drop_last=True))
    message = "probe: image 21 of the dataset of 23 images was not among those .* raise limit_val_batches"
    with pytest.raises(ValueError, match=message):
        sampler.probe()
    assert numbers(watch(IndexSampler([0, 19]), loader(drop_last=True))) == [0, 19]


def test_the_first_missing_one_is_named() -> None:
    with pytest.raises(ValueError, match="probe: image 17 of the dataset of 23 images was not among"):
        watch(IndexSampler([3, 17, 22]), loader(), most=2).probe()


def test_an_index_outside_the_dataset_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="probe: got index 23 for a dataset of 23 images; use 0 to 22"):
        watch(IndexSampler([3, 23]), loader())


def test_a_loader_that_tells_no_indices() -> None:
    with pytest.raises(ValueError, match="probe: got dataset indices, but the loader does not tell them"):
        IndexSampler([3]).offer(Batch(images(), None, None), None)


@pytest.mark.parametrize(
    ("indices", "error", "message"),
    [
        ([3, 17, 3], ValueError, "probe: got the index 3 twice; give dataset indices"),
        ([3, -1], ValueError, "probe: got the index -1; give dataset indices, whole numbers from 0"),
        ([3, True], TypeError, "probe: got True among the indices; give dataset indices"),
        ([3, 1.0], TypeError, "probe: got 1.0 among the indices"),
        (["3"], TypeError, "probe: got '3' among the indices"),
        ([], ValueError, "probe: got no indices"),
        (torch.rand(3), TypeError, r"probe: got 0\.\d+ among the indices"),
        (torch.zeros(2, 2).long(), ValueError, r"probe: got an int64 tensor \(2, 2\); give dataset indices"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_indices_that_cannot_be_used(indices: Any, error: type[Exception], message: str) -> None:
    for make in (IndexSampler, sampler_for):
        with pytest.raises(error, match=message):
            make(indices)


@pytest.mark.parametrize("indices", [range(2, 5), (2, 3, 4), torch.arange(2, 5), list(np.arange(2, 5))])
@pytest.mark.usefixtures("unchecked")
def test_forms_of_indices(indices: Any) -> None:
    sampler = sampler_for(indices)
    assert isinstance(sampler, IndexSampler)
    assert sampler.indices == (2, 3, 4)
    assert sampler.size == 3


def test_a_rehearsal_takes_what_has_passed() -> None:
    sampler = watch(IndexSampler([17, 3, 1]), loader(), most=1)
    assert numbers(sampler, rehearsal=True) == [3, 1]
    assert sampler.probe(rehearsal=True)[1] == [3, 1]
    with pytest.raises(ValueError, match="probe: image 17 of the dataset"):
        sampler.probe()
    sampler.end_rehearsal()
    kept = {candidate.serial: candidate.image for candidate in sampler.chosen}
    _, serials = watch(sampler, loader()).probe()
    assert serials == [17, 3, 1]
    assert all(candidate.image is kept[candidate.serial] for candidate in sampler.chosen[1:]), "still known"


def test_a_rehearsal_without_any_of_them_takes_others() -> None:
    sampler = watch(IndexSampler([17, 20]), loader(), most=1)
    probe, serials = sampler.probe(rehearsal=True)
    assert probe.images[:, 0, 0, 0].tolist() == [0, 1], "as many as are asked for"
    assert all(serial < 0 for serial in serials), "none is known as one of the probe's"
    sampler.end_rehearsal()
    assert watch(sampler, loader()).probe()[1] == [17, 20]


def test_nothing_passed() -> None:
    sampler = IndexSampler([17])
    assert not sampler.chosen
    with pytest.raises(ValueError, match="probe: image 17 of the dataset was not among"):
        sampler.probe(rehearsal=True)


def test_an_interrupted_validation_leaves_nothing() -> None:
    sampler = watch(IndexSampler([1, 17]), loader(), most=2)
    assert [candidate.serial for candidate in sampler.chosen] == [1]
    sampler.start_again(COUNT)
    assert not sampler.chosen


def test_another_one_has_seen_nothing() -> None:
    sampler = watch(IndexSampler([1, 2]), loader())
    assert sampler.anew().indices == (1, 2)
    assert not sampler.anew().chosen
    assert len(sampler.chosen) == 2
    assert numbers(copy.deepcopy(sampler)) == [1, 2]


def test_images_are_copies() -> None:
    some = images(4)
    sampler = IndexSampler([2])
    sampler.offer(Batch(some, None, None), [0, 1, 2, 3])
    some.zero_()
    assert numbers(sampler) == [2]


def test_inference_tensors_become_plain() -> None:
    with torch.inference_mode():
        sampler = watch(IndexSampler([2, 1]), loader())
        probe, _ = sampler.probe()
    assert not probe.images.is_inference()
    assert not probe.labels.is_inference()


def test_an_image_that_is_not_finite_is_no_silent_gap() -> None:
    data = images()
    data[17] = torch.nan
    batches = DataLoader(TensorDataset(data, torch.zeros(COUNT).long()), batch_size=5)
    sampler = watch(IndexSampler([3, 17]), batches)
    for rehearsal in (False, True):
        with pytest.raises(
            ValueError, match=r"probe: image 17 holds values that are not finite .* name another"
        ):
            sampler.probe(rehearsal=rehearsal)
    assert numbers(watch(IndexSampler([3, 16]), batches)) == [3, 16]


def test_an_image_of_another_shape_is_no_silent_gap() -> None:
    sampler = IndexSampler([0, 1])
    sampler.offer(Batch(images(1), None, None), [0])
    sampler.offer(Batch(torch.ones(1, 1, 3, 2), None, None), [1])
    with pytest.raises(ValueError, match=r"probe: image 1 \(1, 3, 2\) differs from image 0, \(1, 2, 2\)"):
        sampler.probe()


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_put_together_what_each_has_seen(world: int) -> None:
    wanted = [17, 3, 22, 4]

    def together(ranks: Ranks) -> list[int]:
        own = DistributedSampler(range(COUNT), world, ranks.own, shuffle=False)
        sampler = watch(IndexSampler(wanted), loader(sampler=own))
        assert len(sampler.chosen) < len(wanted)
        return numbers(sampler.over(ranks))

    assert on_ranks(world, together) == [wanted] * world


def test_stand_ins_of_other_ranks_are_not_taken() -> None:
    def together(ranks: Ranks) -> list[int]:
        sampler = watch(IndexSampler([11]), loader(), most=2 if ranks.own else None)
        assert [one.serial for one in sampler.chosen] == ([-1] if ranks.own else [11])
        return numbers(sampler.over(ranks))

    assert on_ranks(2, together) == [[11], [11]]


# ---- the table of samplers, and what a user's own row needs


class FirstOfEach:
    """A user's own: the first image of each class, by the protocol alone."""

    needs_indices = False
    skipped = broken = 0

    def __init__(self, size: int) -> None:
        self.size, self._found = size, {}

    @property
    def chosen(self) -> list[Candidate]:
        return list(self._found.values())

    def anew(self) -> "FirstOfEach":
        return FirstOfEach(self.size)

    def start_again(self, dataset_size: int | None = None) -> None:
        self._found = {}

    def offer(self, batch: Batch, indices: Sequence[int] | None = None) -> None:
        for candidate in candidates(batch, range(len(batch.images))):
            self._found.setdefault(candidate.label, candidate.copy())

    def over(self, ranks: Ranks) -> "FirstOfEach":
        return self

    def end_rehearsal(self) -> None:
        pass

    def probe(self, class_names: Any = None, *, rehearsal: bool = False) -> Any:
        return probe_of(self.chosen[: self.size], class_names)


@pytest.mark.parametrize("name", SAMPLERS)
def test_rows_keep_to_the_protocol(name: str) -> None:
    argument = {"balanced": 3, "indices": [3, 17, 22]}[name]
    sampler = SAMPLERS[name](argument)
    assert isinstance(sampler, Sampler)
    assert sampler.size == 3
    assert not sampler.chosen
    probe, serials = watch(sampler, loader()).probe()
    assert len(probe) == len(serials) == len(sampler.chosen) == 3
    assert not sampler.anew().chosen
    assert isinstance(sampler_for(argument), type(sampler))


def test_a_users_own_sampler() -> None:
    own = FirstOfEach(2)
    assert isinstance(own, Sampler)
    sampler = sampler_for(own)
    assert isinstance(sampler, FirstOfEach)
    assert sampler is not own
    assert numbers(watch(sampler, loader())) == [0, 1]


def test_a_number_is_a_balanced_probe() -> None:
    assert isinstance(sampler_for(5), BalancedSampler)
    assert sampler_for(5).size == 5


@pytest.mark.parametrize(
    ("probe", "error", "message"),
    [
        (0, ValueError, "probe: got 0; give at least 1"),
        (
            True,
            TypeError,
            "probe: got True; give a whole number, how many images .* dataset indices, or a Probe",
        ),
        ("all", TypeError, "probe: got 'all'; give a whole number"),
        (None, TypeError, "probe: got a NoneType; give a whole number"),
    ],
)
def test_what_is_no_sampler(probe: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        sampler_for(probe)
