"""What data tell of the label: equal to plain twins, and to numbers known beforehand."""

import math

import pytest
import torch
from support.parts import SIZES, random
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.shortcuts.predictivity import OFFERS, border, colour, corners, kappa, label_skill

# --- how well features tell the label


def book_skill(features: list[list[float]], labels: list[int]) -> float:
    rows = [(row, label) for row, label in zip(features, labels, strict=True) if labels.count(label) > 1]
    classes = sorted({label for _, label in rows})
    if len(classes) < 2:
        return math.nan
    dimensions = range(len(rows[0][0]))

    def mean(some: list[list[float]]) -> list[float]:
        return [sum(row[d] for row in some) / len(some) for d in dimensions]

    means = {label: mean([row for row, own in rows if own == label]) for label in classes}
    variances = [
        sum((row[d] - means[own][d]) ** 2 for row, own in rows) / (len(rows) - len(classes))
        for d in dimensions
    ]
    recalls = []
    for label in classes:
        right = 0
        for place, (row, own) in enumerate(rows):
            if own != label:
                continue
            distances = {}
            for other in classes:
                some = [others for i, (others, whose) in enumerate(rows) if whose == other and i != place]
                middle = mean(some)
                squares = [(row[d] - middle[d]) ** 2 / variances[d] - 1 / len(some) for d in dimensions]
                distances[other] = sum(squares)
            right += min(classes, key=lambda other: distances[other]) == own
        recalls.append(right / sum(own == label for _, own in rows))
    return (sum(recalls) / len(classes) - 1 / len(classes)) / (1 - 1 / len(classes))


