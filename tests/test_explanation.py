"""What an explanation shows: overlays, foregrounds, boxes and figures whose words can be read."""

from io import BytesIO

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.path import Path as MatplotlibPath
from networks import net, pictures
from PIL import Image
from torch import Tensor, nn

from lightning_cam import Explanation, explain
from lightning_cam.attribution.targets import probabilities

LONG = "black-and-gold garden spider, Argiope aurantia"
NAMES = [
    LONG,
    "tabby",
    "W" * 80,
    "Kraftfahrzeug-Haftpflichtversicherung at $5 to $6 a day",
    "Sturm und Drang",
]


def photographs(count: int, size: tuple[int, int] = (24, 32), channels: int = 3) -> Tensor:
    return pictures(count, size, channels).sigmoid()


def gray_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    )


# --- overlay


@pytest.mark.parametrize("opacity", [0, 0.3, 1])
def test_overlay_blends_each_pixel_with_its_color(opacity: float) -> None:
    images = photographs(2)
    found = explain(net(), images, method="layercam")
    overlay = found.overlay(opacity, "viridis")
    assert overlay.shape == (2, 24, 32, 3)
    assert overlay.dtype == torch.uint8
    table = matplotlib.colormaps["viridis"]
    for image in range(2):
        for y in range(24):
            for x in range(32):
                color = np.array(table(round(255 * found.saliency[image, y, x].item()))[:3])
                expected = 255 * ((1 - opacity) * images[image, :, y, x].double().numpy() + opacity * color)
                assert np.abs(overlay[image, y, x].numpy() - expected).max() < 0.51 + 1e-3
    Image.fromarray(overlay[0].numpy())


