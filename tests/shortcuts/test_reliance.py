"""Reliance, excess and classes: equal to plain twins, and to numbers made by hand."""

import pytest
import torch
from reference import shortcut_tests as book
from torch import Tensor

from lightning_cam.shortcuts.pairing import Pairing, pair_up, pair_up_one
from lightning_cam.shortcuts.reliance import NOTHING, Reliance, Swaps, by_class, reliance

LABELS = [[0, 1, 2] * 8, [0] * 20 + [1] * 3 + [4] * 6, [0, 1] * 5, [2, 2, 0, 1, 1, 1, -1, 0]]


def swaps(pairs: Pairing, classes: int, follow: float, seed: int, labels: Tensor) -> Swaps:
    """Answers: mostly right with the own class' cue, and with another's its class at a share of the time."""
    generator = torch.Generator().manual_seed(seed)
    count = len(pairs.hosts)
    luck, noise = torch.rand(2, count, generator=generator)
    anything = torch.randint(classes, (count,), generator=generator)
    truth, given = labels[pairs.hosts], labels[pairs.other]
    other = torch.where(luck < follow, given, torch.where(noise < 0.8, truth, anything))
    own = torch.where(noise.flip(0) < 0.8, truth, anything.flip(0))
    return Swaps(pairs, own, other, luck)


def rows(pairs: Pairing) -> list[tuple[int, int, int]]:
    return list(zip(pairs.hosts.tolist(), pairs.own.tolist(), pairs.other.tolist(), strict=True))


@pytest.mark.parametrize("follow", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("turns", [range(1), range(4)], ids=str)
@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_equals_the_book(labels: list[int], turns: range, follow: float) -> None:
    known = torch.tensor(labels)
    for seed, pairs in enumerate((pair_up(known, turns), pair_up_one(known, 1, 48))):
        given = swaps(pairs, 5, follow, seed, known)
        for classes in (2, 5):
            found = reliance(given, known, classes)
            expected = book.reliance(rows(pairs), given.own.tolist(), given.other.tolist(), labels, classes)
            assert (found.with_own, found.with_other, found.z, found.excess, found.images) == pytest.approx(
                expected
            )
        parts = by_class(given, known)
        wanted = book.by_class(rows(pairs), given.own.tolist(), given.other.tolist(), labels)
        assert parts.keys() == wanted.keys()
        for label, pair in wanted.items():
            assert parts[label] == pytest.approx(pair)


def test_numbers_made_by_hand() -> None:
    labels = torch.tensor([0, 0, 0, 0, 1, 1])
    pairs = pair_up(labels, range(1))
    found = reliance(Swaps(pairs, labels[pairs.hosts], labels[pairs.other], torch.ones(6)), labels, 3)
    assert (found.with_own, found.with_other, found.points, found.images) == (1, 0, 1, 6)
    assert found.excess == pytest.approx(0.5)  # all follow; of errors at random each second would
    half = torch.tensor([0, 0, 1, 1, 1, 1])  # what the four of class 0 answer, and the two of class 1
    found = reliance(Swaps(pairs, labels[pairs.hosts], half, torch.ones(6)), labels, 2)
    assert found.points == pytest.approx((2 / 4 + 0 / 2) / 2)  # the smaller class counts as much


def test_what_a_swap_destroys_is_in_both_and_cancels() -> None:
    labels = torch.arange(30) % 3
    pairs = pair_up(labels, range(2))
    broken = torch.zeros(60, dtype=torch.int64)
    found = reliance(Swaps(pairs, broken, broken, torch.ones(60)), labels, 3)
    assert (found.points, found.z) == (0, 0)
    assert found.excess == pytest.approx(0)


def test_more_donors_of_the_same_images_are_no_more_images() -> None:
    labels = torch.arange(12) % 3
    pairs = pair_up(labels, range(1))
    once = swaps(pairs, 3, 0.5, 0, labels)
    one, two = reliance(once, labels, 3), reliance(once + once, labels, 3)
    assert two == pytest.approx(one) if isinstance(two, float) else two == one


def test_nothing_and_one_image() -> None:
    labels = torch.tensor([0, 1])
    none = torch.zeros(0, dtype=torch.int64)
    assert reliance(Swaps(Pairing(none, none, none), none, none, torch.zeros(0)), labels, 2) == NOTHING
    one = torch.tensor([0])
    found = reliance(Swaps(Pairing(one, one, one + 1), one, one + 1, torch.ones(1)), labels, 2)
    assert found == Reliance(1.0, 0.0, 0.0, 0.0, 1)