@pytest.mark.parametrize("distance", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("dimensions", [1, 5, 30])
def test_skill_equals_the_book(dimensions: int, distance: float) -> None:
    labels = torch.tensor([0] * 9 + [3] * 5 + [7] * 2 + [8])
    features = random(17, dimensions) * 5 + distance * 5 * labels[:, None] / 8
    assert label_skill(features, labels) == pytest.approx(
        book_skill(features.tolist(), labels.tolist()), abs=1e-9
    )


def test_noise_is_no_skill_however_uneven_the_classes() -> None:
    labels = (torch.arange(60) % 10 == 0).long()
    found = [label_skill(random(60, 12, seed=seed), labels) for seed in range(100)]
    assert abs(sum(found) / len(found)) < 0.1  # always the frequent class: 90 % right, and no skill


def test_a_code_is_perfect_skill() -> None:
    labels = torch.arange(40) % 4
    assert label_skill(random(40, 20) + 20 * labels[:, None], labels) == 1
    assert (
        label_skill(torch.cat([random(40, 20), labels[:, None]], dim=1), labels) == 1
    )  # no spread within any class


def test_skill_is_blind_to_units() -> None:
    labels = torch.arange(30) % 3
    features = random(30, 4) + 0.7 * labels[:, None]
    units = torch.tensor([1e-3, 1.0, 50.0, 1e4])
    assert 0 < label_skill(features, labels) < 1
    assert label_skill(features * units + 3 * units, labels) == pytest.approx(label_skill(features, labels))


@pytest.mark.parametrize("value", [0.0, 0.1, -1e6])
def test_features_that_say_nothing(value: float) -> None:
    assert label_skill(torch.full((12, 3), value), torch.arange(12) % 3) == pytest.approx(0)


@pytest.mark.parametrize("labels", [[], [0], [0, 1, 2], [0, 0, 0], [0, 0, 1]], ids=str)
def test_too_few_images_have_no_skill(labels: list[int]) -> None:
    assert math.isnan(label_skill(random(len(labels), 2), torch.tensor(labels, dtype=torch.int64)))


# --- agreement


def book_kappa(first: list[int], second: list[int]) -> float:
    count = len(first)
    agreed = sum(a == b for a, b in zip(first, second, strict=True)) / count
    chance = sum(first.count(label) * second.count(label) for label in set(first)) / count**2
    return (agreed - chance) / (1 - chance)


@pytest.mark.parametrize("seed", range(5))
def test_kappa_equals_the_book(seed: int) -> None:
    first, second = torch.randint(4, (2, 30), generator=torch.Generator().manual_seed(seed))
    assert kappa(first, second, 6) == pytest.approx(book_kappa(first.tolist(), second.tolist()))


def test_kappa_known_beforehand() -> None:
    labels = torch.arange(12) % 3
    assert kappa(labels, labels, 3) == 1
    assert kappa(labels % 2, 1 - labels % 2, 2) < 0
    assert kappa(torch.tensor([0, 1]), torch.tensor([1, 0]), 2) == -1
    assert kappa(labels * 0, labels * 0, 3) == 1  # both constant and equal
    assert kappa(labels * 0, labels * 0 + 1, 3) == 0
    assert kappa(labels * 0, labels, 3) == pytest.approx(0)
    assert math.isnan(kappa(labels[:0], labels[:0], 3))


# --- features


def book_moments(values: list[float]) -> tuple[float, float]:
    middle = sum(values) / len(values)
    return middle, math.sqrt(sum((value - middle) ** 2 for value in values) / (len(values) - 1))


def book_colour(image: Tensor) -> list[float]:
    moments = [book_moments(channel.flatten().tolist()) for channel in image]
    return [mean for mean, _ in moments] + [spread for _, spread in moments]


def book_corners(image: Tensor) -> list[float]:
    (height, width), found = image.shape[1:], []
    for rows in (range(height // 4), range(height * 3 // 4, height)):
        for columns in (range(width // 4), range(width * 3 // 4, width)):
            moments = [
                book_moments([channel[row, column].item() for row in rows for column in columns])
                for channel in image
            ]
            found += [mean for mean, _ in moments] + [spread for _, spread in moments]
    return found


def book_border(image: Tensor) -> list[float]:
    channels, height, width = image.shape
    down, across, found = height // 8, width // 8, []
    top, bottom, inner = range(down), range(height - down, height), range(down, height - down)
    left, right = range(across), range(width - across, width)
    for rows, columns, along in (
        (top, range(width), "x"),
        (bottom, range(width), "x"),
        (inner, left, "y"),
        (inner, right, "y"),
    ):
        length = len(columns) if along == "x" else len(rows)
        places = min(max(1, 16 // channels), length)
        sizes = [length // places + (place < length % places) for place in range(places)]
        for place in range(places):
            some = slice(sum(sizes[:place]), sum(sizes[: place + 1]))
            part = (rows, columns[some]) if along == "x" else (rows[some], columns)
            for channel in image:
                values = [channel[row, column].item() for row in part[0] for column in part[1]]
                found.append(sum(values) / len(values))
    return found


@pytest.mark.parametrize("channels", [1, 3, 20])
@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(
    ("feature", "book"), [(border, book_border), (corners, book_corners), (colour, book_colour)]
)
def test_features_equal_the_book(feature, book, size: tuple[int, int], channels: int) -> None:
    images = random(2, channels, *size)
    expected = torch.tensor([book(image) for image in images], dtype=torch.float64)
    assert_close(feature(images), expected)


@pytest.mark.parametrize("size", [(8, 8), (224, 224), (9, 300)], ids=str)
@pytest.mark.parametrize("channels", [1, 2, 3, 16])
def test_the_border_is_at_most_64_numbers(channels: int, size: tuple[int, int]) -> None:
    assert border(torch.zeros(1, channels, *size)).shape[1] <= 64


@pytest.mark.parametrize("size", [*SIZES, (33, 65)], ids=str)
@pytest.mark.parametrize("name", OFFERS)
def test_features_of_constant_images_are_finite_and_say_nothing(name: str, size: tuple[int, int]) -> None:
    images = torch.full((12, 3, *size), 0.1)
    features = OFFERS[name](images)
    assert features.isfinite().all()
    assert label_skill(features, torch.arange(12) % 3) == pytest.approx(0)


@pytest.mark.parametrize(
    ("names", "rows", "columns"),
    [
        ({"border", "corners"}, slice(0, 4), slice(0, 4)),
        ({"border"}, slice(0, 2), slice(6, 10)),
        (set(), slice(7, 9), slice(7, 9)),
    ],
)
def test_who_sees_a_tag(names: set[str], rows: slice, columns: slice) -> None:
    labels = torch.arange(60) % 3
    images = random(60, 3, 16, 16)
    images[torch.arange(60), labels, rows, columns] += 3
    skill = {name: label_skill(OFFERS[name](images), labels) for name in ("border", "corners")}
    assert {name for name, value in skill.items() if value > 0.8} == names
