"""The sheet of a shortcut, pixel by pixel: sizes, places, frames, cells, bars. No golden picture: fonts differ."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cam.visualization.blend import color_table
from lightning_cam.visualization.canvas import (
    BAR,
    FRAME,
    GAP,
    LINE,
    MARGIN,
    RIGHT,
    UNKNOWN,
    WRONG,
    wrap_text,
)
from lightning_cam.visualization.projection import tile_size
from lightning_cam.visualization.shortcut import (
    BETWEEN,
    CELL,
    LIGHT,
    MOST_LINES,
    NAME,
    NARROWEST_TILE,
    PANEL,
    SIGN,
    ClassRow,
    Triple,
    draw_sheet,
)

HEADER = (
    "shortcut · epoch 4 · step 87 · warning",
    "cue 'cell_0_0' decides 97 % of conflicts (donor 121, host 4).",
)
CELLS = [[1.0, 0.5, 0.04, 0.02], [0.08, 0.0, 0.01, math.nan], [0.02, 0.55, 0.0, 0.03], [0.3, 0.2, 0.75, 0.49]]
OUTCOMES = (True, False, None, True)
FRAMES = {True: WRONG, False: RIGHT, None: UNKNOWN}
LONG = "a very long class name that goes on and on, and only its end tells the number "
TOP = MARGIN + 2 * LINE + 18  # of both columns, below one line of statement
TILES = TOP + LINE + 4  # of the first triple

Pixels = np.ndarray


def triple(follows: bool | None, name: str = "digit ") -> Triple:
    return Triple(
        f"{name}3",
        f"{name}7",
        {True: f"{name}7", False: f"{name}3", None: f"{name}1"}[follows],
        0.994,
        follows,
    )


def rows(count: int, name: str = "digit ") -> list[ClassRow]:
    """Dominance grows with the number, class 1 is named, and class 0 had no conflict."""
    return [
        ClassRow(f"{name}{i}", i / count if i else math.nan, i, count - i if i else 0, i == 1)
        for i in range(count)
    ]


def sheet(
    size: tuple[int, ...] = (32, 32),
    triples: Sequence[Triple] = tuple(map(triple, OUTCOMES)),
    images: Tensor | None = None,
    channels: int = 3,
    pattern: Tensor | None = None,
    cells: Sequence[Sequence[float]] | None = CELLS,
    classes: Sequence[ClassRow] = tuple(rows(10)),
    header: tuple[str, str] = HEADER,
    names: Sequence[str] | None = None,
) -> Pixels:
    """Images in the order hosts, donors, transplants. With four triples and no pattern, cells and classes stand on the right."""
    if images is None:
        images = torch.rand(3 * len(triples), channels, *size, generator=torch.Generator().manual_seed(0))
    if pattern is None:
        pattern = images.new_zeros(0, *images.shape[1:])
    names = names or ["digit 7 less the rest"] * len(pattern)
    hosts, donors, transplants = images.split(len(triples))
    picture = draw_sheet(hosts, donors, transplants, triples, pattern, names, cells, classes, header, None)()
    assert picture.mode == "RGB"
    return np.asarray(picture)


def places(size: tuple[int, int] = (32, 32), count: int = 4) -> list[list[tuple[int, int]]]:
    """Left upper corner of the frames, row by row."""
    height, width = (side + 2 * FRAME for side in tile_size(*size))
    step = max(width, NARROWEST_TILE) + SIGN, height + 2 * LINE + GAP
    return [
        [(MARGIN + column * step[0], TILES + row * step[1]) for column in range(3)] for row in range(count)
    ]


def right_column(size: tuple[int, int] = (32, 32)) -> int:
    width = tile_size(*size)[1] + 2 * FRAME
    return MARGIN + 3 * max(width, NARROWEST_TILE) + 2 * SIGN + 2 * GAP


def framed(pixels: Pixels, place: tuple[int, int], size: tuple[int, int] = (32, 32)) -> set[tuple[int, ...]]:
    """The colours of a frame."""
    height, width = (side + 2 * FRAME for side in tile_size(*size))
    x, y = place
    frame = pixels[y : y + height, x : x + width].copy()
    inside = np.zeros(frame.shape[:2], dtype=bool)
    inside[FRAME:-FRAME, FRAME:-FRAME] = True
    return {tuple(map(int, color)) for color in frame[~inside]}


def inside(pixels: Pixels, place: tuple[int, int], size: tuple[int, int] = (32, 32)) -> Pixels:
    height, width = tile_size(*size)
    x, y = place[0] + FRAME, place[1] + FRAME
    return pixels[y : y + height, x : x + width]


@pytest.mark.parametrize(
    "size", [(8, 8), (32, 32), (57, 57), (224, 224), (512, 512), (1024, 700), (20, 200), (200, 20)], ids=str
)
def test_a_sheet_fits_a_screen_and_its_margins_are_white(size: tuple[int, int]) -> None:
    cases = [
        (1, 0, None, 2),
        (1, 4, CELLS, 1000),
        (2, 1, CELLS, 0),
        (3, 2, CELLS, 10),
        (4, 0, None, 0),
        (4, 4, CELLS, 1000),
    ]
    for count, patterns, cells, classes in cases:
        pixels = sheet(
            size,
            [triple(follows, LONG) for follows in OUTCOMES[:count]],
            pattern=torch.randn(patterns, 3, *size),
            cells=cells,
            classes=rows(classes, LONG),
            names=[f"{LONG} less the rest"] * patterns,
            header=(3 * HEADER[0], 9 * HEADER[1]),
        )
        assert pixels.shape[0] <= 1350
        assert pixels.shape[1] <= 1350
        for edge in (
            pixels[:, : MARGIN - 2],
            pixels[:, -MARGIN + 2 :],
            pixels[: MARGIN - 2],
            pixels[-MARGIN + 2 :],
        ):
            assert (edge == 255).all()


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("size", [(32, 32), (90, 40), (300, 400)], ids=str)
def test_who_wins_is_the_colour_of_the_frame(size: tuple[int, int], channels: int) -> None:
    pixels = sheet(size, channels=channels)
    for outcome, (host, donor, transplant) in zip(OUTCOMES, places(size), strict=True):
        assert framed(pixels, host, size) == framed(pixels, donor, size) == {LIGHT}
        assert framed(pixels, transplant, size) == {FRAMES[outcome]}
        x, y = transplant[0], transplant[1] + tile_size(*size)[0] + 2 * FRAME + LINE
        assert (pixels[y : y + LINE, x : x + 12] == FRAMES[outcome]).all(axis=2).any(), "a symbol, too"


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_triple_has_its_row(count: int) -> None:
    pixels = sheet(triples=[triple(True)] * count)
    x = places()[0][2][0]
    frames = (pixels[TILES:, x : x + 10] == WRONG).all(axis=(1, 2))
    height = tile_size(32, 32)[0] + 2 * FRAME
    assert int((np.diff(frames.astype(int), prepend=0) == 1).sum()) == 2 * count, "two edges each"
    assert all(frames[y - TILES] and frames[y - TILES + height - 1] for _, _, (_, y) in places(count=count))


def test_images_are_in_their_places_at_one_scale() -> None:
    """One range is guessed for all: what is equal before is equal in the picture."""
    values = torch.tensor([-2.0, 0.0, 1.0, 2.0, 4.0, 0.0])
    images = values[:, None, None, None].expand(-1, 3, 32, 32)
    pixels = sheet(images=images, triples=[triple(True), triple(False)])
    for i, row in enumerate(places(count=2)):
        for column, place in enumerate(row):
            expected = 255 * (values[2 * column + i].item() + 2) / 6
            assert np.abs(inside(pixels, place) - expected).max() <= 1


def test_the_normalization_is_undone() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.1, 0.2)
    plain = torch.tensor([0.9, 0.2, 0.5]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32)
    images = (plain - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    picture = draw_sheet(
        images, images, images, [triple(True)], images[:0], [], None, [], HEADER, (mean, std)
    )()
    for place in places(count=1)[0]:
        assert np.abs(inside(np.asarray(picture), place) - 255 * np.array([0.9, 0.2, 0.5])).max() <= 1


def test_a_plus_and_an_arrow_stand_between_the_tiles() -> None:
    pixels = sheet(triples=[triple(True)])
    (host, donor, transplant), (height, width) = places()[0], tile_size(32, 32)
    for left, right in ((host, donor), (donor, transplant)):
        between = pixels[left[1] : left[1] + height, left[0] + width + 2 * FRAME : right[0]]
        dark = np.argwhere((between < 255).any(axis=2))
        assert np.abs((dark.min(axis=0) + dark.max(axis=0)) / 2 - np.array(between.shape[:2]) / 2).max() <= 5


def test_the_mean_pattern_is_grey_where_nothing_differs_and_all_have_one_scale() -> None:
    pattern = torch.zeros(2, 3, 16, 16)
    pattern[0, :, :8], pattern[1, 0, 8:], pattern[1, 2, 8:] = 4.0, 2.0, -4.0
    pixels = sheet(triples=[triple(True)], pattern=pattern)
    # Left, below the only triple.
    top = places()[0][0][1] + tile_size(32, 32)[0] + 2 * FRAME + 2 * LINE + GAP + 2 * LINE + 2
    side = tile_size(16, 16)[0]
    second = MARGIN + PANEL // 2
    expected = {
        (MARGIN, 0): (255, 255, 255),
        (MARGIN, 1): (128,) * 3,
        (second, 0): (128,) * 3,
        (second, 1): (191, 128, 0),
    }
    for (x, half), color in expected.items():
        tile = pixels[top + half * side // 2 : top + (half + 1) * side // 2, x : x + side]
        assert np.abs(tile.astype(int) - color).max() <= 1
    none = sheet(triples=[triple(True)], pattern=torch.zeros(1, 1, 16, 16), channels=1)
    assert (none[top : top + side, MARGIN : MARGIN + side] == 128).all()


def cell(pixels: Pixels, row: int, column: int) -> Pixels:
    """A cell's upper left corner, which its number leaves free."""
    x, y = right_column() + column * CELL, TOP + LINE + 4 + row * CELL
    return pixels[y : y + 10, x : x + CELL - 2]