def test_overlay_undoes_the_normalization_and_shows_one_channel_in_gray() -> None:
    images = photographs(2)
    mean, std = (0.2, 0.5, 0.4), (0.3, 0.1, 0.2)
    normalized = (images - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    plain = explain(net(), normalized, normalization=(mean, std)).overlay(opacity=0)
    torch.testing.assert_close(
        plain, (255 * images).round().to(torch.uint8).permute(0, 2, 3, 1), atol=1, rtol=0
    )
    gray = explain(gray_net(), photographs(2, channels=1)).overlay(opacity=0)
    assert torch.equal(gray, gray[..., :1].expand(-1, -1, -1, 3))


def test_overlay_of_volumes_and_signals_is_that_of_the_figure() -> None:
    for size, layer in (((6, 10, 8), nn.Conv3d), ((40,), nn.Conv1d)):
        pool = {1: nn.AdaptiveAvgPool1d, 3: nn.AdaptiveAvgPool3d}[len(size)](1)
        model = nn.Sequential(layer(1, 4, 3), nn.ReLU(), pool, nn.Flatten(), nn.Linear(4, 3))
        found = explain(model, torch.rand(2, 1, *size, generator=torch.Generator().manual_seed(0)))
        shown = [np.asarray(image.get_array()) for axis in found.figure().axes for image in axis.images]
        np.testing.assert_array_equal(found.overlay().numpy(), np.stack(shown[1:4:2]))
        assert found.boxes()[0].shape[1] == 2 * len(size)
        assert found.foreground().shape == (2, *size)


@pytest.mark.parametrize("opacity", [-0.1, 1.5, True, float("nan")])
def test_opacity_out_of_range(opacity: float, unchecked: None) -> None:
    found = explain(net(), photographs(1))
    for draw in (found.overlay, lambda opacity: found.figure(opacity=opacity)):
        with pytest.raises(ValueError, match=r"opacity: got .*; give a value in \[0, 1\]"):
            draw(opacity)
    with pytest.raises(ValueError, match=r"colormap: no colormap 'viridos'; did you mean 'viridis'\?"):
        found.overlay(colormap="viridos")


# --- foreground and boxes


def test_foreground_and_boxes_are_those_of_the_saliency() -> None:
    found = explain(net(), photographs(3), method="layercam")
    inside = found.foreground(0.4)
    assert torch.equal(inside, found.saliency >= 0.4)
    for mask, boxes in zip(inside, found.boxes(0.4), strict=True):
        covered = torch.zeros_like(mask)
        for x1, y1, x2, y2 in boxes.tolist():
            part = mask[y1:y2, x1:x2]
            assert part[0].any()
            assert part[-1].any()
            assert part[:, 0].any()
            assert part[:, -1].any()
            covered[y1:y2, x1:x2] = True
        assert (covered | ~mask).all(), "no salient pixel is outside all boxes"
    with pytest.raises(ValueError, match=r"threshold: got 0; give a share of the map's maximum, in \(0, 1\]"):
        found.foreground(0)
    with pytest.raises(ValueError, match=r"threshold: got 2; give a share of the map's maximum, in \(0, 1\]"):
        found.boxes(2)


def test_a_blank_map_has_neither_foreground_nor_box_and_still_a_figure() -> None:
    model = net()
    model.head.weight.data.zero_()
    found = explain(model, photographs(2))
    assert not found.foreground(0.01).any()
    assert [boxes.shape for boxes in found.boxes(0.01)] == [(0, 4)] * 2
    figure = found.figure(threshold=0.01)
    assert figure.axes[1].get_title() == "blank: the gradient is zero"
    assert not figure.axes[1].collections


# --- figures


def check_legible(figure: Figure) -> None:
    """Every word is on the canvas, no two titles touch, and none lies on a picture or on the colour bar."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    renderer = canvas.get_renderer()
    pictured = [axis for axis in figure.axes if axis.images and not axis.axison]
    bars = [axis.get_tightbbox(renderer) for axis in figure.axes if axis not in pictured]
    assert len(bars) == 1
    titles = [
        text.get_window_extent(renderer) for text in [*(axis.title for axis in pictured), *figure.texts]
    ]
    for box in bars + titles:
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    taken = [axis.get_window_extent() for axis in pictured] + bars
    for place, box in enumerate(titles):
        assert not any(box.overlaps(other) for other in titles[place + 1 :] + taken)
    assert not any(bar.overlaps(axis.get_window_extent()) for axis in pictured for bar in bars)


@pytest.mark.parametrize("count", [1, 2, 4, 16])
@pytest.mark.parametrize("size", [(32, 32), (48, 24), (20, 60), (96, 8), (8, 96)], ids=str)
def test_words_of_a_figure_can_be_read(size: tuple[int, int], count: int) -> None:
    found = explain(net(), photographs(count, size), target=2)
    for top in (1, 5):
        figure = found.figure(
            class_names=NAMES, top=top, threshold=0.5, headline=f"resnet50 of {LONG} · " * 3
        )
        check_legible(figure)
        pictured = [axis for axis in figure.axes if axis.images and not axis.axison]
        assert len(pictured) == 2 * count
        for axis in pictured:
            box = axis.get_window_extent()
            assert box.width / box.height == pytest.approx(size[1] / size[0], rel=0.01)
            assert max(box.width, box.height) >= 180


@pytest.mark.parametrize("size", [(32, 32), (64, 16), (16, 48)], ids=str)
@pytest.mark.parametrize("count", [1, 3])
def test_several_classes_stand_beside_one_input(count: int, size: tuple[int, int]) -> None:
    images = photographs(count, size)
    each = [explain(net(), images, target=number) for number in range(5)]
    figure = each[0].figure(class_names=NAMES, beside=each[1:])
    check_legible(figure)
    pictured = [axis for axis in figure.axes if axis.images and not axis.axison]
    assert len(pictured) == 6 * count
    shares = 100 * probabilities(each[0].scores)[0]
    assert pictured[2].get_title().splitlines()[0] == f"tabby, {shares[1]:.0f} %"
    assert f"{shares[3]:.0f} %" in pictured[4].get_title()
    for axis, found in zip(pictured[1:6], each, strict=True):
        np.testing.assert_array_equal(np.asarray(axis.images[0].get_array()), found.overlay()[0].numpy())
    assert figure.axes[-1].get_ylabel() == "share of each map's own maximum"
    assert explain(net(), images[:1]).figure().axes[-1].get_ylabel() == "share of the map's maximum"


def test_the_likeliest_classes_stand_above_the_input() -> None:
    found = explain(net(), photographs(1))
    order = found.scores[0].argsort(descending=True).tolist()
    shares = 100 * found.scores[0].softmax(dim=0)
    lines = found.figure(top=3).axes[0].get_title().splitlines()
    assert lines == [f"class {number}, {shares[number]:.0f} %" for number in order[:3]]
    assert len(found.figure(top=99).axes[0].get_title().splitlines()) == 5


def test_a_long_name_keeps_its_ends_and_its_number() -> None:
    found = explain(net(), photographs(1), target=2)
    title = found.figure(class_names=NAMES).axes[1].get_title()
    assert title.startswith("WWW")
    assert "…" in title
    assert f"{100 * found.scores[0].softmax(dim=0)[2]:.0f} %" in title


@pytest.mark.parametrize("name", ["", "  ", "猫"])
def test_a_name_that_cannot_be_written_is_a_number(name: str) -> None:
    found = explain(net(), photographs(1), target=2)
    title = found.figure(class_names=[name] * 5).axes[1].get_title()
    assert title.startswith("class 2, ")


def test_names_are_no_formulas() -> None:
    figure = explain(net(), photographs(1), target=3).figure(class_names=[*NAMES[:3], "$x_1$", ""])
    assert figure.axes[1].get_title().startswith("$x_1$, ")
    assert not figure.axes[1].title.get_parse_math()
    check_legible(figure)


def test_the_foreground_is_outlined_and_its_largest_part_boxed() -> None:
    found = explain(net(), photographs(1), method="layercam")
    axis = found.figure(threshold=0.4).axes[1]
    x1, y1, x2, y2 = found.boxes(0.4)[0][0].tolist()
    assert [patch.get_bbox().extents.tolist() for patch in axis.patches] == [
        [x1 - 0.5, y1 - 0.5, x2 - 0.5, y2 - 0.5]
    ] * 2
    inside = found.foreground(0.4)[0]
    outlines = [path for collection in axis.collections for path in collection.get_paths()]
    grid = np.stack(np.meshgrid(np.arange(32), np.arange(24)), axis=-1).reshape(-1, 2)
    # A pixel is inside of an odd number of the outline's closed lines.
    within = np.sum(
        [MatplotlibPath(line).contains_points(grid) for line in outlines[0].to_polygons()], axis=0
    )
    np.testing.assert_array_equal(within.reshape(24, 32) % 2 == 1, inside.numpy())
    assert not found.figure().axes[1].collections


def test_a_gray_image_is_shown_in_gray() -> None:
    figure = explain(gray_net(), photographs(2, channels=1)).figure()
    shown = np.asarray(figure.axes[0].images[0].get_array())
    assert np.ptp(shown, axis=2).max() == 0
    assert np.ptp(shown) > 20


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"class_names": NAMES[:3]},
            "class_names: got 3 names for the model's 5 classes; give one name per class",
        ),
        ({"class_names": "tabby"}, "class_names: got 'tabby' for the model's 5 classes"),
        ({"top": 0}, "top: got 0; give at least 1"),
        ({"most": 0}, "most: got 0; give at least 1"),
        ({"threshold": 0.0}, r"threshold: got 0\.0; give a share"),
        ({"colormap": "infermo"}, r"colormap: no colormap 'infermo'; did you mean 'inferno'\?"),
        (
            {"beside": [explain(net(), photographs(3))]},
            "beside: got an explanation of images of another shape",
        ),
    ],
)
def test_a_figure_refuses(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        explain(net(), photographs(2)).figure(**options)


def test_a_notebook_shows_a_small_picture() -> None:
    explanation: Explanation = explain(net(), photographs(12))
    data = explanation._repr_png_()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    with Image.open(BytesIO(data)) as picture:
        picture.load()
        assert picture.format == "PNG"
        assert 100 < picture.width < 900
        assert 100 < picture.height < 900
        assert len(picture.convert("RGB").getcolors(10**6)) > 100
