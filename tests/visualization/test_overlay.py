"""Overlay sheets, pixel by pixel: sizes, places, colours, captions. No golden picture: fonts differ."""

import math

import numpy as np
import pytest
import torch
from support.scenes import scene
from support.sheets import (
    ALPHABETS,
    BAR,
    FIRST_ROW,
    HEADER,
    LONG,
    NAMES,
    SIZES,
    Pixels,
    Place,
    answers,
    colors,
    plain,
    sheet,
)
from torch import Tensor

from lightning_cam.attribution.maps import BLANK_REASONS
from lightning_cam.data.probe import Probe
from lightning_cam.visualization.blend import (
    MOST_OPAQUE,
    PART_COLORS,
    color_table,
    displayable,
)
from lightning_cam.visualization.canvas import (
    FRAME,
    GAP,
    LINE,
    MARGIN,
    NARROWEST,
    RIGHT,
    TOP,
    UNKNOWN,
    WRONG,
)
from lightning_cam.visualization.letters import text_width
from lightning_cam.visualization.overlay import Caption, draw_overlay
from lightning_cam.visualization.prepared import FOREGROUND_LINE, GRID_TILES, MASK_LINE
from lightning_cam.visualization.projection import SLICE_GAP, drawn_size, tile_size, trace
from lightning_cam.visualization.scene import part_legend
from lightning_cam.visualization.style import Style


def cells(pixels: Pixels, tile: tuple[int, int], count: int) -> list[Place]:
    """Left upper corner of each cell, read off the picture by the colours of the frames."""

    def starts(line: Pixels) -> list[int]:
        framed = np.isin(
            line.astype(int) @ (1 << 16, 1 << 8, 1),
            [r << 16 | g << 8 | b for r, g, b in (RIGHT, WRONG, UNKNOWN)],
        )
        white = (line == 255).all(axis=1)
        return [i for i in range(1, len(line)) if framed[i] and white[i - 1] and framed[i : i + FRAME].all()]

    columns = starts(pixels[FIRST_ROW])
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
    cell = max(width + 2 * FRAME, NARROWEST)
    found = cells(pixels, (height, width), count)
    columns = sorted({x for x, _ in found})
    assert columns == [MARGIN + i * (cell + GAP) for i in range(len(columns))]
    assert pixels.shape[1] <= max(2 * MARGIN + 460, columns[-1] + cell + MARGIN) <= 2100
    assert pixels.shape[0] <= 2100
    # However long the names, the columns between cells stay white, but for a letter that leans over or the tip of a symbol.
    body = pixels[FIRST_ROW:-BAR]
    for x in columns:
        assert (body[:, x + cell + 2 : x + cell + GAP - 2] == 255).all()
    assert (pixels[:, -MARGIN + 2 :] == 255).all()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_each_cell_holds_its_image_in_a_frame_of_the_right_colour(channels: int) -> None:
    images = plain(5, (32, 32), channels)
    labels, predicted = [0, 1, 2, 3, 0], [0, 2, 2, 1, 0]
    pixels = sheet(images, predicted, labels, style=Style(opacity=0))
    height, width = tile_size(32, 32, *GRID_TILES)
    for i, (x, y) in enumerate(cells(pixels, (height, width), 5)):
        frame = RIGHT if labels[i] == predicted[i] else WRONG
        right, bottom = x + width + 2 * FRAME, y + height + 2 * FRAME
        for part in (
            pixels[y : y + FRAME, x:right],
            pixels[bottom - FRAME : bottom, x:right],
            pixels[y:bottom, x : x + FRAME],
            pixels[y:bottom, right - FRAME : right],
        ):
            assert (part == frame).all()
        expected = colors(5)[i] if channels > 1 else colors(5)[i, :1].expand(3)
        tile = pixels[y + FRAME : bottom - FRAME, x + FRAME : x + FRAME + width]
        assert np.abs(tile - 255 * expected.numpy()).max() <= 1


