"""Where the plainest spot is, and boxes of pixels."""

import pytest
import torch
from reference import cues as book
from support.pairs import random
from torch.testing import assert_close

from lightning_cam.shortcuts.spots import box_mean, boxes, cut, spot_corners, spot_side

SIZES = [(24, 24), (33, 28), (130, 131)]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_spots_equal_the_book(size: tuple[int, int], channels: int) -> None:
    images = 0.5 * random(1, channels, *size, seed=0)
    images[0, :, size[0] // 2 : size[0] // 2 + 5, 4:9] += 2
    top, left, side = book.spot(images[0].numpy())
    assert spot_corners(images).tolist() == [[top, left]]
    assert spot_side(images) == side


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("size", "within"), [((48, 50), 1), ((224, 224), 9)], ids=str)
def test_a_spot_is_found_wherever_it_is(size: tuple[int, int], within: int, dtype: torch.dtype) -> None:
    for seed in range(5):
        images = (0.3 * random(1, 1, *size, seed=seed)).to(dtype) + 100
        side = spot_side(images)
        place = torch.randint(0, min(size) - side, (2,), generator=torch.Generator().manual_seed(seed))
        row, column = place.tolist()
        images[0, 0, row : row + side, column : column + side] -= 2
        assert (spot_corners(images) - place).abs().amax() <= within


@pytest.mark.parametrize("side", [1, 3, 7])
def test_means_over_boxes(side: int) -> None:
    images = random(2, 3, 9, 7, seed=0)
    expected = images.unfold(2, side, 1).unfold(3, side, 1).mean(dim=(4, 5))
    assert_close(box_mean(images, side), expected)


def test_boxes_are_moved_into_the_image() -> None:
    places = boxes(torch.tensor([[-1, 2], [1, 5]]), 2, (3, 4))
    assert places.tolist() == [[2, 3, 6, 7], [6, 7, 10, 11]]
    image = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert cut(image, places[:1]).tolist() == [[[2, 3, 6, 7], [14, 15, 18, 19]]]
