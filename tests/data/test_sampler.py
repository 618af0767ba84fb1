"""How the images of the probe are chosen."""

import random
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from support.images import SIZES, noise
from support.threads import on_ranks
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.data.batch import Batch
from lightning_cam.data.probe import Probe
from lightning_cam.data.sampler import BalancedSampler
from lightning_cam.distributed import Ranks


def stream(labels: list[int] | Tensor, batch: int = 7, size: tuple[int, int] = (2, 2)) -> Iterator[Batch]:
    """Batches of these classes; each image holds its number, so that one knows it again."""
    labels = torch.as_tensor(labels)
    images = torch.arange(len(labels)).float().reshape(-1, 1, 1, 1).expand(-1, 3, *size).contiguous()
    for part in torch.arange(len(labels)).split(batch):
        yield Batch(images[part], labels[part], None)


def collected(size: int, readings: Iterator[Batch]) -> BalancedSampler:
    collector = BalancedSampler(size)
    for reading in readings:
        collector.offer(reading)
        assert len(collector.chosen) <= size
    return collector


def numbers(probe: Probe) -> list[int]:
    return probe.images[:, 0, 0, 0].int().tolist()


def shuffled(labels: list[int], seed: int) -> list[int]:
    return torch.tensor(labels)[
        torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    ].tolist()


def fair(available: Counter[int], size: int) -> list[int]:
    """Counts per class, sorted, when one image after another goes to the class with the fewest that still has some."""
    given: Counter[int] = Counter()
    for _ in range(min(size, available.total())):
        given[
            min(
                (label for label in available if given[label] < available[label]),
                key=lambda label: given[label],
            )
        ] += 1
    return sorted(given.values())


DATA = {
    "two classes": [0] * 50 + [1] * 50,
    "ten classes": [label for label in range(10) for _ in range(20)],
    "some are rare": [0] * 60 + [1] * 2 + [2] * 30 + [3] * 5,
    "one is common": [5] * 90 + [7] * 3,
    "one class": [4] * 40,
    "fewer images than places": [0, 0, 0, 1, 2],
    "as many images as places": [0] * 10 + [1] * 6,
    "labels far apart": [10**9] * 30 + [-1] * 30 + [0] * 30,
}


@pytest.mark.parametrize("labels", DATA.values(), ids=DATA.keys())
@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled 1", "shuffled 2", "shuffled 3"])
def test_classes_are_balanced(labels: list[int], order: str) -> None:
    offered = {"sorted": sorted(labels), "reversed": sorted(labels, reverse=True)}.get(order) or shuffled(
        labels, int(order[-1])
    )
    probe, _ = collected(16, stream(offered)).probe()
    assert sorted(Counter(probe.labels.tolist()).values()) == fair(Counter(labels), 16)
    assert [offered[number] for number in numbers(probe)] == probe.labels.tolist()
    assert len(set(numbers(probe))) == len(probe)


