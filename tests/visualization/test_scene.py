"""What is drawn, in words and in settings."""

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
