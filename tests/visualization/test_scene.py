"""``Scene``, what pictures are drawn from, and the words that they share."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from support.sheets import FIRST_ROW, HEADER, plain, sheet
from torch import Tensor
from torch.testing import assert_close

from lightning_cam import CAMMonitor
from lightning_cam.data.history import History, remember
from lightning_cam.data.probe import Probe
from lightning_cam.visualization.canvas import LINE, MARGIN
from lightning_cam.visualization.prepared import Displayed
from lightning_cam.visualization.scene import Scene, how_drawn
from lightning_cam.visualization.style import Style


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
        CAMMonitor(style=Style(**arguments))


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
    assert (len(found.grid.pictures), len(found.strip.pictures)) == (2, 2)
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
    assert (found.grid.size, found.strip.size) == ((224, 224), (112, 112))
    assert_close(found.grid.pictures[:, :, ::2, ::2], found.strip.pictures, rtol=0, atol=0)
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
    found = scene(images, Probe(images, torch.tensor([0, 1]), None, ("cat", "\U0002fa20")))
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


def test_at_the_end_it_is_the_last_look_again() -> None:
    whole = scene(torch.rand(2, 3, 8, 8), in_fit=True)
    ended = whole.at_the_end()
    assert (ended.is_last, ended.in_fit, whole.is_last) == (True, True, False)
    assert_close(ended.cams, whole.cams)
    assert ended.history is whole.history


def test_means_are_of_all_images_and_drawn_as_images_are() -> None:
    images = torch.rand(5, 3, 32, 32, generator=torch.Generator().manual_seed(2))
    found = scene(images, style=Style(shown=1))
    groups = [torch.tensor([True, False, True, False, False]), torch.arange(5) == 4]
    by_hand = torch.stack([(images[0] + images[2]) / 2, images[4]])
    assert_close(found.means(groups).pictures, scene(by_hand).strip.pictures)


def test_images_that_were_made_for_an_earlier_look_are_used_again() -> None:
    first = scene(torch.rand(3, 3, 16, 16))
    made = Displayed(first.images, first.shown.stop)
    second = replace(first, displayed=made)
    assert second.grid.pictures is made.large
    assert_close(second.strip.pictures, first.strip.pictures, rtol=0, atol=0)


def test_a_map_is_weak_below_a_tenth_of_the_strongest() -> None:
    images = torch.rand(5, 3, 8, 8)
    cams = torch.ones(5, 2, 2) * torch.tensor([2.0, 0.22, 0.18, 0.002, 0.0])[:, None, None]
    history = History().added(remember(0, 0, 4 * cams, torch.zeros(5).long(), torch.ones(5), {}))
    found = scene(images, history=history, cams=cams)
    assert (found.strongest, found.strongest_of_run) == (2.0, 8.0)
    assert found.weak(cams, found.strongest) == ["", "", "weak: 9 %", "weak: <1 %", ""]
    assert found.weak(cams, found.strongest_of_run) == ["", "weak: 3 %", "weak: 2 %", "weak: <1 %", ""]
    assert found.weak(torch.zeros(1, 2, 2), 0.0) == [""]


@pytest.mark.parametrize("count", range(0, 18))
def test_pictures_of_all_looks_have_news_when_there_are_twice_as_many_and_at_the_end(count: int) -> None:
    images = torch.rand(1, 3, 8, 8)
    look = remember(0, 0, torch.rand(1, 2, 2), torch.zeros(1).long(), torch.ones(1), {})
    found = scene(images, history=History((look,) * count))
    assert found.is_news == (count in (1, 2, 4, 8, 16))
    assert found.at_the_end().is_news != found.is_news
