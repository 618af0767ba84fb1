"""The picture of a shortcut, pixel by pixel: sizes, places, frames, cells, bars; as a whole it is in test_golden.py."""

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cam.visualization.blend import color_table
from lightning_cam.visualization.canvas import GAP, LINE, MARGIN, RIGHT, UNKNOWN, WRONG, wrap_text
from lightning_cam.visualization.projection import tile_size
from lightning_cam.visualization.shortcut import (
    BAR,
    BETWEEN,
    CELL,
    COLUMN,
    COLUMNS,
    COUNT,
    FRAME,
    HEAD,
    LIGHT,
    MOST_LINES,
    NAME,
    OF_ALL,
    OF_ONE_CLASS,
    ROOM,
    SIDE,
    TABLE,
    WIDTH,
    ClassRow,
    Swap,
    draw_shortcut,
)

HEADER = ("shortcut · epoch 4 · step 87 · warning", "The top-left corner: alone, it tells the class.")
CELLS = [
    [1.0, 0.5, 0.04, -0.2],
    [0.08, 0.0, 0.01, math.nan],
    [0.02, 0.55, 0.0, 0.03],
    [0.3, 0.2, 0.75, 0.49],
]
OUTCOMES = ((True, False), (True, True), (False, False), (False, True))  # with the own cue, with the other
FRAMES = {True: RIGHT, False: WRONG}
LONG = "a very long class name that goes on and on, and only its end tells the number "
TOP = MARGIN + 2 * LINE + 18  # of the rows, below one line of statement
TILES = TOP + HEAD  # of the first row's tiles

Pixels = np.ndarray


def swap(own: bool = True, other: bool = False, name: str = "digit ") -> Swap:
    return Swap(
        image=f"{name}3",
        other=f"{name}7",
        answer_own=f"{name}{3 if own else 8}",
        answer_other=f"{name}{3 if other else 7}",
        own_is_right=own,
        other_is_right=other,
    )


def rows(count: int, name: str = "digit ") -> list[ClassRow]:
    """What is lost grows with the number, what is drawn is half of it, and class 1 is named."""
    return [ClassRow(f"{name}{i}", i / count, i / count / 2, i == 1) for i in range(count)]


def sheet(
    size: tuple[int, ...] = (32, 32),
    swaps: Sequence[Swap] = tuple(swap(*outcome) for outcome in OUTCOMES),
    images: Tensor | None = None,
    channels: int = 3,
    cells: Sequence[Sequence[float]] | None = CELLS,
    classes: Sequence[ClassRow] = tuple(rows(10)),
    header: tuple[str, str] = HEADER,
) -> Pixels:
    """Images in the order in which a row has them: image, with its own class' cue, other image, with its cue."""
    if images is None:
        images = torch.rand(4 * len(swaps), channels, *size, generator=torch.Generator().manual_seed(0))
    image, own, other, with_other = images.split(len(swaps))
    picture = draw_shortcut(image, other, own, with_other, swaps, cells, classes, header, None)()
    assert picture.mode == "RGB"
    return np.asarray(picture)


def drawn(size: tuple[int, int]) -> tuple[int, int]:
    return tile_size(*size, SIDE, SIDE)


def step(size: tuple[int, int]) -> int:
    """From one row to the next."""
    return drawn(size)[0] + 2 * FRAME + LINE + GAP


def places(size: tuple[int, int] = (32, 32), count: int = 4) -> list[list[tuple[int, int]]]:
    """Left upper corner of the frames, row by row."""
    return [[(MARGIN + x, TILES + row * step(size)) for x in COLUMNS] for row in range(count)]


def below(count: int = 4, size: tuple[int, int] = (32, 32)) -> int:
    """Where the map of places and the table of classes begin."""
    return TILES + count * step(size) - GAP + 2 * GAP


def framed(pixels: Pixels, place: tuple[int, int], size: tuple[int, int] = (32, 32)) -> set[tuple[int, ...]]:
    """The colours of a frame."""
    height, width = (side + 2 * FRAME for side in drawn(size))
    x, y = place
    frame = pixels[y : y + height, x : x + width]
    inner = np.zeros(frame.shape[:2], dtype=bool)
    inner[FRAME:-FRAME, FRAME:-FRAME] = True
    return {tuple(map(int, color)) for color in frame[~inner]}


def inside(pixels: Pixels, place: tuple[int, int], size: tuple[int, int] = (32, 32)) -> Pixels:
    height, width = drawn(size)
    x, y = place[0] + FRAME, place[1] + FRAME
    return pixels[y : y + height, x : x + width]


