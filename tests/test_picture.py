"""Overlay sheets and film strips, pixel by pixel: sizes, places, colours, captions, symbols. No golden picture: fonts differ."""

import math
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from lightning_cam.attribution.maps import BLANK_REASONS
from lightning_cam.data.history import History, remember
from lightning_cam.data.probe import Probe
from lightning_cam.visualization.blend import MOST_OPAQUE, PART_COLORS, color_table, displayable
from lightning_cam.visualization.canvas import (
    BADGE,
    FRAME,
    GAP,
    LINE,
    MARGIN,
    NARROWEST,
    REMARK,
    RIGHT,
    UNKNOWN,
    WRONG,
    text_width,
)
from lightning_cam.visualization.evolution import STRIP_COLUMNS, STRIP_ROWS, draw_evolution
from lightning_cam.visualization.overlay import draw_overlay
from lightning_cam.visualization.prepared import GRID_TILES, STRIP_TILES
from lightning_cam.visualization.projection import SLICE_GAP, drawn_size, tile_size, trace
from lightning_cam.visualization.scene import Scene, how_drawn, part_legend
from lightning_cam.visualization.style import Style

HEADER = ("epoch 12 · step 3456", "gradcam at layer4 (7 x 7) · target: label")
NAMES = ("cat", "dog", "golden retriever", "tench, Tinca tinca")
TOP = MARGIN + 2 * LINE + 14  # of the first row of cells
BAR = 2 * LINE + 10  # height of the colour bar with its legend
SIZES = [(32, 32), (224, 224), (512, 512), (20, 200), (200, 20)]
LONG = tuple(
    f"{number} is a very long class name that goes on and on, and only its end tells the number: {number}"
    for number in range(4)
)
ALPHABETS = (
    "Größe ÄÖÜß",
    "кошка",
    "γάτα",
    "قطة",
    "עברית",
    "猫",
    "고양이",
    "बिल्ली",
    "แมว",
    "🐱",
    "two\nlines\tand a tab",
    " ",
)

Pixels = np.ndarray
Place = tuple[int, int]


def colors(count: int) -> Tensor:
    """One colour per image, (n, 3), in [0, 1]."""
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(0))


def plain(count: int, size: tuple[int, ...] = (32, 32), channels: int = 3) -> Tensor:
    """Images of one colour each."""
    values = torch.cat([colors(count), torch.ones(count, 1)], dim=1)[:, :channels]
    return values.reshape(count, channels, *[1] * len(size)).expand(-1, -1, *size).contiguous()


def answers(predicted: Sequence[int], classes: int) -> Tensor:
    return 3 * torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()


def sheet(
    images: Tensor,
    predicted: Sequence[int],
    labels: Sequence[int] | None,
    names: tuple[str, ...] | None = NAMES,
    reasons: Sequence[int] | None = None,
    cams: Tensor | None = None,
    style: Style | None = None,
    parts: Tensor | None = None,
    header: tuple[str, str] = HEADER,
) -> Pixels:
    count = len(images)
    probe = Probe(images, None if labels is None else torch.tensor(labels), None, names)
    if cams is None:
        cams = (
            torch.rand(count, 7, 7, generator=torch.Generator().manual_seed(1))
            if parts is None
            else parts[:, 0]
        )
    reasons = torch.tensor(reasons or [0] * count)
    scores = answers(predicted, len(names or NAMES))
    picture = draw_overlay(
        Scene(probe, images, cams, scores, reasons, History(), *header, style or Style(), parts=parts)
    )()
    assert picture.mode == "RGB"
    return np.asarray(picture)


def cells(pixels: Pixels, tile: tuple[int, int], count: int) -> list[Place]:
    """Left upper corner of each cell, read off the picture by the colours of the frames."""

    def starts(line: Pixels) -> list[int]:
        framed = np.isin(
            line.astype(int) @ (1 << 16, 1 << 8, 1),
            [r << 16 | g << 8 | b for r, g, b in (RIGHT, WRONG, UNKNOWN)],
        )
        white = (line == 255).all(axis=1)
        return [i for i in range(1, len(line)) if framed[i] and white[i - 1] and framed[i : i + FRAME].all()]

    columns = starts(pixels[TOP])
    rows = [
        y
        for y in starts(pixels[:, MARGIN])
        if (pixels[y : y + tile[0] + 2 * FRAME, MARGIN] == pixels[y, MARGIN]).all()
    ]
    found = [(x, y) for y in rows for x in columns]
    assert len(found) >= count
    assert len(found) - count < len(columns), "no empty row"
    return found[:count]


