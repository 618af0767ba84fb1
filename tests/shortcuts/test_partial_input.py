"""Parts of images: equal to plain twins; shuffling keeps every pixel."""

import pytest
from support.parts import SIZES, random
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.shortcuts.partial_input import ORDER, PARTS, shuffled


def book_border_only(image: Tensor, row: int, column: int) -> Tensor:
    _, height, width = image.shape
    inside = height // 8 <= row < height - height // 8 and width // 8 <= column < width - width // 8
    return image.mean(dim=(1, 2)) if inside else image[:, row, column]


def book_shuffled(image: Tensor, row: int, column: int) -> Tensor:
    height, width = image.shape[1] // 4, image.shape[2] // 4
    if row >= 4 * height or column >= 4 * width:
        return image[:, row, column]
    place = ORDER[4 * (row // height) + column // width]
    return image[:, place // 4 * height + row % height, place % 4 * width + column % width]


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize(("name", "book"), [("border_only", book_border_only), ("shuffled", book_shuffled)])
def test_parts_equal_the_book(name: str, book, size: tuple[int, int]) -> None:
    images = random(2, 3, *size)
    made = PARTS[name](images)
    assert made.shape == images.shape
    for image, found in zip(images, made, strict=True):
        for row in range(size[0]):
            for column in range(size[1]):
                assert_close(found[:, row, column], book(image, row, column))


def test_shuffling_keeps_every_pixel() -> None:
    images = random(2, 3, 18, 11)
    assert_close(
        shuffled(images).flatten(2).sort(dim=2).values, images.flatten(2).sort(dim=2).values, rtol=0, atol=0
    )


def test_shuffling_parts_all_neighbours() -> None:
    def near(first: int, second: int) -> bool:
        return abs(first // 4 - second // 4) + abs(first % 4 - second % 4) == 1

    assert sorted(ORDER) == list(range(16))
    assert not [
        place for place in range(16) if ORDER[place] // 4 == place // 4 or ORDER[place] % 4 == place % 4
    ]
    assert not [(i, j) for i in range(16) for j in range(16) if near(i, j) and near(ORDER[i], ORDER[j])]
