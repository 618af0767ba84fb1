"""From images and saliency maps to tiles."""

import matplotlib
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lightning_cam.attribution.maps import saliency, upsample
from lightning_cam.visualization.blend import (
    MOST_OPAQUE,
    PART_COLORS,
    color_table,
    colorize,
    displayable,
    overlay,
    overlay_parts,
)
from lightning_cam.visualization.projection import (
    MOST_ROWS,
    SLICE_GAP,
    beside,
    drawn_size,
    flat_saliency,
    flatten_maps,
    flatten_to_pictures,
    resize,
    tile,
    tile_size,
    trace,
)

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def photos(channels: int, count: int = 3) -> torch.Tensor:
    """Images in [0, 1] that reach both ends."""
    images = torch.rand(count, channels, 9, 7, generator=torch.Generator().manual_seed(0))
    images[0, :, 0, 0], images[1, :, 0, 0] = 0, 1
    return images


# --- Colors -----------------------------------------------------------------------------------------------------------------------


# Most tables of matplotlib have 256 colors; twilight has 510, tab10 has 10.
@pytest.mark.parametrize("name", ["inferno", "gray", "coolwarm_r", "twilight", "tab10"])
def test_color_table_is_matplotlibs_from_end_to_end(name):
    expected = matplotlib.colormaps[name](np.linspace(0, 1, 256))[:, :3]
    assert_close(color_table(name), torch.from_numpy(expected).float())


@pytest.mark.parametrize("name", ["inferno", "gray", "coolwarm_r", "twilight", "tab10"])
def test_colorize_ends_at_the_colormaps_ends(name):
    heatmap = colorize(torch.tensor([[[0.0, 1.0]]]), color_table(name))
    assert heatmap.shape == (1, 3, 1, 2)
    assert_close(heatmap[0, :, 0, 0], torch.tensor(matplotlib.colormaps[name](0.0)[:3], dtype=torch.float32))
    assert_close(heatmap[0, :, 0, 1], torch.tensor(matplotlib.colormaps[name](1.0)[:3], dtype=torch.float32))


def test_colorize_takes_the_nearest_color_of_each_pixel():
    maps = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(1))
    table = color_table("viridis")
    heatmap = colorize(maps, table)
    for image, row, column in np.ndindex(2, 5, 4):
        expected = table[round(maps[image, row, column].item() * 255)]
        assert_close(heatmap[image, :, row, column], expected, rtol=0.0, atol=0.0)


def test_colorize_stops_at_the_ends():
    table = color_table("inferno")
    heatmap = colorize(torch.tensor([[[-0.3, 1.2]]]), table)
    assert_close(heatmap[0, :, 0].T, table[[0, 255]], rtol=0.0, atol=0.0)


def test_where_there_is_no_map_the_image_stays():
    maps = torch.rand(3, 9, 7, generator=torch.Generator().manual_seed(2))
    holes = maps.clone()
    holes[1, 2:5, 3] = torch.nan
    table = color_table("inferno")
    colored, whole = colorize(holes, table), colorize(maps, table)
    where = holes.isnan()[:, None].expand(-1, 3, -1, -1)
    assert_close(colored.isnan(), where)
    assert_close(colored[~where], whole[~where], rtol=0.0, atol=0.0)
    blended, expected = overlay(photos(3), colored, 0.4), overlay(photos(3), whole, 0.4)
    assert_close(blended[where], photos(3)[where], rtol=0.0, atol=0.0)
    assert_close(blended[~where], expected[~where], rtol=0.0, atol=0.0)


def test_unknown_colormap_names_the_closest():
    with pytest.raises(ValueError, match=r"^colormap: no colormap 'infernoo'; did you mean 'inferno'\?$"):
        color_table("infernoo")


def test_unknown_colormap_with_nothing_close():
    with pytest.raises(
        ValueError, match=r"^colormap: no colormap '\?\?\?'; give the name of one of matplotlib's\.$"
    ):
        color_table("???")


def test_overlay_blends():
    images, heatmap = photos(3), colorize(photos(1)[:, 0], color_table("inferno"))
    assert_close(overlay(images, heatmap, 0.0), images)
    assert_close(overlay(images, heatmap, 1.0), heatmap)
    assert_close(overlay(images, heatmap, 0.25), images * 0.75 + heatmap * 0.25)
    assert_close(overlay(images, heatmap), (images + heatmap) / 2)


# --- Images -----------------------------------------------------------------------------------------------------------------------


def test_displayable_shows_images_in_range_as_they_are():
    shown, guessed = displayable(photos(3))
    assert not guessed
    assert_close(shown, photos(3), rtol=0.0, atol=0.0)


@pytest.mark.parametrize(
    ("channels", "expected"),
    [
        (1, lambda images: images.expand(-1, 3, -1, -1)),
        (2, lambda images: images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)),
        (3, lambda images: images),
        (4, lambda images: images[:, :3]),
        (7, lambda images: images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)),
    ],
    ids=["one", "two", "three", "four", "seven"],
)
def test_displayable_has_three_colors(channels, expected):
    shown, guessed = displayable(photos(channels))
    assert not guessed
    assert_close(shown, expected(photos(channels)))


@pytest.mark.parametrize("channels", [1, 3])
def test_displayable_divides_bytes(channels):
    images = (
        torch.arange(2 * channels * 64, dtype=torch.int64)
        .remainder(256)
        .to(torch.uint8)
        .reshape(2, channels, 8, 8)
    )
    shown, guessed = displayable(images)
    assert not guessed
    assert_close(shown, (images.double() / 255).float().expand(-1, 3, -1, -1))


