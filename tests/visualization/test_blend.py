"""Colours over an image: tables, overlays, parts, outlines, signed maps."""

import itertools

import matplotlib
import numpy as np
import pytest
import torch
from support.images import photos
from torch.testing import assert_close

from lightning_cam.visualization.blend import (
    CONSTANT,
    EVIDENCE,
    MOST_OPAQUE,
    PART_COLORS,
    color_bar,
    color_table,
    colorize,
    displayable,
    opacity_of,
    outlined,
    overlay,
    overlay_cams,
    overlay_parts,
    paled,
)
from lightning_cam.visualization.projection import flat_saliency

IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


# --- Colors


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


# --- Images


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


# --- Signals and volumes


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


# --- Parts


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


def test_an_outline_goes_around_what_is_inside() -> None:
    inside = torch.rand(2, 9, 11, generator=torch.Generator().manual_seed(0)) > 0.6
    images = torch.full((2, 3, 9, 11), 0.8)
    found = outlined(images, inside, (255, 0, 0))
    for n, y, x in itertools.product(range(2), range(9), range(11)):
        around = inside[n, max(0, y - 1) : y + 2, max(0, x - 1) : x + 2]
        line, dark = [1.0, 0.0, 0.0], [0.2] * 3
        expected = [0.8] * 3 if around.all() or not around.any() else line if inside[n, y, x] else dark
        assert_close(found[n, :, y, x], torch.tensor(expected))


def test_a_signed_map_is_transparent_at_zero_and_has_a_colour_for_each_sign() -> None:
    images, cams = (
        torch.full((1, 3, 4, 4), 0.5),
        torch.tensor([[[2.0, 0.0], [0.0, -4.0]]]).repeat_interleave(2, 1).repeat_interleave(2, 2),
    )
    colors = color_table("RdBu_r")
    found = overlay_cams(images, cams, (4, 4), (4, 4), colors, 0.5, signed=True)
    for place, value in (((0, 0), 0.5), ((0, 3), 0.0), ((3, 3), -1.0)):
        share = 2 * MOST_OPAQUE * 0.5 * abs(value)
        color = colors[round(((value + np.sign(value)) / 2 + 1) / 2 * 255)]
        assert_close(found[0, :, *place], (1 - share) * torch.full((3,), 0.5) + share * color)
    assert_close(overlay_cams(images, cams, (4, 4), (4, 4), colors, signed=True), found)


# --- Opacity


@pytest.mark.parametrize(
    ("opacity", "signed", "expected"),
    [
        (EVIDENCE, False, [0.0, 0.35, 0.7]),
        ("constant", False, [0.5, 0.5, 0.5]),
        (0.2, False, [0.2, 0.2, 0.2]),
        (EVIDENCE, True, [0.0, 0.35, 0.7]),
        ("constant", True, [0.0, 0.35, 0.7]),
        (0.2, True, [0.0, 0.14, 0.28]),
        (1.0, True, [0.0, 0.7, 1.0]),
    ],
)
def test_how_opaque_a_heatmap_is(opacity, signed, expected):
    assert (MOST_OPAQUE, CONSTANT) == (0.7, 0.5)
    assert_close(opacity_of(torch.tensor([0.0, 0.5, 1.0]), opacity, signed), torch.tensor(expected))
    if signed:
        assert_close(opacity_of(torch.tensor([0.0, -0.5, -1.0]), opacity, signed), torch.tensor(expected))


def test_where_nothing_is_known_the_opacity_is_not_known_either():
    assert opacity_of(torch.tensor([torch.nan]), 0.3).isnan().all()
    assert opacity_of(torch.tensor([torch.nan]), EVIDENCE).isnan().all()