@pytest.mark.parametrize("count", [1, 3, 16])
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_overlay_grid_has_its_cells_side_by_side(size: tuple[int, int], count: int) -> None:
    labels = [i % 4 for i in range(count)]
    pixels = sheet(plain(count, size), [(i + (i % 3 == 0)) % 4 for i in range(count)], labels, LONG)
    height, width = tile_size(*size, *GRID_TILES)
    cell = max(2 * width + 3 * FRAME, NARROWEST)
    found = cells(pixels, (height, width), count)
    columns = sorted({x for x, _ in found})
    assert columns == [MARGIN + i * (cell + GAP) for i in range(len(columns))]
    assert pixels.shape[1] <= max(2 * MARGIN + 2 * NARROWEST, columns[-1] + cell + MARGIN) <= 2100
    assert pixels.shape[0] <= 2100
    # However long the names, the columns between cells stay white, but for a letter that leans over or the tip of a symbol.
    body = pixels[TOP:-BAR]
    for x in columns:
        assert (body[:, x + cell + 2 : x + cell + GAP - 2] == 255).all()
    assert (pixels[:, -MARGIN + 2 :] == 255).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_each_cell_holds_its_image_in_a_frame_of_the_right_colour(channels: int) -> None:
    images = plain(5, (32, 32), channels)
    labels, predicted = [0, 1, 2, 3, 0], [0, 2, 2, 1, 0]
    pixels = sheet(images, predicted, labels)
    height, width = tile_size(32, 32, *GRID_TILES)
    for i, (x, y) in enumerate(cells(pixels, (height, width), 5)):
        frame = RIGHT if labels[i] == predicted[i] else WRONG
        right, bottom = x + 2 * width + 3 * FRAME, y + height + 2 * FRAME
        for part in (
            pixels[y : y + FRAME, x:right],
            pixels[bottom - FRAME : bottom, x:right],
            pixels[y:bottom, x : x + FRAME],
            pixels[y:bottom, x + FRAME + width : x + 2 * FRAME + width],
            pixels[y:bottom, right - FRAME : right],
        ):
            assert (part == frame).all()
        expected = colors(5)[i] if channels > 1 else colors(5)[i, :1].expand(3)
        tile = pixels[y + FRAME : bottom - FRAME, x + FRAME : x + FRAME + width]
        assert np.abs(tile - 255 * expected.numpy()).max() <= 1


