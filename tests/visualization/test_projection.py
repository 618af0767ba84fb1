"""Images and maps of any rank as pictures, and their tiles."""

import numpy as np
import pytest
import torch
from support.images import photos
from torch.testing import assert_close

from lightning_cam.attribution.maps import saliency, upsample
from lightning_cam.visualization.projection import (
    MOST_ROWS,
    SLICE_GAP,
    beside,
    drawn_size,
    flat_saliency,
    flatten_maps,
    flatten_to_pictures,
    peaks_of,
    resize,
    tile,
    tile_size,
    trace,
)


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((3, 32, 32), (128, 128)),
        ((1, 300, 1000), (67, 224)),
        ((1, 1), (112, 224)),
        ((8, 5000), (112, 224)),
        ((12, 5000), (168, 224)),
        ((16, 9), (224, 224)),
        ((99, 9), (224, 224)),
        ((2, 28, 28, 28), (84, 84, 84)),
        ((2, 16, 32, 32), (48, 96, 96)),
        ((2, 128, 256, 128), (56, 112, 56)),
        ((2, 1, 512, 512), (1, 112, 112)),
        ((2, 100, 90, 80), (100, 90, 80)),
    ],
)
def test_drawn_size(size, expected):
    assert drawn_size(torch.zeros(1, *size), smallest=112, largest=224) == expected


def test_images_are_flat_already():
    assert_close(flatten_to_pictures(photos(3), (9, 7)), photos(3), rtol=0.0, atol=0.0)
    assert_close(flatten_to_pictures(photos(3), (36, 28)), resize(photos(3), (36, 28)), rtol=0.0, atol=0.0)
    cams = torch.randn(3, 2, 4, 5, generator=torch.Generator().manual_seed(3))
    flat = flatten_maps(cams, (9, 7), (36, 28))
    assert_close(flat[:, 0], upsample(cams[:, 0], (36, 28)), rtol=0.0, atol=0.0)
    assert_close(flat[:, 1], upsample(cams[:, 1], (36, 28)), rtol=0.0, atol=0.0)
    assert_close(
        flat_saliency(cams[:, 0], (9, 7), (36, 28)), saliency(cams[:, 0], (36, 28)), rtol=0.0, atol=0.0
    )


def slices_of(pictures, size):
    """The three slices in a row, and what lies around them."""
    depth, height, width = size
    above, gap = (max(height, depth) - depth) // 2, SLICE_GAP
    top = (max(height, depth) - height) // 2
    places = [
        (slice(top, top + height), slice(0, width)),
        (slice(above, above + depth), slice(width + gap, 2 * width + gap)),
        (slice(above, above + depth), slice(2 * width + 2 * gap, 2 * width + height + 2 * gap)),
    ]
    assert pictures.shape[2:] == (max(height, depth), 2 * width + height + 2 * gap)
    outside = torch.ones(pictures.shape[2:], dtype=torch.bool)
    for rows, columns in places:
        outside[rows, columns] = False
    return [pictures[:, :, rows, columns] for rows, columns in places], pictures[:, :, outside]


