"""Figures whose words can be read."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.path import Path as MatplotlibPath
from support.networks import net
from support.photographs import LONG, NAMES, gray_net, photographs

from lightning_cam import explain
from lightning_cam.attribution.task import class_probabilities


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
    shares = 100 * class_probabilities(each[0].scores)[0]
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


@pytest.mark.parametrize("name", ["", "  ", "\U0002fa20"])
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