def test_displayable_keeps_dark_bytes_dark():
    shown, guessed = displayable(torch.ones(1, 3, 4, 4, dtype=torch.uint8))
    assert not guessed
    assert_close(shown, torch.full((1, 3, 4, 4), 1 / 255))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_displayable_undoes_a_known_normalization(dtype):
    mean, std = (torch.tensor(values, dtype=dtype).reshape(1, 3, 1, 1) for values in IMAGENET)
    shown, guessed = displayable((photos(3).to(dtype) - mean) / std, *IMAGENET)
    assert not guessed
    assert_close(shown, photos(3), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_displayable_undoes_one_normalization_for_all_channels(channels):
    shown, guessed = displayable((photos(channels) - 0.5) / 0.25, (0.5,), (0.25,))
    assert not guessed
    assert_close(shown, displayable(photos(channels))[0], rtol=0.0, atol=1e-6)


def test_displayable_passes_over_a_normalization_for_other_channels():
    shown, guessed = displayable(photos(1), *IMAGENET)
    assert not guessed
    assert_close(shown, photos(1).expand(-1, 3, -1, -1))


@pytest.mark.parametrize(("factor", "offset"), [(4.0, -2.0), (255.0, 0.0), (0.5, -0.1), (0.5, 0.6)])
def test_displayable_stretches_an_unknown_range_and_says_so(factor, offset):
    shown, guessed = displayable(photos(3) * factor + offset)
    assert guessed
    assert_close(shown, photos(3), rtol=0.0, atol=1e-6)


def test_displayable_stretches_each_channel_over_all_images():
    scale = torch.tensor([1.0, 10.0, 0.1]).reshape(1, 3, 1, 1)
    shown, guessed = displayable(photos(3) * scale - 5)
    assert guessed
    # A constant brightness of one image against another is part of the picture.
    assert_close(shown, photos(3), rtol=0.0, atol=1e-5)


def test_displayable_of_a_constant_channel_out_of_range_is_finite():
    images = photos(3)
    images[:, 1] = 7
    shown, guessed = displayable(images)
    assert guessed
    assert_close(shown[:, 1], torch.zeros(3, 9, 7), rtol=0.0, atol=0.0)
    assert_close(shown[:, 0], photos(3)[:, 0])


def test_displayable_takes_rounding_for_no_other_range():
    images = photos(3)
    images[0, 0, 1, 1], images[0, 0, 1, 2] = -0.01, 1.01
    shown, guessed = displayable(images)
    assert not guessed
    assert_close(shown, images.clamp(0, 1), rtol=0.0, atol=0.0)


# --- Signals and volumes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("normalization", [((), ()), ((0.5,), (0.25,))], ids=["none", "one for all"])
def test_displayable_treats_a_volume_as_its_slices(channels, normalization):
    images = 3 * photos(channels, 6) - 1
    volumes = images.reshape(2, 3, channels, 9, 7).transpose(1, 2)
    shown, guessed = displayable(volumes, *normalization)
    expected, expected_guess = displayable(images, *normalization)
    assert guessed == expected_guess
    assert_close(shown.transpose(1, 2).reshape(6, 3, 9, 7), expected)


def test_displayable_keeps_the_channels_of_signals_each_over_its_range():
    signals = photos(5)[:, :, 0] * torch.tensor([1.0, 10.0, 0.1, 0.0, -2.0])[:, None] - 5
    shown, guessed = displayable(signals, *IMAGENET)
    assert not guessed
    assert shown.shape == signals.shape
    assert_close(shown.amin(dim=(0, 2)), torch.zeros(5))
    assert_close(shown.amax(dim=(0, 2)), torch.tensor([1.0, 1.0, 1.0, 0.0, 1.0]))
    assert_close(
        shown[:, 0] * (signals[:, 0].max() - signals[:, 0].min()) + signals[:, 0].min(), signals[:, 0]
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


# --- Parts ------------------------------------------------------------------------------------------------------------------------


def test_the_strongest_part_gives_the_color_and_its_strength_the_opacity():
    strengths = torch.rand(3, 4, 9, 7, generator=torch.Generator().manual_seed(6))
    drawn = overlay_parts(photos(3), strengths)
    for image, row, column in np.ndindex(3, 9, 7):
        strongest = int(strengths[image, :, row, column].argmax())
        opacity = MOST_OPAQUE * strengths[image, strongest, row, column]
        color = torch.tensor(PART_COLORS[strongest]) / 255
        grey = photos(3)[image, :, row, column].mean()
        assert_close(drawn[image, :, row, column], (1 - opacity) * grey + opacity * color)


def test_parts_beyond_the_colors_are_left_out():
    strengths = torch.rand(2, 9, 5, 5, generator=torch.Generator().manual_seed(7))
    strengths[:, 7:] += 1
    images = torch.rand(2, 3, 5, 5)
    assert_close(
        overlay_parts(images, strengths), overlay_parts(images, strengths[:, :7]), rtol=0.0, atol=0.0
    )


def test_where_there_is_no_part_the_image_stays_in_grey():
    images, strengths = photos(3), torch.zeros(3, 2, 9, 7)
    strengths[:, :, :, 4:] = torch.nan
    expected = images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    assert_close(overlay_parts(images, strengths), expected)


def test_part_colors_are_told_apart_by_colour_blind_readers():
    """Each pair differs though red and green look alike: they count by their luminance alone, beside blue."""
    colors = torch.tensor(PART_COLORS, dtype=torch.float64) / 255
    confused = torch.stack(
        [colors[:, :2] @ torch.tensor([0.3, 0.7], dtype=torch.float64), colors[:, 2]], dim=1
    )
    apart = torch.cdist(confused, confused) + torch.eye(len(colors))
    assert apart.min() > 0.1


# --- Tiles ------------------------------------------------------------------------------------------------------------------------


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