def test_the_cells_have_the_colour_of_their_value() -> None:
    pixels = sheet()
    table = 255 * color_table("inferno").numpy()
    for row, column in product(range(4), range(4)):
        value = CELLS[row][column]
        expected = np.array(LIGHT) if math.isnan(value) else table[round(255 * value)]
        assert np.abs(cell(pixels, row, column) - expected).max() <= 1
        x, y = right_column() + column * CELL, TOP + LINE + 4 + row * CELL
        number = pixels[y + 12 : y + 34, x : x + CELL - 2]
        contrast = np.abs(number.astype(int) - cell(pixels, row, column)[0, 0]).sum(axis=2).max()
        assert contrast > 250, "a number that is legible"


def test_without_a_map_there_is_no_empty_grid() -> None:
    pixels, grid = sheet(cells=None, classes=[]), sheet(classes=[])
    x = right_column()
    below = pixels[TOP + LINE : TOP + 2 * LINE + 4, x:]
    assert (below < 255).any(), "a word"
    assert (pixels[TOP + 5 * LINE : TOP + 4 * CELL, x:] == 255).all()
    assert (grid[TOP + 5 * LINE : TOP + 4 * CELL, x:] < 255).any()


def bars(pixels: Pixels, count: int) -> list[Pixels]:
    """A line of pixels through each bar, where no cell was tested."""
    x, y = right_column() + NAME + BETWEEN, TOP + 2 * LINE + 4 + GAP + 2 * LINE + 4
    return [pixels[y + i * LINE + 6, x : x + BAR] for i in range(count)]