def test_the_overlay_is_image_and_heatmap() -> None:
    cams = torch.zeros(2, 7, 7)
    cams[0, :, :3] = 1
    cams[1, :, 6] = 1
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
        pixel = pixels[y + FRAME + height // 2, x + FRAME + column]
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
    return pixels[y + 2 : y + LINE - 2, x : x + max(width + 2 * FRAME, NARROWEST)]


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
    return pixels[y : y + LINE, x : x + max(width + 2 * FRAME, NARROWEST) - 16]


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
    picture = draw_overlay(scene(probe, cams=cams, scores=scores, header=HEADER, reasons=reasons))()
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
        cams, scores = torch.rand(2, 7, 7), torch.rand(2, 4)
        given = scene(Probe(images), cams=cams, scores=scores, header=HEADER, normalization=normalization)
        drawn = draw_overlay(given)()
        assert given.is_range_guessed is said
        x, y = cells(np.asarray(drawn), tile_size(32, 32, *GRID_TILES), 2)[1]
        difference = np.abs(
            np.asarray(drawn)[y + FRAME + 5, x + FRAME + 5] - 255 * colors(2)[1].numpy()
        ).max()
        assert (difference <= 1) is not said


def test_the_colour_bar_runs_from_the_first_colour_to_the_last() -> None:
    pixels = sheet(plain(3), [0, 1, 2], [0, 1, 2], style=Style(colormap="viridis", opacity=1.0))
    start = MARGIN + math.ceil(text_width("none")) + 8
    line = pixels[pixels.shape[0] - BAR + 8, start : start + 150]
    table = 255 * color_table("viridis").numpy()
    assert np.abs(line[0] - table[0]).max() < 4
    assert np.abs(line[-1] - table[255]).max() < 4
    assert np.abs(line[75] - table[128]).max() < 6


def test_a_long_header_stays_within_the_picture() -> None:
    header = (
        "epoch 12 · step 3456" * 10,
        "a method of mine at a.very.long.name.of.a.layer · target: a function" * 5,
    )
    probe = Probe(plain(1), torch.tensor([0]), None, NAMES)
    cams, scores = torch.rand(1, 7, 7), answers([0], 4)
    picture = draw_overlay(scene(probe, cams=cams, scores=scores, header=header))()
    pixels = np.asarray(picture)
    assert (pixels[:FIRST_ROW, -MARGIN + 2 :] == 255).all()
    assert (pixels[:FIRST_ROW] < 255).any()


# --- signals, volumes and parts


def test_a_volume_is_three_slices_under_their_maps() -> None:
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
        over = pixels[y + FRAME : y + FRAME + side, x + FRAME : x + FRAME + width].astype(float)
        color = 255 * colors(3)[i].numpy()
        for number in range(3):
            start = number * (side + gap)
            if number:
                assert (over[:, start - gap : start] == 255).all()
        if i == 2:  # a blank map
            inside = over[20:, :side]
            assert np.abs(inside - 255 * (0.65 + 0.35 * color.mean() / 255)).max() <= 1
            continue
        # The evidence lies at the lowest depths: outside the first slice, at the top of the others.
        assert np.abs(over[:, :side] - (0.75 * color + 0.25 * table[0])).max() <= 1
        assert np.abs(over[:5, side + gap : 2 * side + gap] - (0.75 * color + 0.25 * table[255])).max() <= 1
        assert np.abs(over[-20:, 2 * side + 2 * gap :] - (0.75 * color + 0.25 * table[0])).max() <= 1


@pytest.mark.parametrize("channels", [1, 2, 20])
def test_a_signal_is_a_trace_under_its_map(channels: int) -> None:
    signals = torch.randn(3, channels, 500, generator=torch.Generator().manual_seed(3))
    cams = torch.zeros(3, 10)
    cams[:, 7:] = 1
    pixels = sheet(signals, [0, 1, 2], [0, 1, 2], cams=cams, style=Style(colormap="viridis", opacity=0.25))
    traces = 255 * trace(displayable(signals)[0], drawn_size(signals))[:, 0].numpy()[..., None]
    height, width = traces.shape[1:3]
    table = 255 * color_table("viridis").numpy()
    for picture, (x, y) in zip(traces, cells(pixels, (height, width), 3), strict=True):
        over = pixels[y + FRAME : y + FRAME + height, x + FRAME : x + FRAME + width].astype(float)
        assert np.abs(over[:, :140] - (0.75 * picture[:, :140] + 0.25 * table[0])).max() <= 1
        assert np.abs(over[:, 180:] - (0.75 * picture[:, 180:] + 0.25 * table[255])).max() <= 1


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
        over = pixels[y + FRAME : y + FRAME + height, x + FRAME : x + FRAME + width]
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


def test_a_probability_that_is_not_finite_is_said_so() -> None:
    assert [Caption(False, "a", "b", share).percent for share in (0.126, float("nan"))] == [
        " 13 %",
        " not finite",
    ]


def test_lines_of_masks_and_foreground_are_drawn_and_named() -> None:
    images, cams = torch.full((1, 3, 64, 64), 0.5), torch.ones(1, 2, 2)
    cams[0, :, 1] = 0
    mask = torch.zeros(1, 64, 64, dtype=torch.bool)
    mask[:, 20:40, 20:40] = True

    def lines(masks: Tensor | None, foreground: float | None) -> tuple[bool, bool]:
        probe = Probe(images, torch.tensor([0]), masks)
        style = Style(foreground=foreground)
        draw = draw_overlay(scene(probe, style, cams=cams, scores=torch.tensor([[9.0, 0.0]])))
        body = np.asarray(draw())[TOP + FRAME : TOP + FRAME + 128, MARGIN + FRAME : MARGIN + FRAME + 128]
        return bool((body == MASK_LINE).all(axis=2).any()), bool((body == FOREGROUND_LINE).all(axis=2).any())

    assert lines(None, None) == (False, False)
    assert lines(mask, None) == (True, False)
    assert lines(None, 0.5) == (False, True)


# --- tasks


def overlay_of(
    labels: Tensor | None, scores: Tensor, task: str, names: tuple[str, ...] | None = NAMES
) -> Pixels:
    probe = Probe(plain(len(scores)), labels, None, names)
    cams = torch.rand(len(scores), 7, 7, generator=torch.Generator().manual_seed(1))
    return np.asarray(draw_overlay(scene(probe, cams=cams, scores=scores, task=task))())


def test_a_regression_has_no_frames_and_no_symbols() -> None:
    scores = torch.tensor([[45.2], [-3.0], [0.5]])
    pixels = overlay_of(torch.tensor([51.0, -2.0, torch.nan]), scores, "regression", None)
    for color in (RIGHT, WRONG):
        assert not (pixels == color).all(axis=2).any()
    assert (pixels[FIRST_ROW : FIRST_ROW + FRAME] == 255).all(), "no frame"
    same = overlay_of(torch.tensor([51, -2, 7]), scores, "regression", None)
    first_row = slice(0, FIRST_ROW + tile_size(32, 32, *GRID_TILES)[0] + LINE)
    np.testing.assert_array_equal(pixels[first_row], same[first_row])
    other = overlay_of(torch.tensor([52.0, -2.0, torch.nan]), scores, "regression", None)
    assert (pixels != other).any(), "the true number is written"


def test_the_frame_of_several_labels_is_green_where_all_are_right() -> None:
    labels = torch.tensor(
        [[1.0, 0.0, 1.0, 0.0], [1.0, 0.0, 1.0, 0.0], [torch.nan, 0.0, 1.0, torch.nan], [torch.nan] * 4]
    )
    scores = torch.tensor([[2.0, -1.0, 1.0, -3.0], [2.0, -1.0, -1.0, -3.0], [2.0, -1.0, 1.0, 9.0], [1.0] * 4])
    pixels = overlay_of(labels, scores, "multilabel")
    side = tile_size(32, 32, *GRID_TILES)[0]
    places = cells(pixels, (side, side), 4)
    assert [tuple(pixels[y, x]) for x, y in places] == [RIGHT, WRONG, RIGHT, UNKNOWN]


def test_without_labels_what_is_predicted_is_shown() -> None:
    scores = torch.eye(4)[:3] * 5
    np.testing.assert_array_equal(
        overlay_of(torch.tensor([0, 1, 2]), scores, "none"), overlay_of(None, scores, "multiclass")
    )