@pytest.mark.parametrize("order", ["sorted", "shuffled"])
@pytest.mark.parametrize("classes", [17, 100, 1000])
def test_more_classes_than_places_are_spread(order: str, classes: int) -> None:
    labels = [label for label in range(classes) for _ in range(3)]
    probe, _ = collected(16, stream(labels if order == "sorted" else shuffled(labels, 0), batch=64)).probe()
    chosen = probe.labels.tolist()
    assert len(set(chosen)) == 16
    if classes > 17:
        quarters = Counter(4 * label // classes for label in chosen)
        assert all(quarters[quarter] >= 2 for quarter in range(4)), f"{chosen} are not spread"


def test_which_classes_are_chosen_does_not_depend_on_the_order() -> None:
    labels = [label for label in range(100) for _ in range(3)]
    probes = [collected(8, stream(shuffled(labels, seed))).probe()[0] for seed in range(3)]
    assert len({tuple(sorted(probe.labels.tolist())) for probe in probes}) == 1


def test_the_first_images_of_a_class_are_kept() -> None:
    probe, _ = collected(4, stream([0] * 20 + [1] * 20)).probe()
    assert sorted(numbers(probe)) == [0, 1, 20, 21]


# How often each of four labels is in an image, and how many images there are of a kind.
KINDS = {
    "one label each": {(0,): 60, (1,): 20, (2,): 9, (3,): 9},
    "a common label in all": {(0,): 60, (0, 1): 20, (0, 2): 5, (0, 1, 3): 3},
    "most have none": {(): 80, (0,): 5, (1, 2): 5, (3,): 4},
    "a rare one": {(0, 1): 50, (1, 2): 40, (3,): 1},
    "all in all": {(0, 1, 2, 3): 40},
}


@pytest.mark.parametrize("kinds", KINDS.values(), ids=KINDS.keys())
@pytest.mark.parametrize("order", ["sorted", "reversed", "shuffled 1", "shuffled 2", "shuffled 3"])
def test_several_labels_are_balanced(kinds: dict[tuple[int, ...], int], order: str) -> None:
    """Each label has its fair share of the places, or all the images that there are of it."""
    kept = [kind for kind, count in kinds.items() for _ in range(count)]
    offered = {"sorted": kept, "reversed": kept[::-1]}.get(order) or [
        kept[i] for i in shuffled(list(range(len(kept))), int(order[-1]))
    ]
    labels = torch.tensor([[float(label in kind) for label in range(4)] for kind in offered])
    probe, _ = collected(16, stream(labels)).probe()
    assert len(probe) == 16
    assert [offered[number] for number in numbers(probe)] == [
        tuple(row.nonzero()[:, 0].tolist()) for row in probe.labels
    ]
    groups = {label for kind in kinds for label in (kind or (-1,))}
    for group in groups:
        available = sum(count for kind, count in kinds.items() if group in (kind or (-1,)))
        chosen = sum(group in (offered[number] or (-1,)) for number in numbers(probe))
        assert chosen >= min(available, 16 // len(groups) - 1), f"{group}: {chosen} of {available}"


def test_the_first_images_show_every_label() -> None:
    labels = torch.tensor([[1.0, 0.0, 0.0]] * 6 + [[1.0, 1.0, 0.0]] * 3 + [[0.0, 0.0, 1.0]] * 3)
    probe, _ = collected(12, stream(labels)).probe()
    assert (probe.labels[:3].amax(dim=0) == 1).all()


@pytest.mark.parametrize("labels", [torch.rand(40), torch.rand(40, 2), None], ids=["numbers", "rows", "none"])
def test_where_there_is_nothing_to_balance_the_first_images_stay(labels: Tensor | None) -> None:
    collector = BalancedSampler(5)
    for reading in stream(torch.arange(40) if labels is None else labels):
        collector.offer(Batch(reading.images, None if labels is None else reading.labels, None))
    probe, _ = collector.probe()
    assert numbers(probe) == [0, 1, 2, 3, 4]
    if labels is not None:
        assert_close(probe.labels, labels[:5])


def test_images_without_labels() -> None:
    collector = BalancedSampler(5)
    for reading in stream(range(20)):
        collector.offer(Batch(reading.images, None, None))
    probe, serials = collector.probe(("a",))
    assert (numbers(probe), serials, probe.labels, probe.class_names) == (
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4],
        None,
        ("a",),
    )


def test_masks_come_along() -> None:
    collector = BalancedSampler(4)
    for reading in stream([0] * 10 + [1] * 10):
        collector.offer(Batch(reading.images, reading.labels, reading.images[:, 0] % 2 == 1))
    probe, _ = collector.probe()
    assert probe.masks.flatten(1).all(dim=1).tolist() == [number % 2 == 1 for number in numbers(probe)]
    assert set(numbers(probe)) == {0, 1, 10, 11}


def test_classes_are_in_turn() -> None:
    probe, serials = collected(7, stream([2] * 20 + [0] * 20 + [1] * 20)).probe()
    assert probe.labels.tolist() == [0, 1, 2, 0, 1, 2, probe.labels[6]]
    assert len(set(serials)) == 7
    for label in range(3):
        ours = [
            number
            for number, known in zip(numbers(probe), probe.labels.tolist(), strict=True)
            if known == label
        ]
        assert ours == sorted(ours), "within a class, in the order of the loader"


def test_images_of_another_shape_are_counted() -> None:
    collector = BalancedSampler(6)
    for size in ((2, 2), (3, 2), (2, 2), (2, 3)):
        for reading in stream([0, 1], size=size):
            collector.offer(reading)
    assert collector.skipped == 4
    probe, _ = collector.probe()
    assert probe.images.shape == (4, 3, 2, 2)


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_signals_and_volumes_are_collected(size: tuple[int, ...]) -> None:
    images, labels = noise(12, size=size), torch.arange(12) % 2
    collector = BalancedSampler(20)
    collector.offer(Batch(images, labels, images[:, 0] > 0.5))
    collector.offer(Batch(noise(2), labels[:2], noise(2)[:, 0] > 0.5))
    assert collector.skipped == 2
    probe, serials = collector.probe()
    assert serials == list(range(12))
    assert_close(probe.images, images)
    assert_close(probe.masks, images[:, 0] > 0.5)


def test_images_that_lost_their_labels_or_masks_are_counted() -> None:
    collector = BalancedSampler(8)
    (reading,) = stream([0, 1])
    for other in (
        reading,
        Batch(reading.images, None, None),
        Batch(reading.images, reading.labels, reading.images[:, 0] > 0),
    ):
        collector.offer(other)
    assert collector.skipped == 4
    assert len(collector.probe()[0]) == 2


def test_what_is_kept_are_copies() -> None:
    collector = BalancedSampler(4)
    for reading in stream([0, 1, 0, 1]):
        masks = torch.ones(len(reading.images), 2, 2, dtype=torch.bool)
        collector.offer(Batch(reading.images, reading.labels, masks))
        for part in (reading.images, reading.labels, masks):
            part.zero_()
    probe, _ = collector.probe()
    assert numbers(probe) == [0, 1, 2, 3]
    assert probe.labels.tolist() == [0, 1, 0, 1]
    assert probe.masks.all()


def test_a_copy_does_not_keep_its_batch_in_memory() -> None:
    collector = collected(4, stream([0] * 7))
    assert all(
        candidate.image.untyped_storage().nbytes() == candidate.image.nbytes for candidate in collector.chosen
    )


@pytest.mark.usefixtures("unchecked")  # beartype itself draws random numbers
def test_no_random_number_is_used() -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    collected(5, stream(list(range(30)) * 2)).probe()
    assert_close(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert all(np.array_equal(now, then) for now, then in zip(np.random.get_state(), before[2], strict=True))


def test_rehearsed_images_are_not_taken_twice() -> None:
    labels = [0] * 20 + [1] * 20
    collector = BalancedSampler(8)
    for i, reading in enumerate(stream(labels, batch=4)):
        if i < 1:
            collector.offer(reading)
    rehearsed, serials = collector.probe()
    collector.end_rehearsal()
    for reading in stream(labels, batch=4):
        collector.offer(reading)
    probe, later = collector.probe()
    assert sorted(numbers(probe)) == [0, 1, 2, 3, 20, 21, 22, 23]
    assert numbers(rehearsed) == [0, 1, 2, 3]
    # An image keeps its serial number, by which the look at the untrained model is found again.
    known = dict(zip(numbers(rehearsed), serials, strict=True))
    assert all(
        dict(zip(numbers(probe), later, strict=True))[number] == serial for number, serial in known.items()
    )


@pytest.mark.parametrize("rehearsed", [[0], [1], [0, 1, 2], [2, 0]], ids=str)
@pytest.mark.parametrize("labelled", [True, False])
def test_rehearsed_images_are_not_taken_twice_where_there_is_room(
    rehearsed: list[int], labelled: bool
) -> None:
    """A shuffled loader rehearses other images than it begins with."""
    readings = [
        Batch(part.images, part.labels if labelled else None, None) for part in stream([0, 1, 1] * 4, batch=4)
    ]
    collector = BalancedSampler(20)
    for i in rehearsed:
        collector.offer(readings[i])
    collector.end_rehearsal()
    for reading in readings:
        collector.offer(reading)
    assert sorted(numbers(collector.probe()[0])) == list(range(12))


def test_equal_images_of_a_dataset_may_both_be_taken() -> None:
    collector = BalancedSampler(4)
    (reading,) = stream([0, 0])
    collector.offer(Batch(reading.images[:1].expand(2, -1, -1, -1), reading.labels, None))
    assert len(collector.probe()[0]) == 2


def test_one_place() -> None:
    probe, _ = collected(1, stream([0] * 5 + [1] * 5)).probe()
    assert len(probe) == 1


# --- several ranks


def over(count: int, size: int, share: Callable[[int], Iterator[Batch]]) -> tuple[Probe, list[int]]:
    """The probe that all ranks choose together, which is the same on each."""

    def together(ranks: Ranks) -> tuple[Probe, list[int]]:
        return collected(size, share(ranks.own)).over(ranks).probe()

    (first, serials), *others = on_ranks(count, together)
    for other, known in others:
        assert_close(other.images, first.images, rtol=0, atol=0)
        assert known == serials
    assert len(set(serials)) == len(serials) == len(first)
    return first, serials


def shares(labels: list[int], count: int) -> Callable[[int], Iterator[Batch]]:
    """Every ``count``-th image, as Lightning's sampler divides a dataset."""
    whole = [(batch.images, batch.labels) for batch in stream(labels, batch=1)]

    def share(own: int) -> Iterator[Batch]:
        for image, label in whole[own::count]:
            yield Batch(image, label, None)

    return share


@pytest.mark.parametrize("labels", DATA.values(), ids=DATA.keys())
@pytest.mark.parametrize("count", [2, 3])
@pytest.mark.parametrize("order", ["as they are", "shuffled"])
def test_the_images_of_all_ranks_are_balanced(labels: list[int], count: int, order: str) -> None:
    offered = shuffled(labels, 1) if order == "shuffled" else labels
    probe, _ = over(count, 16, shares(offered, count))
    assert sorted(Counter(probe.labels.tolist()).values()) == fair(Counter(labels), 16)
    assert [offered[number] for number in numbers(probe)] == probe.labels.tolist()
    assert len(set(numbers(probe))) == len(probe)


def test_a_class_that_one_rank_alone_has_is_in_the_probe() -> None:
    probe, _ = over(3, 9, lambda own: stream([own] * 20))
    assert Counter(probe.labels.tolist()) == {0: 3, 1: 3, 2: 3}


def test_an_image_that_all_ranks_have_is_taken_once() -> None:
    """A loader without a distributed sampler gives each rank the same images."""
    alone, _ = collected(9, stream([0, 1, 2] * 10)).probe()
    probe, _ = over(2, 9, lambda own: stream([0, 1, 2] * 10))
    assert sorted(numbers(probe)) == sorted(numbers(alone))
    # The same image twice on one rank are two, as they are for one process.
    doubled = Batch(torch.ones(4, 3, 2, 2), torch.tensor([0, 0, 1, 1]), None)
    assert len(over(2, 4, lambda own: iter([doubled]))[0]) == 4


def test_images_of_another_shape_or_not_finite_are_counted_over_all_ranks() -> None:
    def share(own: int) -> Iterator[Batch]:
        yield from stream([0, 1] * 4, size=(2, 2 + own))
        yield Batch(torch.full((3, 3, 2, 2 + own), torch.nan), torch.tensor([5, 6, 7]), None)

    def together(ranks: Ranks) -> tuple[int, int, int]:
        found = collected(32, share(ranks.own)).over(ranks)
        return len(found.chosen), found.skipped, found.broken

    assert on_ranks(2, together) == [(8, 8, 6)] * 2


def test_what_was_rehearsed_is_known_again_on_all_ranks() -> None:
    def together(ranks: Ranks) -> tuple[list[int], list[int]]:
        sampler = BalancedSampler(8)
        for batch in stream([ranks.own] * 4):
            sampler.offer(batch)
        _, rehearsed = sampler.over(ranks).probe()
        sampler.end_rehearsal()
        sampler.start_again()
        for batch in stream([ranks.own] * 4 + [2 + ranks.own] * 4):
            sampler.offer(batch)
        _, serials = sampler.over(ranks).probe()
        return rehearsed, serials

    for rehearsed, serials in on_ranks(2, together):
        assert sorted(rehearsed) == list(range(8))
        assert sorted(set(serials) & set(rehearsed)) == [0, 1, 2, 3], "two of each class of theirs stay"


def test_a_rank_without_images_takes_part() -> None:
    probe, _ = over(2, 4, lambda own: stream([0, 1] * (0 if own else 4)))
    assert Counter(probe.labels.tolist()) == {0: 2, 1: 2}