def lengths(pixels: Pixels, count: int) -> list[int]:
    """Of the bars, whatever their colour; the line at one half stands over them."""
    filled = [(bar == WRONG).all(axis=1) | (bar == UNKNOWN).all(axis=1) for bar in bars(pixels, count)]
    return [int(np.flatnonzero(line).max(initial=-1)) + 1 for line in filled]


def test_a_bar_is_as_long_as_its_class_dominates() -> None:
    classes = rows(10)
    pixels = sheet(cells=None, classes=classes)
    ranked = [classes[1], *classes[:1:-1]]
    assert lengths(pixels, 9) == pytest.approx([BAR * row.dominance for row in ranked], abs=1)
    named, *others = bars(pixels, 9)
    assert tuple(named[3]) == WRONG
    assert all(tuple(bar[3]) == UNKNOWN for bar in others)
    assert all((bar[BAR // 2] < 40).all() for bar in (named, *others)), "a line at one half"
    x, y = right_column() + NAME + BETWEEN, TOP + 2 * LINE + 4 + GAP + 2 * LINE + 4 + 9 * LINE
    assert not (pixels[y : y + LINE, x : x + BAR] == LIGHT).all(axis=(1, 2)).any(), (
        "no bar where there was no conflict"
    )


def test_a_class_that_never_wins_has_an_empty_bar() -> None:
    never = ClassRow("digit 3", 0.0, 0, 12, False)
    pixels = sheet(cells=None, classes=[never, replace(never, dominance=1.0)])
    assert lengths(pixels, 2) == [BAR, 0]
    assert tuple(bars(pixels, 2)[1][3]) == LIGHT


def test_named_classes_come_first_and_what_is_left_out_is_said() -> None:
    ten, eleven, thousand = (
        sheet(classes=rows(count), triples=[triple(True)] * 2) for count in (10, 11, 1000)
    )
    assert eleven.shape == thousand.shape == (ten.shape[0] + LINE, *ten.shape[1:])
    last = slice(-LINE - MARGIN - GAP - LINE, -LINE - MARGIN - GAP + 4)
    assert (eleven[last] < 255).any()
    assert (eleven[last] != thousand[last]).any(), "how many"
    first, *others = bars(sheet(cells=None, classes=rows(1000)), 10)
    assert tuple(first[3]) == LIGHT, "class 1 wins a thousandth of its conflicts"
    assert all(tuple(bar[140]) == UNKNOWN for bar in others)


def test_long_names_stay_in_their_room() -> None:
    short, long = (
        sheet(
            triples=[triple(follows, name) for follows in OUTCOMES],
            classes=rows(1000, name),
            pattern=torch.ones(4, 3, 32, 32),
            names=[f"{name}{i} less the rest" for i in range(4)],
        )
        for name in ("digit ", LONG)
    )
    assert short.shape == long.shape
    height = tile_size(32, 32)[0] + 2 * FRAME
    for x, y in (place for row in places() for place in row):
        end = x + NARROWEST_TILE
        assert (long[y + height : y + height + 2 * LINE, end + 1 : end + 2 * GAP] == 255).all(), (
            "white up to the next column"
        )
    changed = np.argwhere((short != long).any(axis=2))
    x = right_column()
    numbers = changed[changed[:, 1] >= x + NAME + 2]
    left = numbers[:, 1] < x + PANEL // 2 - GAP + 1
    right = (numbers[:, 1] >= x + PANEL // 2) & (numbers[:, 1] < x + PANEL - GAP + 1)
    assert (left | right).all(), "a pattern's name ends before the next, and the bars do not move"


def test_the_statement_is_wrapped_and_never_cut_silently() -> None:
    words = [f"word{i}" for i in range(400)]
    assert wrap_text("", 700, MOST_LINES) == []
    assert wrap_text(HEADER[1], 700, MOST_LINES) == [HEADER[1]]
    assert wrap_text("one\ntwo", 700, MOST_LINES) == ["one", "two"]
    wrapped = wrap_text(" ".join(words[:30]), 700, MOST_LINES)
    assert 1 < len(wrapped) <= 3
    assert " ".join(wrapped) == " ".join(words[:30])
    cut = wrap_text(" ".join(words), 700, MOST_LINES)
    assert len(cut) == 3
    assert ["…" in line for line in cut] == [False, False, True]
    assert cut[-1].endswith("word399")
    assert "…" in wrap_text("x" * 500, 700, MOST_LINES)[0]
    heights = [
        sheet(header=(HEADER[0], statement)).shape[0]
        for statement in ("", "a", "a\nb", "a\nb\nc", "a\nb\nc\nd")
    ]
    assert np.diff(heights).tolist() == [LINE, LINE, LINE, 0]


def test_the_same_input_gives_the_same_sheet() -> None:
    pattern = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    np.testing.assert_array_equal(sheet(pattern=pattern), sheet(pattern=pattern.clone()))
