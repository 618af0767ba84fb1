"""The classifier: equal to one that is really fitted without the image, always defined, blind to units."""

import pytest
import torch
from reference import shortcut_tests as book
from support.pairs import random
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.shortcuts.discriminant import fit

UNEVEN = [0] * 9 + [3] * 5 + [2] * 2 + [4]


def told(dims: int, labels: list[int], distance: float, seed: int = 0) -> Tensor:
    """Features of which each class has a middle of its own, in units that differ."""
    middles = random(max(labels) + 1, dims, seed=seed + 100)
    return (random(len(labels), dims, seed=seed) + distance * middles[labels]) * torch.logspace(
        -2, 2, dims
    ).double() + 5


@pytest.mark.parametrize("distance", [0.0, 1.0, 4.0])
@pytest.mark.parametrize("dims", [1, 4, 16, 17, 40])
@pytest.mark.parametrize("labels", [UNEVEN, [0, 1] * 6, [0, 1, 2, 3] * 5], ids=["uneven", "two", "four"])
def test_scores_without_the_image_equal_the_book(labels: list[int], dims: int, distance: float) -> None:
    features = told(dims, labels, distance)
    _, scores = fit(features, torch.tensor(labels), 5)
    expected = torch.tensor(book.without_itself(features.numpy(), labels, 5), dtype=torch.float64)
    assert_close(scores.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dims", [2, 8, 30])
def test_answers_are_those_of_a_classifier_that_is_made_anew(dims: int) -> None:
    """Units and shrinkage are the others' own here, so a few answers may differ."""
    labels = [0, 1, 2] * 20
    features = told(dims, labels, 1.0 if dims == 2 else 0.6)
    said = fit(features, torch.tensor(labels), 3)[1].argmax(dim=1)
    anew = torch.tensor(book.without_itself(features.numpy(), labels, 3, refit_all=True)).argmax(dim=1)
    assert (said == anew).double().mean() >= 0.95
    assert 0.4 < (said == torch.tensor(labels)).double().mean() < 1


@pytest.mark.parametrize("dims", [3, 16, 60])
def test_the_classifier_over_all_equals_the_book(dims: int) -> None:
    features = told(dims, UNEVEN, 1.0)
    classifier, _ = fit(features, torch.tensor(UNEVEN), 5)
    unit = book.units(features.numpy())
    share, level = book.shrinkage(unit, UNEVEN)
    n, present = len(UNEVEN), len(set(UNEVEN))
    expected = [book.scores(row, unit, UNEVEN, 5, share, level, n, n - present) for row in unit]
    assert_close(
        classifier.scores(features), torch.tensor(expected, dtype=torch.float64), rtol=1e-6, atol=1e-6
    )


def test_scores_of_new_images_do_not_depend_on_their_neighbours() -> None:
    features = told(5, UNEVEN, 1.0)
    classifier, _ = fit(features, torch.tensor(UNEVEN), 5)
    new = told(5, UNEVEN, 1.0, seed=3)
    assert_close(torch.cat([classifier.scores(row[None]) for row in new]), classifier.scores(new))


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
@pytest.mark.parametrize("dims", [3, 30])
def test_constant_features_say_nothing(dims: int, value: float) -> None:
    labels = torch.arange(12) % 3
    _, scores = fit(torch.full((12, dims), value), labels, 3)
    assert scores.isfinite().all()
    apart = scores.gather(1, labels[:, None]) - scores.amax(dim=1, keepdim=True)
    assert (apart < 0).all()  # the own class has lost an image, so it is the least frequent


@pytest.mark.parametrize("dims", [4, 40])
def test_some_constant_features_change_nothing(dims: int) -> None:
    features, labels = told(dims, UNEVEN, 1.0), torch.tensor(UNEVEN)
    with_constants = torch.cat([features, torch.full((len(UNEVEN), 1), 0.3)], dim=1)
    assert_close(fit(with_constants, labels, 5)[1], fit(features, labels, 5)[1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("dims", [4, 40])
def test_blind_to_units(dims: int) -> None:
    features, labels = told(dims, UNEVEN, 1.0), torch.tensor(UNEVEN)
    units = torch.logspace(-3, 4, dims).double()
    assert_close(
        fit(features * units - 3 * units, labels, 5)[1], fit(features, labels, 5)[1], rtol=1e-6, atol=1e-6
    )


def test_a_code_without_any_spread_within_classes_is_told() -> None:
    labels = torch.arange(30) % 3
    assert torch.equal(fit(labels[:, None].double(), labels, 3)[1].argmax(dim=1), labels)
    few, many = 3 * random(30, 3, seed=0), 3 * random(300, 3, seed=0)
    for noise in (few @ random(3, 20, seed=1), many @ random(3, 200, seed=1)):  # neighbours go together
        labels = torch.arange(len(noise)) % 3
        features = torch.cat([noise, 9.0 * labels[:, None]], dim=1)
        assert torch.equal(fit(features, labels, 3)[1].argmax(dim=1), labels)


@pytest.mark.parametrize("dims", [2, 20])
def test_one_image_of_each_class_is_told_of_none(dims: int) -> None:
    labels = torch.arange(6)
    _, scores = fit(random(6, dims, seed=0), labels, 6)
    assert not scores.isnan().any()
    assert (scores.argmax(dim=1) != labels).all()
    assert (scores.diagonal() == -torch.inf).all()


def test_classes_that_are_missing_are_never_said() -> None:
    labels = torch.tensor([0, 2] * 8)
    classifier, scores = fit(told(4, labels.tolist(), 1.0), labels, 1000)
    for found in (scores, classifier.scores(random(3, 4, seed=1))):
        assert (found.isfinite().sum(dim=1) == 2).all()
        assert found[:, [0, 2]].isfinite().all()


def test_float32_and_float64_agree_and_inputs_stay() -> None:
    features, labels = told(6, UNEVEN, 1.0), torch.tensor(UNEVEN)
    before = features.clone()
    assert_close(fit(features.float(), labels, 5)[1], fit(features, labels, 5)[1], rtol=1e-3, atol=1e-3)
    assert torch.equal(features, before)
