"""``Style`` as users give it, also in a configuration file; ``Scene``, what pictures are drawn from."""

from typing import Any

import pytest
import torch
import yaml
from jsonargparse import ArgumentParser
from torch import Tensor
from torch.testing import assert_close

from lightning_cam.data.history import History, remember
from lightning_cam.data.probe import Probe
from lightning_cam.visualization.scene import Scene
from lightning_cam.visualization.style import Style
import numpy as np
import pytest
import torch
from support.sheets import FIRST_ROW, HEADER, plain, sheet

from lightning_cam import CAMMonitor
from lightning_cam.visualization.canvas import (
    LINE,
    MARGIN,
)
from lightning_cam.visualization.scene import how_drawn

WRONG_ARGUMENTS = [
    ({"shown": 0}, ValueError, "shown: got 0; give at least 1"),
    ({"shown": 2.5}, TypeError, "shown: got 2.5; give a whole number"),
    ({"shown": True}, TypeError, "shown: got True; give a whole number"),
    ({"colormap": "infreno"}, ValueError, "colormap: no colormap 'infreno'; did you mean 'inferno'?"),
    ({"colormap": "a colormap"}, ValueError, "colormap: no colormap 'a colormap'; give the name of one of"),
    ({"colormap": None}, TypeError, "colormap: got None; give the name of one of matplotlib's"),
    ({"opacity": 1.5}, ValueError, r"opacity: got 1.5; give a value in \[0, 1\]"),
    ({"opacity": True}, ValueError, r"opacity: got True; give a value in \[0, 1\]"),
    ({"opacity": "half"}, ValueError, r"opacity: got 'half'; give a value in \[0, 1\]"),
    ({"color_scale": "epoch"}, ValueError, "color_scale: got 'epoch'; give 'map' or 'run'"),
    ({"foreground": 0}, ValueError, r"foreground: got 0; give a share of the map's maximum in \(0, 1\]"),
    ({"foreground": 1.5}, ValueError, "foreground: got 1.5; give a share"),
    ({"foreground": True}, ValueError, "foreground: got True; give a share"),
    ({"foreground": "half"}, ValueError, "foreground: got 'half'; give a share"),
]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("arguments", "kind", "message"), WRONG_ARGUMENTS, ids=str)
def test_a_wrong_style_is_refused_with_its_remedy(arguments: dict, kind: type, message: str) -> None:
    with pytest.raises(kind, match=message):
        Style(**arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"shown": 1, "opacity": 0, "foreground": 1},
        {"opacity": 1.0, "foreground": 0.01, "color_scale": "run", "colormap": "RdBu_r"},
    ],
    ids=str,
)
def test_the_limits_are_accepted(arguments: dict) -> None:
    assert vars(Style(**arguments)) == {**vars(Style()), **arguments}


def test_the_ends_of_the_colour_table_in_words() -> None:
    said = {
        (colormap, scale): Style(colormap=colormap, color_scale=scale).ends
        for colormap in ("inferno", "RdBu_r")
        for scale in ("map", "run")
    }
    assert said == {
        ("inferno", "map"): ("none", "strongest in this image"),
        ("inferno", "run"): ("none", "strongest in this image over the run"),
        ("RdBu_r", "map"): ("against", "for (ends: strongest in this image)"),
        ("RdBu_r", "run"): ("against", "for (ends: strongest in this image over the run)"),
    }


class Monitor:
    """Takes a style as a callback does.

    Args:
        style: How pictures are drawn.
    """

    def __init__(self, style: Style = Style(), name: str = "cam") -> None:  # noqa: B008 - frozen
        self.style, self.name = style, name


SETTINGS = {"shown": 8, "colormap": "RdBu_r", "opacity": 0.25, "color_scale": "run", "foreground": 0.6}


def parser() -> ArgumentParser:
    made = ArgumentParser(exit_on_error=False)
    made.add_argument("--config", action="config")
    made.add_class_arguments(Monitor, "monitor")
    return made


def made_by(parser: ArgumentParser, arguments: list[str]) -> Monitor:
    make = (
        getattr(parser, "instantiate", None) or parser.instantiate_classes
    )  # its name before jsonargparse 4.49
    return make(parser.parse_args(arguments)).monitor


@pytest.mark.parametrize(
    "arguments",
    [
        [f"--monitor.style.{name}={value}" for name, value in SETTINGS.items()],
        [f"--config={yaml.safe_dump({'monitor': {'style': SETTINGS}})}"],
    ],
    ids=["flags", "file"],
)
def test_a_style_on_a_command_line_and_in_a_file(arguments: list[str], tmp_path: Any) -> None:
    made = parser()
    parsed = made.parse_args(arguments)
    assert made_by(made, arguments).style == Style(**SETTINGS)

    # What is printed reads back to the same.
    printed = tmp_path / "config.yaml"
    printed.write_text(made.dump(parsed))
    assert yaml.safe_load(printed.read_text())["monitor"]["style"] == SETTINGS
    assert made_by(parser(), [f"--config={printed}"]).style == Style(**SETTINGS)


def test_the_help_has_the_words_of_every_setting() -> None:
    told = " ".join(parser().format_help().split())
    for words in (
        "How many of the probe images are drawn, the first ones; statistics use all.",
        "Name of a matplotlib colormap; a diverging one",
        "Of the heatmap over the image, in [0, 1].",
        "colours run to each map's own maximum",
        "at which its contour is drawn over the image; None",
    ):
        assert words in told