def test_the_overlay_is_image_and_heatmap() -> None:
    cams = torch.zeros(2, 7, 7)
    cams[0, :, :3] = 1
    pixels = sheet(plain(2), [0, 1], [0, 1], cams=cams, style=Style(colormap="viridis", opacity=0.25))
    height, width = tile_size(32, 32, *GRID_TILES)
    table = color_table("viridis")
    first, second = cells(pixels, (height, width), 2)
    for image, (x, y), column, heat in (
        (0, first, 2, table[255]),
        (0, first, width - 3, table[0]),
        (1, second, 9, table[0]),
    ):
        expected = 255 * (0.75 * colors(2)[image] + 0.25 * heat)
        pixel = pixels[y + FRAME + height // 2, x + width + 2 * FRAME + column]
        assert np.abs(pixel - expected.numpy()).max() <= 1


def test_without_labels_all_is_grey() -> None:
    pixels = sheet(plain(3), [0, 1, 2], None)
    places = cells(pixels, tile_size(32, 32, *GRID_TILES), 3)
    assert all((pixels[y, x] == UNKNOWN).all() for x, y in places)


def test_a_wrong_answer_is_wrong_whatever_it_is_called() -> None:
    """ImageNet has two cranes, two maillots and two cardigans: names are no proof."""
    pixels = sheet(plain(2), [1, 0], [0, 0], ("crane", "crane", "missile", "projectile"))
    first, second = cells(pixels, tile_size(32, 32, *GRID_TILES), 2)
    assert tuple(pixels[second[1], second[0]]) == RIGHT
    assert tuple(pixels[first[1], first[0]]) == WRONG


def third_line(pixels: Pixels, place: Place, size: tuple[int, int]) -> Pixels:
    """The room below label and prediction, where the reason of a blank map stands."""
    height, width = tile_size(*size, *GRID_TILES)
    x, y = place[0], place[1] + height + 2 * FRAME + 4 + 2 * LINE
    return pixels[y + 2 : y + LINE - 2, x : x + max(2 * width + 3 * FRAME, NARROWEST)]


@pytest.mark.parametrize("reason", range(1, len(BLANK_REASONS)), ids=BLANK_REASONS[1:])
def test_a_blank_map_says_why(reason: int) -> None:
    cams = torch.rand(3, 7, 7)
    cams[1] = 0
    pixels = sheet(plain(3), [0, 1, 2], [0, 1, 2], reasons=[0, reason, 0], cams=cams)
    without = sheet(plain(3), [0, 1, 2], [0, 1, 2], cams=cams)
    assert pixels.shape[0] > without.shape[0]
    lines = [
        third_line(pixels, place, (32, 32)) for place in cells(pixels, tile_size(32, 32, *GRID_TILES), 3)
    ]
    assert [bool((line < 255).any()) for line in lines] == [False, True, False]
    other = sheet(plain(3), [0, 1, 2], [0, 1, 2], reasons=[0, 1 + reason % 4, 0], cams=cams)
    assert (pixels != other).any(), "each reason in its own words"


def caption(pixels: Pixels, place: Place, line: int) -> Pixels:
    height, width = tile_size(32, 32, *GRID_TILES)
    x, y = place[0] + 16, place[1] + height + 2 * FRAME + 4 + line * LINE
    return pixels[y : y + LINE, x : x + max(2 * width + 3 * FRAME, NARROWEST) - 16]


@pytest.mark.parametrize("names", [LONG, ALPHABETS], ids=["long", "alphabets"])
def test_names_of_any_kind_are_drawn(names: tuple[str, ...]) -> None:
    count = len(names)
    pixels = sheet(plain(count), [*range(1, count), 0], list(range(count)), names)
    for place in cells(pixels, tile_size(32, 32, *GRID_TILES), count):
        assert (caption(pixels, place, 0) < 255).any()
        assert (caption(pixels, place, 1) < 255).any()


@pytest.mark.parametrize("names", [LONG, ALPHABETS[:5]], ids=["long", "alphabets"])
def test_different_names_look_different(names: tuple[str, ...]) -> None:
    count = len(names)
    pixels = sheet(plain(count), [0] * count, list(range(count)), names)
    labels = {
        caption(pixels, place, 1).tobytes() for place in cells(pixels, tile_size(32, 32, *GRID_TILES), count)
    }
    assert len(labels) == count


def test_a_class_without_a_name_gets_its_number() -> None:
    named, numbered = (sheet(plain(2), [1, 0], [0, 0], names) for names in (("0", "1", "2", "3"), None))
    np.testing.assert_array_equal(named, numbered)


def test_scores_that_are_not_finite_are_drawn() -> None:
    probe = Probe(plain(2), torch.tensor([0, 1]))
    scores = torch.tensor([[torch.nan, 1.0], [0.0, 3.0]])
    cams, reasons = torch.full((2, 7, 7), torch.nan), torch.tensor([1, 1])
    picture = draw_overlay(Scene(probe, plain(2), cams, scores, reasons, History(), *HEADER))()
    pixels = np.asarray(picture)
    first, second = (
        third_line(pixels, place, (32, 32)) for place in cells(pixels, tile_size(32, 32, *GRID_TILES), 2)
    )
    assert (first < 255).any()
    assert (second < 255).any()


def test_the_normalization_is_undone_and_guessing_is_said() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.2, 0.2)
    images = (plain(2) - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    for normalization, said in (((mean, std), False), (None, True)):
        scene = Scene(
            Probe(images),
            images,
            torch.rand(2, 7, 7),
            torch.rand(2, 4),
            torch.zeros(2, dtype=torch.long),
            History(),
            *HEADER,
            normalization=normalization,
        )
        drawn = draw_overlay(scene)()
        assert scene.is_range_guessed is said
        x, y = cells(np.asarray(drawn), tile_size(32, 32, *GRID_TILES), 2)[1]
        difference = np.abs(
            np.asarray(drawn)[y + FRAME + 5, x + FRAME + 5] - 255 * colors(2)[1].numpy()
        ).max()
        assert (difference <= 1) is not said


def test_the_colour_bar_runs_from_the_first_colour_to_the_last() -> None:
    pixels = sheet(plain(3), [0, 1, 2], [0, 1, 2], style=Style(colormap="viridis"))
    start = MARGIN + math.ceil(text_width("none")) + 8
    line = pixels[pixels.shape[0] - BAR + 8, start : start + 150]
    table = 255 * color_table("viridis").numpy()
    assert np.abs(line[0] - table[0]).max() < 4
    assert np.abs(line[-1] - table[255]).max() < 4
    assert np.abs(line[75] - table[128]).max() < 6


def strip(
    size: tuple[int, int] = (32, 32),
    count: int = 3,
    looks: int = 4,
    right: bool = True,
    unseen: Sequence[int] = (),
    names: tuple[str, ...] = NAMES,
    labelled: bool = True,
) -> Pixels:
    """Looks at all images: the first one at the untrained model, which has not seen ``unseen``."""
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
    return np.asarray(draw_evolution(in_a_fit(probe, history))())


def in_a_fit(probe: Probe, history: History) -> Scene:
    """A film strip shows what the history holds; of the look itself nothing."""
    count = len(probe)
    nothing = torch.zeros(count, 1, 1), torch.zeros(count, 4), torch.zeros(count, dtype=torch.long)
    return Scene(probe, probe.images, *nothing, history, *HEADER, in_fit=True)


def strip_places(
    pixels: Pixels, size: tuple[int, int], rows: int, columns: int
) -> dict[tuple[int, int], Place]:
    """Left upper corner of each tile; column 0 is the image. The picture has to be wide enough to fill its canvas."""
    height, width = tile_size(*size, *STRIP_TILES)
    step = max(width, REMARK) + 6, max(height, LINE) + BADGE + 4
    left = pixels.shape[1] - MARGIN - (1 + columns) * step[0]
    top = TOP + LINE
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
    assert pixels.shape[0] <= TOP + LINE + STRIP_ROWS * (largest + BADGE) + 8 + BAR


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
    assert (tile[-20:] == 232).all(), "grey"
    assert (tile[:20] < 200).any(), "with a word"
    assert (pixels[y + height : y + height + BADGE, x : x + width] == 255).all(), "without a symbol"
    x, y = places[1, 2]
    np.testing.assert_array_equal(pixels[y : y + height, x : x + width], seen[y : y + height, x : x + width])


def test_a_strip_of_one_look() -> None:
    pixels = strip(count=1, looks=1)
    assert pixels.shape[1] == 2 * MARGIN + 2 * NARROWEST, "the colour bar needs this width"


@pytest.mark.parametrize("names", [LONG, ALPHABETS], ids=["long", "alphabets"])
def test_a_film_strip_with_names_of_any_kind(names: tuple[str, ...]) -> None:
    count = min(8, len(names))
    pixels = strip(count=count, looks=14, names=names)
    places = strip_places(pixels, (32, 32), count, 10)
    height, _ = tile_size(32, 32, *STRIP_TILES)
    for row in range(count):
        x, y = places[row, 0]
        assert (pixels[y : y + height, MARGIN : x - 4] < 255).any()


def test_a_long_header_stays_within_the_picture() -> None:
    header = (
        "epoch 12 · step 3456" * 10,
        "a method of mine at a.very.long.name.of.a.layer · target: a function" * 5,
    )
    probe = Probe(plain(1), torch.tensor([0]), None, NAMES)
    cams, scores = torch.rand(1, 7, 7), answers([0], 4)
    picture = draw_overlay(Scene(probe, plain(1), cams, scores, torch.tensor([0]), History(), *header))()
    pixels = np.asarray(picture)
    assert (pixels[:TOP, -MARGIN + 2 :] == 255).all()
    assert (pixels[:TOP] < 255).any()


# --- signals, volumes and parts


def test_a_volume_is_three_slices_beside_their_overlays() -> None:
    cams = torch.zeros(3, 4, 4, 4)
    cams[:, 0] = 1
    cams[2] = 0
    pixels = sheet(
        plain(3, (16, 16, 16)), [0, 1, 3], [0, 1, 2], cams=cams, style=Style(colormap="viridis", opacity=0.25)
    )
    side, gap = 96, SLICE_GAP
    width = 3 * side + 2 * gap
    table = 255 * color_table("viridis").numpy()
    for i, (x, y) in enumerate(cells(pixels, (side, width), 3)):
        assert tuple(pixels[y, x]) == (WRONG if i == 2 else RIGHT)
        tile = pixels[y + FRAME : y + FRAME + side, x + FRAME : x + FRAME + width].astype(float)
        over = pixels[y + FRAME : y + FRAME + side, x + 2 * FRAME + width : x + 2 * FRAME + 2 * width].astype(
            float
        )
        color = 255 * colors(3)[i].numpy()
        for number in range(3):
            start = number * (side + gap)
            assert np.abs(tile[:, start : start + side] - color).max() <= 1
            if number:
                assert (tile[:, start - gap : start] == 255).all()
                assert (over[:, start - gap : start] == 255).all()
        # The evidence lies at the lowest depths: outside the first slice, at the top of the others.
        evidence = table[255] if i < 2 else table[0]
        assert np.abs(over[:, :side] - (0.75 * color + 0.25 * table[0])).max() <= 1
        assert np.abs(over[:5, side + gap : 2 * side + gap] - (0.75 * color + 0.25 * evidence)).max() <= 1
        assert np.abs(over[-20:, 2 * side + 2 * gap :] - (0.75 * color + 0.25 * table[0])).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 20])