@pytest.mark.parametrize(
    "size", [(8, 8), (32, 32), (57, 57), (224, 224), (512, 512), (1024, 700), (20, 200), (200, 20)], ids=str
)
def test_a_sheet_fits_a_screen_and_its_margins_are_white(size: tuple[int, int]) -> None:
    for count, cells, classes in (
        (1, None, 2),
        (1, CELLS, 1000),
        (2, CELLS, 0),
        (4, None, 0),
        (4, CELLS, 1000),
    ):
        pixels = sheet(
            size,
            [swap(*outcome, LONG) for outcome in OUTCOMES[:count]],
            cells=cells,
            classes=rows(classes, LONG),
            header=(3 * HEADER[0], 9 * HEADER[1]),
        )
        assert pixels.shape[0] <= 1350
        assert pixels.shape[1] == WIDTH + 2 * MARGIN <= 860, "as wide as the report page shows it"
        for edge in (
            pixels[:, : MARGIN - 2],
            pixels[:, -MARGIN + 2 :],
            pixels[: MARGIN - 2],
            pixels[-MARGIN + 2 :],
        ):
            assert (edge == 255).all()


@pytest.mark.parametrize("channels", [1, 3, 4, 5])
@pytest.mark.parametrize("size", [(32, 32), (90, 40), (300, 400)], ids=str)
def test_right_and_wrong_are_the_colour_of_the_frame(size: tuple[int, int], channels: int) -> None:
    pixels = sheet(size, channels=channels)
    for outcome, (image, own, other, with_other) in zip(OUTCOMES, places(size), strict=True):
        assert framed(pixels, image, size) == framed(pixels, other, size) == {LIGHT}
        for right, place in zip(outcome, (own, with_other), strict=True):
            assert framed(pixels, place, size) == {FRAMES[right]}
            x, y = place[0], place[1] + drawn(size)[0] + 2 * FRAME
            caption = pixels[y : y + LINE, x : x + 12]
            assert (caption == FRAMES[right]).all(axis=2).any(), "a symbol, too"
            assert not (caption == FRAMES[not right]).all(axis=2).any()


def test_in_a_thumbnail_a_wrong_answer_is_still_seen() -> None:
    pixels = sheet()
    factor = pixels.shape[1] / 400
    small = torch.nn.functional.interpolate(
        torch.tensor(pixels).permute(2, 0, 1)[None].float(), scale_factor=1 / factor, mode="area"
    )[0]
    own, with_other = places()[0][1], places()[0][3]
    for (x, y), color in ((own, RIGHT), (with_other, WRONG)):
        middle = round((y + drawn((32, 32))[0] / 2) / factor)
        edge = small[:, middle, round((x + FRAME / 2) / factor)]
        torch.testing.assert_close(edge, torch.tensor(color).float(), rtol=0, atol=12)


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_swap_has_its_row(count: int) -> None:
    pixels = sheet(swaps=[swap()] * count)
    x = places()[0][3][0]
    frames = (pixels[TILES:, x : x + 10] == WRONG).all(axis=(1, 2))
    height = drawn((32, 32))[0] + 2 * FRAME
    edges = np.diff(frames.astype(int), prepend=0) == 1
    assert int(edges.sum()) == 2 * count, "two edges each"
    assert all(frames[y - TILES] and frames[y - TILES + height - 1] for *_, (_, y) in places(count=count))


def test_images_are_in_their_places_at_one_scale() -> None:
    """One range is guessed for all: what is equal before is equal in the picture."""
    values = torch.tensor([-2.0, 0.0, 1.0, 2.0, 4.0, 0.0, 3.0, -1.0])
    images = values[:, None, None, None].expand(-1, 3, 32, 32)
    pixels = sheet(images=images, swaps=[swap(), swap()])
    for i, row in enumerate(places(count=2)):
        for column, place in enumerate(row):
            expected = 255 * (values[2 * column + i].item() + 2) / 6
            assert np.abs(inside(pixels, place) - expected).max() <= 1


