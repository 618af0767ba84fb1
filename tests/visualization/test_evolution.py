"""Film strips and animations, pixel by pixel: what changed, and when."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from support.looks import SMALL_HEADER, judged, looks
from support.scenes import scene
from support.sheets import ALPHABETS, BAR, FIRST_ROW, HEADER, LONG, NAMES, SIZES, Pixels, Place, colors, plain
from torch import nn

from lightning_cam.data.history import History, remember
from lightning_cam.data.probe import Probe
from lightning_cam.visualization.blend import (
    color_table,
)
from lightning_cam.visualization.canvas import (
    BADGE,
    FRAME,
    LINE,
    MARGIN,
    REMARK,
    RIGHT,
    TOP,
    UNKNOWN,
    WRONG,
    Key,
)
from lightning_cam.visualization.evolution import (
    STRIP_COLUMNS,
    STRIP_ROWS,
    Row,
    column_of,
    draw_evolution,
    evolution_picture,
)
from lightning_cam.visualization.overlay import draw_overlay
from lightning_cam.visualization.prepared import GRID_TILES, STRIP_TILES
from lightning_cam.visualization.projection import tile_size
from lightning_cam.visualization.style import Style


def strip(
    size: tuple[int, int] = (32, 32),
    count: int = 3,
    looks: int = 4,
    right: bool = True,
    unseen: Sequence[int] = (),
    names: tuple[str, ...] = NAMES,
    labelled: bool = True,
) -> Pixels:
    """The end of a fit with looks at all images: the first one at the untrained model, which has not seen ``unseen``."""
    labels = torch.arange(count) % len(names)
    predicted = labels if right else (labels + 1) % len(names)
    history = History()
    for epoch in range(-1, looks - 1):
        cams = torch.rand(count, 7, 7, generator=torch.Generator().manual_seed(epoch + 2))
        look = remember(epoch, 100 * (epoch + 1), cams, predicted, torch.rand(count), {})
        if epoch < 0:
            look = look.of(torch.tensor([-1 if i in unseen else i for i in range(count)]))
        history = history.added(look)
    images = plain(count, size)
    probe = Probe(images, labels if labelled else None, None, names)
    history = judged(history, probe.labels)
    return np.asarray(
        draw_evolution(scene(probe, history=history, header=HEADER, in_fit=True, is_last=looks != 2))()
    )


def strip_places(
    pixels: Pixels, size: tuple[int, int], rows: int, columns: int
) -> dict[tuple[int, int], Place]:
    """Left upper corner of each tile; column 0 is the image. The picture has to be wide enough to fill its canvas."""
    height, width = tile_size(*size, *STRIP_TILES)
    step = max(width, REMARK) + 6, max(height, LINE) + BADGE + 4
    left = pixels.shape[1] - MARGIN - (1 + columns) * step[0]
    top = FIRST_ROW + LINE
    return {
        (row, column): (left + column * step[0], top + row * step[1])
        for row in range(rows)
        for column in range(columns + 1)
    }


@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_a_film_strip_has_rows_of_images_and_columns_of_looks(size: tuple[int, int], count: int) -> None:
    pixels = strip(size, count, looks=14, names=LONG)
    height, width = tile_size(*size, *STRIP_TILES)
    rows, columns = min(count, STRIP_ROWS), STRIP_COLUMNS
    places = strip_places(pixels, size, rows, columns)
    for (row, column), (x, y) in places.items():
        if column == 0:
            tile = pixels[y + 1 : y + height - 1, x + 1 : x + width - 1]
            assert np.abs(tile - 255 * colors(count)[row].numpy()).max() <= 1
        else:
            assert (pixels[y + max(height, LINE) + 2, x : x + width] == RIGHT).all()
    assert (pixels[:, -MARGIN + 2 :] == 255).all()
    names = pixels[places[0, 0][1] :, : places[0, 0][0]][: rows * (max(height, LINE) + BADGE + 4)]
    assert (names[:, -4:] == 255).all(), "names end before"


@pytest.mark.parametrize("side", [8, 28, 57, 64, 79, 96, 111, 512])
def test_a_film_strip_fits_a_screen(side: int) -> None:
    """Its tiles are at most as large as said, also those that grow by a whole factor."""
    pixels = strip((side, side), 8, looks=14)
    largest = STRIP_TILES[1] + 6
    assert pixels.shape[1] <= 2 * MARGIN + 150 + (1 + STRIP_COLUMNS) * largest <= 1700
    assert pixels.shape[0] <= FIRST_ROW + LINE + STRIP_ROWS * (largest + BADGE) + 8 + BAR


def test_a_film_strip_tells_right_from_wrong() -> None:
    right, wrong = strip(looks=14), strip(looks=14, right=False)
    height, width = tile_size(32, 32, *STRIP_TILES)
    for pixels, color in ((right, RIGHT), (wrong, WRONG)):
        for (_, column), (x, y) in strip_places(pixels, (32, 32), 3, 10).items():
            if column:
                assert (pixels[y + height + 2, x : x + width] == color).all()


def test_a_film_strip_without_labels_is_grey() -> None:
    pixels = strip(looks=14, labelled=False)
    height, width = tile_size(32, 32, *STRIP_TILES)
    for (_, column), (x, y) in strip_places(pixels, (32, 32), 3, 10).items():
        if column:
            assert (pixels[y + height + 2, x : x + width] == UNKNOWN).all()


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_symbols_leave_titles_and_other_rows_alone(size: tuple[int, int]) -> None:
    """Right and wrong differ below the tiles, and hide nothing of them."""
    right, wrong = (strip(size, 3, looks=14, right=right, names=LONG) for right in (True, False))
    height, _ = tile_size(*size, *STRIP_TILES)
    places = strip_places(right, size, 3, 10)
    changed = (right != wrong)[:, places[0, 0][0] :].any(
        axis=(1, 2)
    )  # beside the names, where the prediction stands
    for row in range(3):
        _, y = places[row, 0]
        below = slice(y + max(height, LINE), y + max(height, LINE) + BADGE)
        assert changed[below].any()
        changed[below] = False
    assert not changed.any()


def test_an_image_not_seen_yet_is_no_blank_map() -> None:
    pixels, seen = strip(looks=14, unseen=[1]), strip(looks=14)
    height, width = tile_size(32, 32, *STRIP_TILES)
    places = strip_places(pixels, (32, 32), 3, 10)
    x, y = places[1, 1]
    tile = pixels[y : y + height, x : x + width]
    assert (tile[-20:] == tile[-20:, :, :1]).all(), "grey"
    assert (tile[-20:] >= 165).all(), "and pale"
    assert (tile[:16] < 100).any(), "with a word"
    assert (pixels[y + height : y + height + BADGE, x : x + width] == 255).all(), "without a symbol"
    x, y = places[1, 2]
    np.testing.assert_array_equal(pixels[y : y + height, x : x + width], seen[y : y + height, x : x + width])


def test_a_narrow_strip_has_room_for_its_colour_bar() -> None:
    pixels = strip(count=1, looks=2)
    assert pixels.shape[1] == 2 * MARGIN + 460


@pytest.mark.parametrize("names", [LONG, ALPHABETS], ids=["long", "alphabets"])
def test_a_film_strip_with_names_of_any_kind(names: tuple[str, ...]) -> None:
    count = min(STRIP_ROWS, len(names))
    pixels = strip(count=count, looks=14, names=names)
    places = strip_places(pixels, (32, 32), count, 10)
    height, _ = tile_size(32, 32, *STRIP_TILES)
    for row in range(count):
        x, y = places[row, 0]
        assert (pixels[y : y + height, MARGIN : x - 4] < 255).any()


@pytest.mark.parametrize("size", [(3000,), (8,), (28, 28, 28), (9, 128, 96), (1, 64, 64)], ids=str)
def test_a_film_strip_of_signals_and_volumes_fits_a_screen(size: tuple[int, ...]) -> None:
    images = torch.rand(8, 2, *size, generator=torch.Generator().manual_seed(4))
    history = History()
    for epoch in range(-1, 13):
        cams = torch.rand(8, *[3] * len(size), generator=torch.Generator().manual_seed(epoch + 2))
        history = history.added(remember(epoch, epoch + 1, cams, torch.arange(8) % 4, torch.rand(8), {}))
    probe = Probe(images, torch.arange(8) % 4, None, NAMES)
    width, height = draw_evolution(
        scene(probe, history=history, header=HEADER, in_fit=True, is_last=True)
    )().size
    assert width <= 2200
    assert height <= 1100


def test_the_runs_scale_is_each_images_largest_value() -> None:
    history, cams = looks(3, 2, (1.0, 4.0, 2.0))
    images = torch.zeros(2, 3, 32, 32)
    probe = Probe(images, torch.tensor([0, 1]))
    style = Style(colormap="gray", opacity=1.0, color_scale="run")
    scores = torch.eye(4)[:2] * 9
    pixels = np.asarray(draw_overlay(scene(probe, style, history, cams, scores))())
    side = tile_size(32, 32, *GRID_TILES)[0]
    tile = pixels[TOP + FRAME : TOP + FRAME + side, MARGIN + FRAME : MARGIN + FRAME + side, 0]
    expected = 255 * nn.functional.interpolate(cams[None, :1] / 4, (side, side), mode="bilinear")[0, 0]
    assert np.abs(tile - expected.numpy()).max() <= 2
    assert tile.max() < 140, "half of the largest"


def test_the_strip_says_what_changed_and_what_is_wrong_now() -> None:
    images, (history, _) = torch.rand(3, 3, 32, 32), looks(4, 3, (1.0,) * 4)
    drawn = [
        np.asarray(
            draw_evolution(
                scene(
                    Probe(images, labels, None, ("cat", "dog", "cow", "hen")),
                    history=judged(history, labels),
                    in_fit=True,
                )
            )()
        )
        for labels in (torch.tensor([0, 1, 2]), torch.tensor([0, 1, 3]))
    ]
    blue, orange = (
        (pixels == color).all(axis=2) for pixels, color in ((drawn[0], (0, 114, 178)), (drawn[1], WRONG))
    )
    step = tile_size(32, 32, *STRIP_TILES)[0] + 24
    names = slice(MARGIN, MARGIN + 60)
    rows = [slice(TOP + LINE + row * step, TOP + LINE + (row + 1) * step - 4) for row in range(3)]
    assert [bool(blue[row, names].any()) for row in rows] == [False, False, True]  # it changed most
    assert [bool(orange[row, names].any()) for row in rows] == [False, False, True]  # it is taken for a cow
    assert blue[:, -100:].any()  # the chart


def test_a_strip_without_changes_has_no_chart() -> None:
    tiles = torch.zeros(2, 80, 80, 3, dtype=torch.uint8)
    key = Key(color_table("inferno"), "0 … 1")
    without = evolution_picture(tiles, [], [], [Row("a"), Row("b")], SMALL_HEADER, key)
    flat = evolution_picture(
        tiles, [], [], [Row("a", (), (0.0, 0.0)), Row("b", (), (float("nan"), 0.0))], SMALL_HEADER, key
    )
    np.testing.assert_array_equal(np.asarray(without), np.asarray(flat))


def test_a_regression_has_numbers_in_place_of_right_and_wrong() -> None:
    images = torch.rand(3, 3, 32, 32)
    history = History()
    for epoch in range(-1, 2):
        cams = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(epoch + 2))
        numbers = torch.tensor([45.2 + epoch, 3.0, -1.0])
        history = history.added(remember(epoch, epoch + 2, cams, torch.zeros(3).long(), numbers, {}))
    probe = Probe(images, torch.tensor([51.0, 2.0, torch.nan]))
    drawn = scene(
        probe, history=history, scores=torch.rand(3, 1), task="regression", in_fit=True, is_last=True
    )
    pixels = np.asarray(draw_evolution(drawn)())
    for color in (RIGHT, WRONG):
        assert not (pixels == color).all(axis=2).any()
    column = column_of(history.looks[-1], 2, is_judged=False)
    assert column.numbers == ("46.2", "3.00")
    assert column.right == (None, None)


def test_what_was_right_is_what_the_look_knows() -> None:
    look = remember(
        0,
        1,
        torch.rand(3, 4, 4),
        torch.zeros(3).long(),
        torch.ones(3),
        {},
        torch.tensor([1.0, 0.5, torch.nan]),
    )
    assert column_of(look, 3, is_judged=True).right == (True, False, None)