def test_a_signal_is_a_trace_beside_its_overlay(channels: int) -> None:
    signals = torch.randn(3, channels, 500, generator=torch.Generator().manual_seed(3))
    cams = torch.zeros(3, 10)
    cams[:, 7:] = 1
    pixels = sheet(signals, [0, 1, 2], [0, 1, 2], cams=cams, style=Style(colormap="viridis", opacity=0.25))
    traces = 255 * trace(displayable(signals)[0], drawn_size(signals))[:, 0].numpy()[..., None]
    height, width = traces.shape[1:3]
    table = 255 * color_table("viridis").numpy()
    for picture, (x, y) in zip(traces, cells(pixels, (height, width), 3), strict=True):
        tile = pixels[y + FRAME : y + FRAME + height, x + FRAME : x + FRAME + width].astype(float)
        over = pixels[
            y + FRAME : y + FRAME + height, x + 2 * FRAME + width : x + 2 * FRAME + 2 * width
        ].astype(float)
        assert np.abs(tile - picture).max() <= 1
        assert np.abs(over[:, :140] - (0.75 * picture[:, :140] + 0.25 * table[0])).max() <= 1
        assert np.abs(over[:, 180:] - (0.75 * picture[:, 180:] + 0.25 * table[255])).max() <= 1


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((2, 3, 8, 8), ""),
        ((2, 1, 8), ""),
        ((2, 12, 8), "channels from the top"),
        ((2, 64, 8), "the first 16 of 64 channels, from the top"),
        ((2, 1, 4, 8, 8), "slices through the middle of D, H and W, from the left"),
    ],
    ids=str,
)
def test_the_header_says_what_is_shown(shape: tuple[int, ...], words: str) -> None:
    images, cams = torch.rand(shape), torch.rand(2, *[4] * (len(shape) - 2))
    assert how_drawn(images) == words
    told = sheet(images, [0, 1], [0, 1], cams=cams)
    by_hand = sheet(
        plain(2), [0, 1], [0, 1], header=(HEADER[0], f"{HEADER[1]} · {words}" if words else HEADER[1])
    )
    line = slice(MARGIN + LINE + 2, TOP - 2)
    width = min(told.shape[1], by_hand.shape[1])
    np.testing.assert_array_equal(told[line, :width], by_hand[line, :width])