def test_the_normalization_is_undone() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.1, 0.2)
    plain = torch.tensor([0.9, 0.2, 0.5]).reshape(1, 3, 1, 1).expand(1, 3, 32, 32)
    images = (plain - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    picture = draw_shortcut(images, images, images, images, [swap()], None, [], HEADER, (mean, std))()
    for place in places(count=1)[0]:
        assert np.abs(inside(np.asarray(picture), place) - 255 * np.array([0.9, 0.2, 0.5])).max() <= 1


def test_an_arrow_leads_to_each_answer() -> None:
    pixels = sheet(swaps=[swap()])
    (image, own, other, with_other), (height, width) = places()[0], drawn((32, 32))
    for left, right in ((image, own), (other, with_other)):
        between = pixels[left[1] : left[1] + height, left[0] + width + 2 * FRAME : right[0]]
        dark = np.argwhere((between < 255).any(axis=2))
        middle = (dark.min(axis=0) + dark.max(axis=0)) / 2
        assert np.abs(middle - np.array(between.shape[:2]) / 2).max() <= 7
    between = pixels[own[1] : own[1] + height, own[0] + width + 2 * FRAME : other[0]]
    assert (between == 255).all(), "the two halves of a row are apart"


# --- how well each place tells the class


def cell(pixels: Pixels, row: int, column: int) -> Pixels:
    """A cell's upper left corner, which its number leaves free."""
    x, y = MARGIN + column * CELL, below() + HEAD + 2 + row * CELL
    return pixels[y : y + 10, x : x + CELL - 2]


def test_the_cells_have_the_colour_of_their_value() -> None:
    pixels = sheet()
    table = 255 * color_table("inferno").numpy()
    for row, column in product(range(4), range(4)):
        value = CELLS[row][column]
        expected = np.array(LIGHT) if math.isnan(value) else table[round(255 * max(value, 0))]
        assert np.abs(cell(pixels, row, column) - expected).max() <= 1
        x, y = MARGIN + column * CELL, below() + HEAD + 2 + row * CELL
        number = pixels[y + 12 : y + 34, x : x + CELL - 2]
        contrast = np.abs(number.astype(int) - cell(pixels, row, column)[0, 0]).sum(axis=2).max()
        assert contrast > 250, "a number that is legible"


def test_less_than_chance_is_shown_as_chance() -> None:
    np.testing.assert_array_equal(sheet(cells=[[-0.7]]), sheet(cells=[[0.0]]))
    assert (sheet(cells=[[0.1]]) != sheet(cells=[[0.0]])).any()


def test_what_the_numbers_mean_stands_below_them() -> None:
    images = torch.rand(1, 3, 32, 32)
    given = images, images, images, images, [swap()], CELLS, [], HEADER, None
    all_classes, one_class = (
        np.asarray(draw_shortcut(*given, scale=scale)()) for scale in (OF_ALL, OF_ONE_CLASS)
    )
    changed = np.argwhere((all_classes != one_class).any(axis=2))
    y = below(1) + HEAD + 4 + 4 * CELL
    assert len(changed)
    assert (changed[:, 0] >= y - 2).all()
    assert (changed[:, 0] < y + LINE).all()
    assert (changed[:, 1] < MARGIN + 4 * CELL).all(), "no wider than the map"


def test_without_a_map_there_is_no_empty_grid() -> None:
    pixels, grid = sheet(cells=None), sheet()
    top, right = below() + HEAD, MARGIN + 4 * CELL
    assert (pixels[top : top + LINE + 2, MARGIN:right] < 255).any(), "a word"
    assert (pixels[top + LINE + 4 : top + 4 * CELL, MARGIN:right] == 255).all()
    assert (grid[top + LINE + 4 : top + 4 * CELL, MARGIN:right] < 255).any()


# --- what each class loses, and what its cue draws


LOST, DRAWN = (MARGIN + WIDTH - TABLE + NAME + BETWEEN + i * COLUMN for i in range(2))  # where bars begin


def bars(pixels: Pixels, count: int, x: int) -> list[Pixels]:
    """A line of pixels through each bar."""
    y = below() + HEAD + 4
    return [pixels[y + i * LINE + 6, x : x + BAR] for i in range(count)]


def lengths(pixels: Pixels, count: int, x: int) -> list[int]:
    """Of the bars, whatever their colour."""
    filled = [(bar == WRONG).all(axis=1) | (bar == UNKNOWN).all(axis=1) for bar in bars(pixels, count, x)]
    return [int(np.flatnonzero(line).max(initial=-1)) + 1 for line in filled]


def test_bars_are_as_long_as_what_is_lost_and_drawn() -> None:
    classes = rows(10)
    pixels = sheet(classes=classes)
    ranked = [classes[1], *classes[:1:-1], classes[0]]
    assert lengths(pixels, 10, LOST) == [round(BAR * row.lost) for row in ranked]
    assert lengths(pixels, 10, DRAWN) == [round(BAR * row.drawn) for row in ranked]
    for x in (LOST, DRAWN):
        named, *others, nothing = bars(pixels, 10, x)
        assert tuple(named[3]) == WRONG
        assert all(tuple(bar[3]) == UNKNOWN for bar in others)
        assert (nothing == LIGHT).all()


def test_what_is_gained_has_a_number_and_no_bar() -> None:
    classes = [ClassRow("digit 3", -0.25, -1.0, False), ClassRow("digit 4", 0.0, 1.0, False)]
    pixels = sheet(classes=classes)
    assert (lengths(pixels, 2, LOST), lengths(pixels, 2, DRAWN)) == ([0, 0], [BAR, 0])
    zero = sheet(classes=[replace(classes[0], lost=0.0), classes[1]])
    changed = np.argwhere((pixels != zero).any(axis=2))
    assert len(changed), "its number differs from 0"
    assert changed[:, 1].min() >= LOST + BAR + BETWEEN
    assert changed[:, 1].max() < LOST + BAR + BETWEEN + COUNT


def test_a_small_loss_is_not_minus_nothing() -> None:
    np.testing.assert_array_equal(
        sheet(classes=[ClassRow("a", -0.001, 0.0, False)]), sheet(classes=[ClassRow("a", 0.001, 0.0, False)])
    )


def test_named_classes_come_first_and_what_is_left_out_is_said() -> None:
    ten, eleven, thousand = (sheet(classes=rows(count)) for count in (10, 11, 1000))
    assert ten.shape == eleven.shape == thousand.shape, "the map of places is higher than the table"
    y = below() + HEAD + 4 + 10 * LINE
    last = slice(y, y + LINE), slice(MARGIN + WIDTH - TABLE, None)
    assert (ten[last] == 255).all()
    assert (eleven[last] < 255).any()
    assert (eleven[last] != thousand[last]).any(), "how many"
    first, *others = bars(thousand, 10, LOST)
    assert tuple(first[3]) == LIGHT, "class 1 loses a thousandth"
    assert all(tuple(bar[BAR - 5]) == UNKNOWN for bar in others)


def test_long_names_stay_in_their_room() -> None:
    short, long = (
        sheet(swaps=[swap(*outcome, name) for outcome in OUTCOMES], classes=rows(1000, name))
        for name in ("digit ", LONG)
    )
    assert short.shape == long.shape
    height = drawn((32, 32))[0] + 2 * FRAME
    for x, y in (place for row in places() for place in row):
        assert (long[y + height : y + height + LINE, x + ROOM + 1 : x + ROOM + 20] == 255).all(), (
            "white up to the next column"
        )
    changed = np.argwhere((short != long).any(axis=2))
    table = changed[(changed[:, 0] >= below() + HEAD) & (changed[:, 0] < below() + HEAD + 4 + 10 * LINE)]
    assert len(table)
    assert table[:, 1].max() < LOST, "the bars do not move"


@pytest.mark.parametrize("column", range(4))
def test_each_caption_says_its_own_class(column: int) -> None:
    field = ("image", "answer_own", "other", "answer_other")[column]
    one, other = sheet(), sheet(swaps=[replace(swap(*o), **{field: "cat"}) for o in OUTCOMES])
    changed = np.argwhere((one != other).any(axis=2))
    assert (changed[:, 1] >= MARGIN + COLUMNS[column]).all()
    assert (changed[:, 1] < MARGIN + COLUMNS[column] + ROOM).all()
    assert len(np.unique((changed[:, 0] - TILES) // step((32, 32)))) == 4, "in each row"


# --- the head


def test_the_statement_is_wrapped_and_never_cut_silently() -> None:
    words = [f"word{i}" for i in range(400)]
    assert wrap_text("", 700, MOST_LINES) == []
    assert wrap_text(HEADER[1], 700, MOST_LINES) == [HEADER[1]]
    assert wrap_text("one\ntwo", 700, MOST_LINES) == ["one", "two"]
    wrapped = wrap_text(" ".join(words[:30]), 700, MOST_LINES)
    assert 1 < len(wrapped) <= MOST_LINES
    assert " ".join(wrapped) == " ".join(words[:30])
    cut = wrap_text(" ".join(words), 700, MOST_LINES)
    assert ["…" in line for line in cut] == [False, False, False, True]
    assert cut[-1].endswith("word399")
    assert "…" in wrap_text("x" * 500, 700, MOST_LINES)[0]
    statements = ("", "a", "a\nb", "a\nb\nc", "a\nb\nc\nd", "a\nb\nc\nd\ne")
    heights = [sheet(header=(HEADER[0], statement)).shape[0] for statement in statements]
    assert np.diff(heights).tolist() == [LINE, LINE, LINE, LINE, 0]


def test_the_same_input_gives_the_same_sheet() -> None:
    np.testing.assert_array_equal(sheet(), sheet())