@pytest.mark.parametrize("opacity", [EVIDENCE, "constant", 0.3])
@pytest.mark.parametrize("colormap", ["plasma", "turbo", "RdBu_r"])
def test_the_color_bar_has_the_colors_that_occur_over_grey(colormap, opacity):
    signed = colormap == "RdBu_r"
    colors = color_table(colormap)
    ramp = torch.linspace(-1 if signed else 0, 1, 256)[None, None]
    grey = torch.full((1, 3, 1, 256), 0.6)
    shown = overlay_cams(grey, ramp, (1, 256), (1, 256), colors, opacity, signed=signed)
    assert_close(color_bar(colors, opacity, signed), shown[0, :, 0].T)


def test_a_map_is_drawn_the_fainter_the_weaker_it_is_beside_the_strongest():
    images, size = torch.full((4, 3, 4, 4), 0.2), (4, 4)
    colors = color_table("plasma")
    cams = torch.ones(4, 4, 4) * torch.tensor([1.0, 0.1, 0.025, 0.0])[:, None, None]
    alone = overlay_cams(images, cams, size, size, colors) - images
    beside = overlay_cams(images, cams, size, size, colors, strongest=1.0) - images
    for row, factor in enumerate((1.0, 1.0, 0.5, 0.0)):  # the square root of the share of a tenth
        assert_close(beside[row], factor * alone[row])
    assert_close(
        overlay_cams(images, cams, size, size, colors, "constant", strongest=1.0),
        overlay_cams(images, cams, size, size, colors, "constant"),
    )
    # Where the colours' end stands for more than the map's own maximum, that counts, and not twice.
    peaks = torch.ones(4)
    assert_close(
        overlay_cams(images, cams, size, size, colors, peaks=peaks, strongest=1.0),
        overlay_cams(images, cams, size, size, colors, peaks=peaks),
    )


def test_pale_images_are_grey_and_bright():
    images = photos(3)
    found = paled(images)
    assert_close(found, (0.65 + 0.35 * images.mean(dim=1, keepdim=True)).expand(-1, 3, -1, -1))


LUMINANCE = torch.tensor([0.2126, 0.7152, 0.0722])


@pytest.mark.needs("skimage")
@pytest.mark.parametrize("name", ["astronaut", "chelsea", "coffee", "rocket", "camera"])
@pytest.mark.parametrize("colormap", ["plasma", "turbo", "inferno"])
def test_a_photograph_keeps_its_light_and_its_contrast_where_there_is_no_evidence(name, colormap):
    import skimage.data

    pixels = torch.tensor(np.array(getattr(skimage.data, name)())).float() / 255
    pixels = pixels if pixels.ndim == 3 else pixels[..., None].expand(-1, -1, 3)
    photograph = torch.nn.functional.interpolate(
        pixels.permute(2, 0, 1)[None], size=(224, 224), antialias=True, mode="bilinear"
    )
    v, u = torch.meshgrid(torch.arange(7.0), torch.arange(7.0), indexing="ij")
    cams = torch.exp(-((v - 2) ** 2 + (u - 4) ** 2) / 4)[None]
    size = (224, 224)
    over = overlay_cams(photograph, cams, size, size, color_table(colormap))

    weak = flat_saliency(cams, size, size)[0] < 0.05
    before, after = (torch.einsum("c,chw->hw", LUMINANCE, picture[0]) for picture in (photograph, over))
    assert 0.2 < weak.float().mean() < 0.9
    assert (after - before)[weak].abs().sum() / before[weak].sum() < 0.05
    inside = -torch.nn.functional.max_pool2d(-weak[None].float(), 7, stride=1)[0] > 0
    spread = [
        picture.unfold(0, 7, 1).unfold(1, 7, 1).flatten(2).std(dim=2)[inside] for picture in (before, after)
    ]
    assert spread[1].sum() / spread[0].sum() > 0.95

    # The strongest evidence is seen, and the image through it.
    strong = flat_saliency(cams, size, size)[0] > 0.9
    assert (over - photograph).abs().mean(dim=1)[0][strong].mean() > 0.1
    assert after[strong].std() / before[strong].std() > 0.2
