"""Who wins: counts, dominance, effect and p-values, equal to their plain twins and to numbers made by hand."""

import math
from dataclasses import replace
from fractions import Fraction

import pytest
import torch
from reference import cues as book

from lightning_cam.shortcuts.counts import (
    Counts,
    binomial_tail,
    conflicts,
    holm,
    label_answers,
    label_flags,
    tally,
)

COUNTS = [(9, 1, 2), (30, 10, 5), (0, 7, 3), (5, 0, 0), (0, 0, 4), (0, 0, 0), (210, 90, 60)]
SHARES = [Fraction(1, 2), Fraction(1, 3)]


@pytest.mark.parametrize("flips", [0.0, 0.25])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_shares_equal_the_book(counts, classes, flips):
    found = Counts(*counts, wins=0, votes=0, classes=classes, flips=flips)
    assert found.pairs == sum(counts)
    assert found.dominance == pytest.approx(book.dominance(*counts[:2]), nan_ok=True)
    assert found.effect == pytest.approx(book.effect(*counts, classes, flips), nan_ok=True)


@pytest.mark.parametrize("share", SHARES, ids=str)
@pytest.mark.parametrize("votes", [0, 1, 2, 9, 40, 1000])
def test_p_values_equal_the_book(votes, share):
    for wins in {0, 1, votes // 3, votes // 2, votes} - ({1} if votes == 0 else set()):
        found = Counts(wins, votes - wins, 0, wins, votes, classes=3, null=float(share))
        assert found.p_value == pytest.approx(book.binomial_tail(wins, votes, share), rel=1e-9)
        assert found.p_value == binomial_tail(wins, votes, float(share))


@pytest.mark.parametrize("seed", range(20))
def test_tally_equals_the_book(seed):
    generator = torch.Generator().manual_seed(seed)
    voters = torch.randint(3, 12, (seed,), generator=generator)
    hosts = voters % 3
    donors = (hosts + torch.randint(1, 3, (seed,), generator=generator)) % 3
    predicted = torch.randint(0, 3, (seed,), generator=generator)
    found = tally(predicted, hosts, donors, voters, classes=3, null=0.25)
    wins, votes = book.votes(predicted.tolist(), hosts.tolist(), donors.tolist(), voters.tolist())
    assert (found.wins, found.votes, found.classes, found.null) == (wins, votes, 3, 0.25)
    assert found.donor == sum(answer == donor for answer, donor in zip(predicted, donors, strict=True))
    assert found.host == sum(answer == host for answer, host in zip(predicted, hosts, strict=True))
    assert found.pairs == seed


def test_numbers_made_by_hand():
    found = Counts(donor=9, host=1, third=2, wins=9, votes=10, classes=4)
    assert found.dominance == 0.9
    assert found.effect == pytest.approx(9 / 12 - 1 / 12)
    assert found.p_value == pytest.approx(11 / 1024)  # nine or ten heads of ten
    assert replace(found, null=1 / 3).p_value == pytest.approx((10 * 2 + 1) / 3**10)


def test_pairs_that_share_an_image_have_one_vote():
    predicted, hosts, donors = (
        torch.tensor([1, 1, 0, 1, 0, 2, 2, 2]),
        torch.zeros(8).long(),
        torch.tensor([1, 1, 1, 1, 1, 1, 2, 1]),
    )
    voters = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3])
    found = tally(predicted, hosts, donors, voters, classes=3)
    # Image 0: two of three; 1: a draw; 2: a third class, then the donor's; 3: a third class alone.
    assert (found.donor, found.host, found.third, found.wins, found.votes) == (4, 2, 2, 2, 2)
    twice = tally(*(part.repeat(2) for part in (predicted, hosts, donors, voters)), classes=3)
    assert (twice.wins, twice.votes, twice.p_value) == (found.wins, found.votes, found.p_value)


def test_of_two_classes_shams_say_what_chance_is():
    found = Counts(6, 4, 0, 6, 10, classes=2)
    assert replace(found, flips=0.1).effect == pytest.approx(0.5)
    assert replace(found, flips=0.6).effect == pytest.approx(0.0)
    assert replace(found, classes=3, flips=0.6).effect == pytest.approx(0.6)


def test_nothing_shown_says_nothing():
    nothing = tally(*torch.zeros(4, 0).long(), classes=2)
    assert nothing == Counts(0, 0, 0, 0, 0, classes=2)
    assert math.isnan(nothing.dominance)
    assert math.isnan(nothing.effect)
    assert nothing.p_value == 1.0
    assert not nothing.holds(0.0)


@pytest.mark.parametrize(
    ("counts", "options", "p_value", "holds"),
    [
        ((9, 1), {}, 0.01, True),
        ((9, 1), {}, 0.011, False),  # not sure enough
        ((5, 5), {}, 0.0, False),  # half is no majority
        ((5, 5), {"null": 1 / 3}, 0.0, True),  # but more than a third
        ((9, 1), {"flips": 0.85}, 0.0, False),  # shams do nearly the same
    ],
)
def test_the_rule(counts, options, p_value, holds):
    assert Counts(*counts, 0, counts[0], sum(counts), classes=2, **options).holds(p_value) == holds


@pytest.mark.parametrize(
    "p_values", [[], [0.2], [0.01, 0.04, 0.03, 0.005], [0.5, 0.5, 0.001, 0.001], [1.0, 0.0, 0.3]], ids=str
)
def test_holm_equals_the_book(p_values):
    assert holm(p_values) == pytest.approx(book.holm(p_values))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_keeps_the_order_and_never_lowers():
    p_values = (
        torch.rand(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        .pow(4)
        .sort()
        .values.tolist()
    )
    adjusted = holm(p_values)
    assert adjusted == sorted(adjusted)
    assert all(before <= after <= 1 for before, after in zip(p_values, adjusted, strict=True))


def test_labels_that_are_not_known_are_marked():
    given = torch.tensor([[0.0, 1.0, torch.nan], [1.0, -1.0, 0.0]])
    assert label_flags(given).tolist() == [[0, 1, -1], [1, -1, 0]]
    assert label_flags(torch.tensor([[True, False]])).tolist() == [[1, 0]]


def test_the_sign_of_a_logit_answers_a_label():
    answers, sure = label_answers(torch.tensor([[2.0, -2.0, 0.0, torch.nan, torch.inf]]))
    assert answers.tolist() == [[1, 0, 0, -1, 1]]
    one = 1 / (1 + math.exp(-2))
    assert sure[0].tolist() == pytest.approx([one, one, 0.5, math.nan, 1.0], nan_ok=True)


def test_a_conflict_needs_two_known_labels_that_differ_and_a_host_that_is_right():
    labels = torch.tensor([[0, 0, 1], [1, -1, 1], [1, 1, 0]])
    right = torch.tensor([[True, True, False], [True, False, True], [False, True, True]])
    hosts, donors = torch.tensor([0, 0, 1, 2]), torch.tensor([1, 2, 2, 0])
    assert conflicts(labels, right, hosts, donors).tolist() == [
        [True, False, False],  # not known of the donor; alike
        [True, True, False],  # answered wrongly
        [False, False, True],  # alike; not known of the host, so not right
        [False, True, True],  # answered wrongly
    ]
