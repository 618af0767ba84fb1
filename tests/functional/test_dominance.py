"""Who wins: counts, dominance, effect and p-values, equal to their plain twins and to numbers made by hand."""

import math

import cues_by_the_book as book
import pytest
import torch

from lightning_cam.functional.dominance import Tally, binomial_tail, holm, tally

COUNTS = [(9, 1, 2), (30, 10, 5), (0, 7, 3), (5, 0, 0), (0, 0, 4), (0, 0, 0), (210, 90, 60)]


@pytest.mark.parametrize("flips", [0.0, 0.25])
@pytest.mark.parametrize("classes", [2, 3, 10])
@pytest.mark.parametrize("units", [0, 1, 7, 10, 12, 1000])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_equals_the_book(counts, units, classes, flips):
    found = Tally(*counts, units=units, classes=classes, flips=flips)
    assert found.pairs == sum(counts)
    assert found.dominance == pytest.approx(book.dominance(*counts[:2]), nan_ok=True)
    assert found.effect == pytest.approx(book.effect(*counts, classes, flips), nan_ok=True)
    assert found.p_value == pytest.approx(book.p_value(*counts, units), rel=1e-9)


@pytest.mark.parametrize("trials", [0, 1, 2, 9, 40, 1000])
def test_binomial_tail_equals_the_book(trials):
    for wins in {0, 1, trials // 3, trials // 2, trials}:
        assert binomial_tail(wins, trials) == pytest.approx(book.binomial_tail(wins, trials), rel=1e-9)


def test_numbers_made_by_hand():
    found = Tally(donor=9, host=1, third=2, units=12, classes=4)
    assert found.dominance == 0.9
    assert found.effect == pytest.approx(9 / 12 - 1 / 12)
    assert found.p_value == pytest.approx(11 / 1024)  # nine or ten heads of ten


def test_pairs_that_share_an_image_count_once():
    assert Tally(16, 4, 0, units=10, classes=2).p_value == pytest.approx(56 / 1024)  # eight or more heads of ten
    assert Tally(16, 4, 0, units=20, classes=2).p_value == Tally(16, 4, 0, units=99, classes=2).p_value
    p_values = [Tally(16, 4, 0, units=units, classes=2).p_value for units in (5, 10, 15, 20)]
    assert p_values == sorted(p_values, reverse=True)


def test_of_two_classes_shams_say_what_chance_is():
    assert Tally(6, 4, 0, units=10, classes=2, flips=0.1).effect == pytest.approx(0.5)
    assert Tally(6, 4, 0, units=10, classes=2, flips=0.6).effect == pytest.approx(0.0)
    assert Tally(6, 4, 0, units=10, classes=3, flips=0.6).effect == pytest.approx(0.6)


def test_nothing_shown_says_nothing():
    nothing = Tally(0, 0, 0, units=0, classes=2)
    assert math.isnan(nothing.dominance)
    assert math.isnan(nothing.effect)
    assert nothing.p_value == 1.0
    assert not nothing.holds(0.0)


@pytest.mark.parametrize(
    ("counts", "flips", "p_value", "holds"),
    [
        ((9, 1), 0.0, 0.01, True),
        ((9, 1), 0.0, 0.011, False),  # not sure enough
        ((5, 5), 0.0, 0.0, False),  # half is no majority
        ((9, 1), 0.85, 0.0, False),  # shams do nearly the same
    ],
)
def test_the_rule(counts, flips, p_value, holds):
    assert Tally(*counts, 0, units=10, classes=2, flips=flips).holds(p_value) == holds


def test_counts_answers():
    predicted, hosts, donors = torch.tensor([[0, 1, 2, 1, 1], [0, 0, 0, 0, 2], [1, 1, 1, 1, 1]])
    assert tally(predicted, hosts, donors, 4, 3, 0.5) == Tally(donor=3, host=1, third=1, units=4, classes=3, flips=0.5)


@pytest.mark.parametrize("p_values", [[], [0.2], [0.01, 0.04, 0.03, 0.005], [0.5, 0.5, 0.001, 0.001], [1.0, 0.0, 0.3]], ids=str)
def test_holm_equals_the_book(p_values):
    assert holm(p_values) == pytest.approx(book.holm(p_values))


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_holm_keeps_the_order_and_never_lowers():
    p_values = torch.rand(30, generator=torch.Generator().manual_seed(0), dtype=torch.float64).pow(4).sort().values.tolist()
    adjusted = holm(p_values)
    assert adjusted == sorted(adjusted)
    assert all(before <= after <= 1 for before, after in zip(p_values, adjusted, strict=True))
