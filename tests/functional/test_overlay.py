"""From images and saliency maps to tiles."""

import matplotlib
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from lightning_cam.functional.overlay import color_table, colorize, displayable, overlay, resize, tile, tile_size

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
    saliency = torch.rand(2, 5, 4, generator=torch.Generator().manual_seed(1))
    table = color_table("viridis")
    heatmap = colorize(saliency, table)
    for image, row, column in np.ndindex(2, 5, 4):
        expected = table[round(saliency[image, row, column].item() * 255)]
        assert_close(heatmap[image, :, row, column], expected, rtol=0.0, atol=0.0)


def test_colorize_stops_at_the_ends():
    table = color_table("inferno")
    heatmap = colorize(torch.tensor([[[-0.3, 1.2]]]), table)
    assert_close(heatmap[0, :, 0].T, table[[0, 255]], rtol=0.0, atol=0.0)


def test_unknown_colormap_names_the_closest():
    with pytest.raises(ValueError, match=r"^colormap: no colormap 'infernoo'; did you mean 'inferno'\?$"):
        color_table("infernoo")


def test_unknown_colormap_with_nothing_close():
    with pytest.raises(ValueError, match=r"^colormap: no colormap '\?\?\?'; give the name of one of matplotlib's\.$"):
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
    images = torch.arange(2 * channels * 64, dtype=torch.int64).remainder(256).to(torch.uint8).reshape(2, channels, 8, 8)
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