@pytest.mark.parametrize("size", [(3000,), (8,), (28, 28, 28), (9, 128, 96), (1, 64, 64)], ids=str)
def test_a_film_strip_of_signals_and_volumes_fits_a_screen(size: tuple[int, ...]) -> None:
    images = torch.rand(8, 2, *size, generator=torch.Generator().manual_seed(4))
    history = History()
    for epoch in range(-1, 13):
        cams = torch.rand(8, *[3] * len(size), generator=torch.Generator().manual_seed(epoch + 2))
        history = history.added(remember(epoch, epoch + 1, cams, torch.arange(8) % 4, torch.rand(8), {}))
    probe = Probe(images, torch.arange(8) % 4, None, NAMES)
    width, height = draw_evolution(in_a_fit(probe, history))().size
    assert width <= 2200
    assert height <= 1100


def three_parts(count: int = 3) -> Tensor:
    """The first at full strength on the left, the second at half on the right; the third nowhere."""
    parts = torch.zeros(count, 3, 4, 4)
    parts[:, 0, :, :2], parts[:, 1, :, 2:] = 1, 0.5
    return parts


def test_parts_are_drawn_in_their_colours() -> None:
    pixels = sheet(plain(3), [0, 1, 2], [0, 1, 2], parts=three_parts())
    height, width = tile_size(32, 32, *GRID_TILES)
    palette = np.array(PART_COLORS[:2])
    for i, (x, y) in enumerate(cells(pixels, (height, width), 3)):
        grey = 255 * colors(3)[i].mean().item()
        over = pixels[y + FRAME : y + FRAME + height, x + 2 * FRAME + width : x + 2 * FRAME + 2 * width]
        for column, part, strength in ((3, 0, 1.0), (width - 4, 1, 0.5)):
            expected = (1 - MOST_OPAQUE * strength) * grey + MOST_OPAQUE * strength * palette[part]
            assert np.abs(over[:, column] - expected).max() <= 1


