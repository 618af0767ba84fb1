"""Errors: which are set against each other, and tile by tile what of them is shown."""

import numpy as np
import torch
from support.scenes import scene
from support.sheets import plain
from torch.testing import assert_close

from lightning_cam.data.probe import Probe
from lightning_cam.visualization.canvas import FRAME, GAP, LINE, WRONG
from lightning_cam.visualization.captions import Caption
from lightning_cam.visualization.errors import MOST_ERRORS, error_panel, errors_of
from lightning_cam.visualization.scene import Scene


def given(wrong: int, confusions: bool = True) -> Scene:
    """Six images, of which the first ones are answered wrongly."""
    cams = torch.rand(6, 4, 4, generator=torch.Generator().manual_seed(0))
    answers = torch.tensor([1] * wrong + [0] * (6 - wrong))
    maps = (cams.flip(1), cams - cams.flip(1)) if confusions else None
    probe = Probe(plain(6), torch.zeros(6).long())
    return scene(probe, cams=cams, scores=5 * torch.eye(4)[answers], confusions=maps)


def test_the_first_four_errors_are_set_against_each_other() -> None:
    found = errors_of(given(5), [4, 2, 0, 1, 3])
    assert found is not None
    assert (found.rows, found.count, MOST_ERRORS) == ([4, 2, 0, 1], 5, 4)
    images, label, predicted, contrast = found.tiles
    assert_close(
        images[1], given(5).strip.of(torch.tensor([2])).pictures[0].mul(255).round().byte().permute(1, 2, 0)
    )
    assert_close(predicted[0].sum(), label[0].flip(0).sum(), rtol=0.02, atol=0)
    assert (label != predicted).any()
    assert (contrast != images).any()


def test_without_errors_or_their_maps_there_is_no_panel() -> None:
    assert errors_of(given(0), []) is None
    assert errors_of(given(2, confusions=False), [0, 1]) is None


def test_each_error_has_four_tiles_in_one_frame() -> None:
    found = errors_of(given(2), [0, 1])
    assert found is not None
    captions = [Caption(False, "cat", "dog", 0.9)] * 6
    pixels = np.asarray(error_panel(found, captions))
    height, width = found.tiles[0].shape[1:3]
    for i in range(2):
        top = 3 * LINE + 8 + i * (height + 2 * FRAME + 3 * LINE + GAP)
        across = 4 * (width + FRAME) + FRAME
        assert (pixels[top : top + FRAME, :across] == WRONG).all()
        for number, tiles in enumerate(found.tiles):
            left = FRAME + number * (width + FRAME)
            shown = pixels[top + FRAME : top + FRAME + height, left : left + width]
            np.testing.assert_array_equal(shown, tiles[i].numpy())
