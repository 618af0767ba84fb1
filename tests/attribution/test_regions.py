"""Foreground, connected components and boxes, against a flood fill by hand."""

import itertools
import re

import pytest
import torch
from torch import Tensor

from lightning_cam.attribution.regions import boxes, components, foreground

SIZES = [(13, 9), (1, 8), (7, 1), (17,), (5, 6, 4), (40, 31)]


def flood(mask: Tensor) -> list[set[tuple[int, ...]]]:
    """The components of one mask, by visiting neighbours: sets of places."""
    waiting, found = {tuple(place) for place in mask.nonzero().tolist()}, []
    while waiting:
        edge = [waiting.pop()]
        part = set(edge)
        while edge:
            place = edge.pop()
            for step in itertools.product((-1, 0, 1), repeat=mask.ndim):
                beside = tuple(a + b for a, b in zip(place, step, strict=True))
                if beside in waiting:
                    waiting.remove(beside)
                    part.add(beside)
                    edge.append(beside)
        found.append(part)
    return found


def parts_of(numbers: Tensor) -> list[set[tuple[int, ...]]]:
    return [
        {tuple(place) for place in (numbers == one).nonzero().tolist()}
        for one in numbers.unique().tolist()
        if one
    ]


def boxed(part: set[tuple[int, ...]]) -> list[int]:
    """x1 y1 x2 y2, by the smallest and largest place along each side."""
    sides = list(zip(*part, strict=True))[::-1]
    return [min(side) for side in sides] + [max(side) + 1 for side in sides]


def maps(size: tuple[int, ...], count: int = 4, seed: int = 0) -> Tensor:
    saliency = torch.rand(count, *size, generator=torch.Generator().manual_seed(seed))
    return saliency / saliency.flatten(1).amax(dim=1).reshape(-1, *[1] * len(size))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("share", [0.1, 0.4, 0.5, 0.9])
def test_components_are_those_of_a_flood_fill(share: float, size: tuple[int, ...]) -> None:
    masks = maps(size) < share
    for numbers, mask in zip(components(masks), masks, strict=True):
        assert torch.equal(numbers > 0, mask)
        found, expected = parts_of(numbers), flood(mask)
        assert len(found) == len(expected)
        assert {frozenset(part) for part in found} == {frozenset(part) for part in expected}


def test_a_component_is_numbered_by_its_last_pixel() -> None:
    masks = torch.tensor([[[1, 0, 0, 1], [0, 1, 0, 1], [0, 0, 0, 0], [1, 0, 0, 0]]]).bool()
    assert components(masks).tolist() == [[[6, 0, 0, 8], [0, 6, 0, 8], [0, 0, 0, 0], [13, 0, 0, 0]]]


def spiral(side: int) -> Tensor:
    """One path, two pixels apart, from the corner to the middle."""
    mask, low, high = torch.zeros(side, side, dtype=torch.bool), 0, side - 1
    while low < high:
        mask[low, max(low - 2, 0) : high + 1] = mask[low : high + 1, high] = mask[high, low : high + 1] = True
        mask[low + 2 : high + 1, low] = True
        low, high = low + 2, high - 2
    return mask


def test_a_long_path_is_one_component() -> None:
    mask = spiral(61)
    assert len(flood(mask)) == 1
    numbers = components(torch.stack([mask, mask.T, mask.flip(0), mask.flip(1)]))
    assert [len(one.unique()) for one in numbers] == [2, 2, 2, 2]
    cut = mask.clone()
    cut[0, 30] = False
    assert len(components(cut[None]).unique()) == 3


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.7, 1])
def test_boxes_are_those_around_a_flood_fill(threshold: float, size: tuple[int, ...]) -> None:
    saliency = maps(size, seed=1)
    found = boxes(saliency, threshold)
    assert len(found) == len(saliency)
    for one, image in zip(found, saliency, strict=True):
        parts = flood(image >= threshold)
        peak = {frozenset(part): max(image[place].item() for place in part) for part in parts}
        parts.sort(key=lambda part: (-len(part), -peak[frozenset(part)]))
        assert one.tolist() == [boxed(part) for part in parts]
        assert one.dtype == torch.int64


def test_a_box_holds_its_part_and_the_largest_is_first() -> None:
    saliency = torch.zeros(2, 10, 12)
    saliency[0, 2:5, 3:9] = 0.6
    saliency[0, 8, 1] = 1
    saliency[1, 9, 11], saliency[1, 0, 0] = 0.8, 1
    first, second = boxes(saliency)
    assert first.tolist() == [[3, 2, 9, 5], [1, 8, 2, 9]]
    assert second.tolist() == [[0, 0, 1, 1], [11, 9, 12, 10]], "of one size: the stronger peak first"
    x1, y1, x2, y2 = first[0].tolist()
    assert saliency[0, y1:y2, x1:x2].eq(saliency[0, 3, 4]).all()


def test_a_blank_map_has_no_foreground_and_no_box() -> None:
    saliency = torch.zeros(2, 5, 6)
    saliency[1, 2, 3] = 1
    assert foreground(saliency, 0.01).flatten(1).sum(dim=1).tolist() == [0, 1]
    blank, shown = boxes(saliency, 0.01)
    assert blank.shape == (0, 4)
    assert shown.tolist() == [[3, 2, 4, 3]]
    assert boxes(torch.zeros(1, 7))[0].shape == (0, 2)
    assert boxes(torch.zeros(1, 3, 4, 5))[0].shape == (0, 6)
    assert boxes(torch.zeros(0, 3, 4)) == []


def test_foreground_is_at_least_the_threshold() -> None:
    saliency = torch.tensor([[[0.0, 0.25], [0.5, 1.0]]])
    assert foreground(saliency, 0.25).tolist() == [[[False, True], [True, True]]]
    assert foreground(saliency).tolist() == [[[False, False], [True, True]]]
    assert foreground(saliency, 1).tolist() == [[[False, False], [False, True]]]


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan"), True, "0.5"])
@pytest.mark.parametrize("function", [foreground, boxes])
def test_thresholds_out_of_range(function, threshold, unchecked: None) -> None:
    with pytest.raises(
        ValueError,
        match=re.escape(f"threshold: got {threshold!r}; give a share of the map's maximum, in (0, 1]."),
    ):
        function(torch.ones(1, 4, 4), threshold)