@pytest.mark.parametrize("count", [1, 5, 7, 12])
def test_the_legend_of_parts_stands_in_the_place_of_the_colour_bar(count: int) -> None:
    legend = part_legend(count)
    assert [name for name, _ in legend] == [f"part {number}" for number in range(1, min(count, 7) + 1)]
    parts = torch.rand(2, count, 4, 4, generator=torch.Generator().manual_seed(5))
    pixels = sheet(plain(2), [0, 1], [0, 1], parts=parts)
    line = pixels[pixels.shape[0] - BAR + 8]
    places = [np.flatnonzero((line == color).all(axis=1)) for _, color in legend]
    assert all(len(place) == 10 for place in places), "a swatch each, within its outline"
    starts = [int(place[0]) for place in places]
    assert starts == sorted(starts)
    assert starts[-1] + 60 < pixels.shape[1] - MARGIN, "with room for its name"
    below = pixels[pixels.shape[0] - BAR + LINE :]
    by_map = sheet(plain(2), [0, 1], [0, 1])
    symbols = slice(0, MARGIN + 230)
    np.testing.assert_array_equal(below[:, symbols], by_map[by_map.shape[0] - BAR + LINE :, symbols])


def test_an_image_without_the_first_part_is_not_blank_where_it_has_another() -> None:
    parts = three_parts()
    parts[1, 0] = 0
    parts[2] = 0
    pixels = sheet(plain(3), [0, 1, 2], [0, 1, 2], reasons=[0, 5, 5], parts=parts)
    lines = [
        third_line(pixels, place, (32, 32)) for place in cells(pixels, tile_size(32, 32, *GRID_TILES), 3)
    ]
    assert [bool((line < 255).any()) for line in lines] == [False, False, True]