@pytest.mark.parametrize("size", [(4, 9, 6), (9, 4, 6), (5, 5, 5), (1, 8, 8), (2, 3, 1)], ids=str)
def test_a_volume_becomes_three_slices_side_by_side(size):
    volumes = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(4))
    slices, outside = slices_of(flatten_to_pictures(volumes, size), size)
    depth, height, width = size
    assert_close(slices[0], volumes[:, :, depth // 2], rtol=0.0, atol=0.0)
    assert_close(slices[1], volumes[:, :, :, height // 2], rtol=0.0, atol=0.0)
    assert_close(slices[2], volumes[:, :, :, :, width // 2], rtol=0.0, atol=0.0)
    assert (outside == 1).all()


@pytest.mark.parametrize("grid", [(4, 9, 6), (2, 3, 4), (1, 1, 1), (7, 2, 5)], ids=str)
@pytest.mark.parametrize("size", [(4, 9, 6), (16, 12, 15), (5, 5, 5)], ids=str)
def test_the_map_of_a_volume_is_that_of_its_slices(size, grid):
    """As if the map were interpolated over the whole volume and then cut."""
    cams = torch.randn(3, 2, *grid, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
    slices, outside = slices_of(flatten_maps(cams, size, size), size)
    whole = torch.stack([upsample(cams[:, part], size) for part in range(2)], dim=1)
    depth, height, width = size
    assert_close(slices[0], whole[:, :, depth // 2], rtol=0.0, atol=1e-12)
    assert_close(slices[1], whole[:, :, :, height // 2], rtol=0.0, atol=1e-12)
    assert_close(slices[2], whole[:, :, :, :, width // 2], rtol=0.0, atol=1e-12)
    assert outside.isnan().all()


def test_the_saliency_of_a_volume_is_relative_to_its_maximum_wherever_that_is():
    cams = torch.zeros(4, 5, 5, 5)
    cams[0, 0, 0, 0], cams[0, 2, 2, 2], cams[0, 2, 2, 3] = 4.0, 1.0, -8.0
    cams[1, 2, 2, 2] = 3.0
    cams[2] = -1
    cams[3, 4, 4, 4] = torch.nan
    found = flat_saliency(cams, (5, 5, 5), (5, 5, 5))
    assert_close(
        found.isnan(), flatten_maps(cams[:1, None], (5, 5, 5), (5, 5, 5))[:, 0].isnan().expand(4, -1, -1)
    )
    assert_close(found.nan_to_num().flatten(1).amax(dim=1), torch.tensor([0.25, 1.0, 0.0, 0.0]))
    assert found.nan_to_num().min() == 0


def test_volumes_grow_by_whole_pixels():
    volumes = torch.rand(2, 3, 5, 5, 5, generator=torch.Generator().manual_seed(3))
    pictures = flatten_to_pictures(volumes, (15, 15, 15))
    assert pictures.shape == (2, 3, 15, 45 + 2 * SLICE_GAP)
    assert_close(
        pictures[:, :, :, :15], volumes[:, :, 2].repeat_interleave(3, dim=2).repeat_interleave(3, dim=3)
    )


def test_pictures_stand_beside_each_other_centred():
    first, second = torch.full((2, 1, 2, 3), 0.25), torch.full((2, 1, 5, 2), 0.5)
    row = beside([first, second], 1.0)
    assert row.shape == (2, 1, 5, 3 + SLICE_GAP + 2)
    assert_close(row[0, 0, :, 0], torch.tensor([1, 0.25, 0.25, 1, 1]))
    assert_close(row[1, 0, 4], torch.tensor([1.0] * (3 + SLICE_GAP) + [0.5, 0.5]))


# A row's line runs at this share of its height, for a value in [0, 1].
def line_at(value, row=0, rows=1, height=112):
    return (row + 0.9 - 0.8 * value) * height / rows


def centers(picture):
    """Mean row of the ink in each column."""
    return (picture * (torch.arange(len(picture)) + 0.5)[:, None]).sum(dim=0) / picture.sum(dim=0)


@pytest.mark.parametrize("length", [2, 37, 224, 1000])
@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_a_constant_signal_is_a_level_line(value, length):
    (picture,) = trace(torch.full((1, 1, length), value), (112, 224))
    assert picture.shape == (3, 112, 224)
    assert_close(picture[0], picture[2], rtol=0.0, atol=0.0)
    assert_close(centers(picture[0]), torch.full((224,), line_at(value)), rtol=0.0, atol=0.1)  # of a pixel
    assert_close(picture[0].sum(dim=0), torch.full((224,), 1.5), rtol=0.0, atol=1e-4)


@pytest.mark.parametrize("length", [50, 224, 3000])
def test_the_line_follows_the_signal(length):
    signal = (torch.arange(length) + 0.5) / length
    (picture,) = trace(signal.expand(1, 1, -1), (112, 224))
    expected = line_at((torch.arange(224) + 0.5) / 224)
    assert_close(centers(picture[0])[3:-3], expected[3:-3], rtol=0.0, atol=0.5)


@pytest.mark.parametrize("place", [0, 1, 7123, 19999])
def test_a_spike_of_one_sample_is_drawn(place):
    signal = torch.zeros(1, 1, 20000)
    signal[0, 0, place] = 1
    (picture,) = trace(signal, (112, 224))
    top = picture[0, : int(line_at(0.9))]
    columns = (top > 0.5).any(dim=0).nonzero()[:, 0]
    assert place * 224 // 20000 in columns.tolist()
    assert len(columns) <= 2
    # The line is whole: from the spike to the level there is ink in every row.
    assert (picture[0, int(line_at(1.0)) + 1 : int(line_at(0.0)) - 1].amax(dim=1) > 0.9).all()


def test_every_channel_has_a_row_of_its_own():
    noise = torch.rand(2, 4, 300, generator=torch.Generator().manual_seed(4))
    whole = trace(noise, (112, 224))
    for row in range(4):
        alone = noise.clone()
        alone[:, [other for other in range(4) if other != row]] = 0
        band = slice(28 * row, 28 * (row + 1) - 4)
        assert_close(trace(alone, (112, 224))[:, :, band], whole[:, :, band])
    assert_close(trace(noise[1:], (112, 224)), whole[1:])


def test_a_trace_has_at_most_sixteen_rows():
    signals = torch.rand(1, 40, 30, generator=torch.Generator().manual_seed(5))
    assert_close(trace(signals, (224, 224)), trace(signals[:, :MOST_ROWS], (224, 224)))


@pytest.mark.parametrize("length", [4, 500])
def test_a_signal_becomes_its_trace_and_its_map_is_as_high(length):
    signals, cams = (
        torch.rand(2, 3, length),
        torch.randn(2, 5, 10, generator=torch.Generator().manual_seed(6)),
    )
    assert_close(flatten_to_pictures(signals, (40, 80)), trace(signals, (40, 80)))
    flat = flatten_maps(cams, (length,), (40, 80))
    assert flat.shape == (2, 5, 40, 80)
    for row in (0, 39):
        assert_close(flat[:, 1, row], upsample(cams[:, 1], (80,)), rtol=0.0, atol=0.0)
    heights = flat_saliency(cams[:, 0], (length,), (40, 80))
    assert_close(heights[:, 17], saliency(cams[:, 0], (80,)), rtol=0.0, atol=0.0)


# --- Tiles


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((32, 32), (128, 128)),
        ((28, 28), (112, 112)),
        ((111, 111), (222, 222)),
        ((112, 112), (112, 112)),
        ((150, 130), (150, 130)),
        ((224, 224), (224, 224)),
        ((225, 225), (224, 224)),
        ((1000, 1000), (224, 224)),
        ((1000, 500), (224, 112)),
        ((300, 1000), (67, 224)),
        ((1, 1), (112, 112)),
        ((1, 50), (3, 150)),
        ((2000, 1), (224, 1)),
        ((3, 5000), (1, 224)),
    ],
)
def test_tile_size(size, expected):
    assert tile_size(*size, smallest=112, largest=224) == expected


def test_tiles_are_never_too_small_nor_too_large():
    for longer in range(1, 600):
        for shorter in {1, (longer + 2) // 3, longer}:
            height, width = tile_size(longer, shorter, smallest=112, largest=224)
            assert 112 <= height <= 224
            assert 1 <= width <= height
            assert tile_size(shorter, longer, smallest=112, largest=224) == (width, height)
            if longer < 112:
                assert (height % longer, width % shorter) == (0, 0), "small images grow by a whole factor"


def test_resize_grows_by_whole_pixels():
    images = photos(3)
    expected = images.repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    assert_close(resize(images, (36, 28)), expected, rtol=0.0, atol=0.0)


def test_resize_keeps_an_image_of_that_size():
    assert_close(resize(photos(3), (9, 7)), photos(3), rtol=0.0, atol=0.0)


def test_resize_shrinks_without_aliasing():
    # Of every four rows the first is white, which the nearest two of the four would miss.
    stripes = (torch.arange(64) % 4 == 0).float()[:, None].expand(1, 3, 64, 64)
    shrunk = resize(stripes, (16, 16))
    assert shrunk.shape == (1, 3, 16, 16)
    assert_close(shrunk[:, :, 1:-1], torch.full((1, 3, 14, 16), 0.25))


def test_tile_is_bytes_with_colors_last():
    images = photos(3)
    tiles = tile(images)
    assert (tiles.dtype, tiles.shape) == (torch.uint8, (3, 9, 7, 3))
    for image, color, row, column in np.ndindex(3, 3, 9, 7):
        assert tiles[image, row, column, color] == round(images[image, color, row, column].item() * 255)
    assert (tiles.amin(), tiles.amax()) == (0, 255)


def test_the_peak_of_a_map_is_its_largest_value_and_that_of_a_blank_one_zero():
    cams = torch.tensor([[[1.0, -3.0]], [[-1.0, -2.0]], [[torch.nan, 1.0]], [[torch.inf, 1.0]], [[0.0, 0.0]]])
    assert_close(peaks_of(cams), torch.tensor([1.0, 0.0, 0.0, 0.0, 0.0]))
    assert_close(peaks_of(cams, signed=True), torch.tensor([3.0, 2.0, 0.0, 0.0, 0.0]))