# --- the scene


def scene(images: Tensor, probe: Probe | None = None, **others: Any) -> Scene:
    count = len(images)
    known = {
        "cams": torch.rand(count, *[2] * (images.ndim - 2), generator=torch.Generator().manual_seed(0)),
        "scores": torch.eye(5)[torch.arange(count) % 5],
        "reasons": torch.zeros(count, dtype=torch.long),
        "history": History(),
        "when": "epoch 1 · step 2",
        "asked": "gradcam at layer4 (2 x 2) · target: label",
    }
    return Scene(probe or Probe(images), images, **(known | others))


@pytest.mark.parametrize("size", [(32, 32), (300,), (8, 8, 8)], ids=str)
def test_images_are_prepared_once_for_all_pictures(size: tuple[int, ...]) -> None:
    found = scene(torch.rand(5, 3, *size), style=Style(shown=2))
    assert found.grid is found.grid
    assert found.strip is found.strip
    assert (len(found.grid.pictures), len(found.strip.pictures)) == (2, 5)
    assert found.grid.pictures.shape[2:] > found.strip.pictures.shape[2:]
    assert found.shown == slice(0, 2)
    assert found.labels == [None] * 5


def test_whether_the_range_was_guessed() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.2, 0.3)
    inside = torch.rand(4, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    outside = (inside - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    assert not scene(inside).is_range_guessed
    assert scene(outside).is_range_guessed
    undone = scene(outside, normalization=(mean, std))
    assert not undone.is_range_guessed
    assert_close(undone.strip.pictures, scene(inside).strip.pictures)


def test_an_image_is_stretched_alike_in_every_picture() -> None:
    # The last image, which is not shown large, has the largest values.
    images = torch.rand(3, 3, 112, 112) + torch.tensor([0.0, 0.0, 4.0])[:, None, None, None]
    found = scene(images, style=Style(shown=2))
    assert found.is_range_guessed
    assert found.grid.size == found.strip.size == (112, 112)
    assert_close(found.grid.pictures, found.strip.pictures[:2], rtol=0, atol=0)
    assert found.grid.pictures.max() < 0.3


def test_the_scale_of_a_run_is_the_largest_value_of_its_looks() -> None:
    images, cams = torch.rand(2, 3, 8, 8), torch.tensor([[[1.0, -6.0]], [[3.0, 0.5]]])
    history = History()
    for size in (1.0, 2.0):
        statistics: dict = {}
        look = remember(0, 0, size * cams, torch.zeros(2).long(), torch.ones(2), statistics)
        history = history.added(look)
    by_map = scene(images, history=history)
    by_run = scene(images, history=history, style=Style(color_scale="run"))
    signed = scene(images, history=history, style=Style(color_scale="run", colormap="RdBu_r"))
    assert by_map.peaks(cams) is None
    assert_close(by_run.peaks(cams), torch.tensor([2.0, 6.0]), rtol=1e-3, atol=0)
    assert_close(signed.peaks(cams), torch.tensor([12.0, 6.0]), rtol=1e-3, atol=0)
    first = scene(images, style=Style(color_scale="run"))
    assert_close(first.peaks(cams), torch.tensor([1.0, 3.0]))


def test_what_a_class_is_called() -> None:
    images = torch.rand(2, 3, 8, 8)
    found = scene(images, Probe(images, torch.tensor([0, 1]), None, ("cat", "猫")))
    assert [found.name(label) for label in (0, 1, 2)] == ["cat", "class 1", "2"]
    assert found.labels == [0, 1]
    assert found.predicted == [0, 1]


def test_a_header_says_what_is_shown_of_volumes() -> None:
    found = scene(torch.rand(2, 1, 4, 8, 8))
    assert found.header("now") == (
        "now",
        f"{found.asked} · slices through the middle of D, H and W, from the left",
    )
    assert scene(torch.rand(2, 3, 8, 8)).header("now", "asked") == ("now", "asked")


def test_at_the_end_all_lies_on_the_host() -> None:
    images = torch.rand(2, 3, 8, 8)
    whole = scene(
        images,
        target_classes=torch.tensor([0, 1]),
        parts=torch.rand(2, 3, 2, 2),
        confusions=(torch.rand(1, 2, 2), torch.rand(1, 2, 2)),
        in_fit=True,
    )
    ended = whole.at_the_end()
    assert (ended.is_last, ended.in_fit, whole.is_last) == (True, True, False)
    tensors = [value for value in vars(ended).values() if isinstance(value, Tensor)]
    assert len(tensors) == 6
    assert {tensor.device.type for tensor in (*tensors, *ended.confusions)} == {"cpu"}
    assert_close(ended.cams, whole.cams)
    assert ended.history is whole.history


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
    line = slice(MARGIN + LINE + 2, FIRST_ROW - 2)
    width = min(told.shape[1], by_hand.shape[1])
    np.testing.assert_array_equal(told[line, :width], by_hand[line, :width])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"color_scale": "epoch"}, "color_scale: got 'epoch'; give 'map' or 'run'"),
        ({"foreground": 0}, r"foreground: got 0; give a share of the map's maximum in \(0, 1\]"),
        ({"foreground": 1.5}, "foreground: got 1.5"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CAMMonitor(**arguments)
