"""Which images receive a cue from which: equal to plain twins; and what is made of them."""

from dataclasses import replace

import pytest
import torch
from reference import cues as book_cues
from reference import shortcut_tests as book
from support.pairs import random
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.shortcuts import pairing
from lightning_cam.shortcuts.cues import CUES
from lightning_cam.shortcuts.pairing import label_answers, pair_up, pair_up_one, swapped

UNEVEN = [2, 0, 0, 5, 2, 0, 5, 0, -1, 7, 2, 0, 5]  # one image of class 7, one that nobody knows
LABELS = [UNEVEN, [0, 1] * 8, [0] * 5, [3], list(range(6)), [label for label in range(10) for _ in range(6)]]


def rows(pairs: pairing.Pairing) -> list[tuple[int, ...]]:
    return list(zip(pairs.hosts.tolist(), pairs.own.tolist(), pairs.other.tolist(), strict=True))


@pytest.mark.parametrize("turns", [range(1), range(1, 4), range(4)], ids=str)
@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_pairs_equal_the_book(labels: list[int], turns: range) -> None:
    assert rows(pair_up(torch.tensor(labels), turns)) == book.pair_up(labels, list(turns))


@pytest.mark.parametrize("most", [0, 5, 48])
@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_pairs_of_one_class_equal_the_book(labels: list[int], most: int) -> None:
    for label in {0, 5, 9}:
        assert rows(pair_up_one(torch.tensor(labels), label, most)) == book.pair_up_one(labels, label, most)


@pytest.mark.parametrize("labels", LABELS, ids=str)
def test_donors_are_other_images_of_the_own_class_and_of_others(labels: list[int]) -> None:
    for host, own, other in rows(pair_up(torch.tensor(labels), range(4))):
        assert host != own
        assert labels[host] == labels[own] != labels[other]
        assert min(labels[host], labels[other]) >= 0


def test_turns_bring_other_donors_and_classes() -> None:
    labels = torch.arange(64) % 4
    found = pair_up(labels, range(3))
    for host in range(64):
        mine = found.hosts == host
        assert len(set(labels[found.other[mine]].tolist())) == 3
        assert len(set(found.own[mine].tolist())) == 3
    assert labels[found.other].bincount().tolist() == [48] * 4


def probe(images: Tensor, labels: Tensor, masks: Tensor | None = None) -> pairing.TestedProbe:
    return pairing.TestedProbe(images, labels, labels, masks, int(labels.max()) + 1)


def test_backgrounds_are_filled_from_the_class() -> None:
    images, labels = random(8, 2, 16, 16, seed=0), torch.tensor([0, 1, 0, 0, 1, 0, 0, 2])
    masks = random(8, 16, 16, seed=1) > 1.8
    subjects = probe(images, labels, masks)
    grown = [book_cues.grown(mask) for mask in masks.numpy()]
    assert torch.equal(subjects.objects, torch.stack([torch.from_numpy(one) for one in grown]))
    expected = [
        book_cues.filled_background(list(images.numpy()), grown, labels.tolist(), i) for i in range(8)
    ]
    assert_close(subjects.backgrounds, torch.stack([torch.from_numpy(one) for one in expected]))
    assert probe(images, labels).backgrounds is None


def test_what_is_shown_stays_in_the_probes_range_and_kind() -> None:
    images, labels = (80 * random(12, 3, 16, 16, seed=0) + 128).clamp(0, 255), torch.arange(12) % 3
    pairs = pair_up(labels, range(1))
    for given in (images, images.float(), images.to(torch.uint8)):
        subjects = probe(given, labels)
        for name in ("colour", "sharpness", "detail", "cell_0_0"):
            made = list(swapped(CUES[name], subjects, pairs.hosts, pairs.other, max_batch=5))
            assert [len(some) for _, some in made] == [5, 5, 2]
            whole = torch.cat([one for one, _ in made])
            assert whole.dtype == given.dtype
            lowest, highest = subjects.range
            assert (whole >= lowest).all()
            assert (whole <= highest).all()
            assert torch.equal(torch.cat([some for _, some in made]), pairs.hosts)


def test_answers_do_not_depend_on_how_many_are_asked_at_once() -> None:
    images, labels = random(12, 3, 16, 16, seed=0), torch.arange(12) % 3
    subjects, pairs = probe(images, labels), pair_up(labels, range(2))

    def ask(shown: Tensor, index: Tensor) -> Tensor:
        return 3 * shown.mean(dim=(2, 3)).float()

    found = [
        pairing.answers(CUES["cell_1_1"], subjects, pairs.hosts, pairs.other, ask, most)
        for most in (1, 7, 99)
    ]
    for answer, sure in found[1:]:
        assert torch.equal(answer, found[0][0])
        assert_close(sure, found[0][1])
    assert found[0][1].min() >= 1 / 3
    none = pairing.answers(CUES["cell_1_1"], subjects, pairs.hosts[:0], pairs.other[:0], ask, 5)
    assert [len(one) for one in none] == [0, 0]


def test_one_label_of_several_is_read_by_its_logit() -> None:
    subjects = replace(probe(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1])), column=1, classes=2)
    answer, sure = subjects.read(torch.tensor([[9.0, 2.0], [9.0, -2.0], [9.0, torch.nan]]))
    assert answer.tolist() == [1, 0, -1]
    assert sure[:2].tolist() == pytest.approx([0.8808, 0.8808], abs=1e-4)
    assert label_answers(torch.tensor([0.0, torch.inf])).tolist() == [0, 1]
    assert replace(
        subjects, labels=torch.tensor([-1, 1]), predicted=torch.tensor([-1, 1])
    ).right.tolist() == [
        False,
        True,
    ]
