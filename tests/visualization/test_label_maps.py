"""The overlay of several labels, tile by tile."""

import numpy as np
import pytest
import torch
from support.scenes import scene
from support.sheets import colors, plain
from torch import Tensor

from lightning_cam.data.probe import Probe
from lightning_cam.visualization.canvas import FRAME, GAP, MARGIN, NARROWEST, RIGHT, TOP, UNKNOWN, WRONG
from lightning_cam.visualization.label_maps import LabelTile, maps_by_label
from lightning_cam.visualization.overlay import draw_overlay
from lightning_cam.visualization.prepared import STRIP_TILES
from lightning_cam.visualization.projection import tile_size
from lightning_cam.visualization.style import Style

NAMES = ("Effusion", "Pneumonia", "Mass", "Edema")
NAN = torch.nan
TRUTH = torch.tensor([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, NAN, 0.0], [0.0, 0.0, 0.0, 0.0], [NAN, NAN, NAN, NAN]])
SCORES = torch.tensor(
    [[2.0, -1.0, 3.0, -4.0], [-1.0, -2.0, 9.0, -5.0], [-1.0, 2.0, -3.0, -3.0], [1.0, 1.0, 1.0, 1.0]]
)
LABELS = torch.tensor([[2, 0, 1], [1, -1, 0], [-1, -1, 1], [-1, -1, -1]])


def maps() -> Tensor:
    """Each place has its own constant map, the last image's are blank."""
    cams = torch.ones(4, 3, 4, 4)
    cams[0, 2] = -1.0
    return cams


def drawn(size: int, **others: object) -> np.ndarray:
    probe = Probe(plain(4, (size, size)), TRUTH, None, NAMES)
    style = Style(colormap="gray", opacity=1.0)
    look = scene(
        probe,
        style,
        cams=maps()[:, 0],
        scores=SCORES,
        task="multilabel",
        label_maps=(LABELS, maps()),
        **others,
    )
    return np.asarray(draw_overlay(look)())


@pytest.mark.parametrize("size", [32, 224])
def test_each_label_has_its_tile_in_the_frame_of_its_image(size: int) -> None:
    pixels = drawn(size)
    side = tile_size(size, size, *STRIP_TILES)[0]
    width = max(4 * (side + FRAME) + FRAME, NARROWEST)
    columns = sum((pixels[TOP, MARGIN + i * (width + GAP) :][:1] != 255).any() for i in range(4))
    framed = {0: RIGHT, 1: WRONG, 2: WRONG, 3: UNKNOWN}
    tiles = {0: 3, 1: 2, 2: 1, 3: 0}
    starts = [
        y
        for y in range(TOP, pixels.shape[0])
        if (pixels[y, MARGIN] != 255).any() and (pixels[y - 1, MARGIN] == 255).all()
    ]
    rows = [y for y in starts if (pixels[y, MARGIN : MARGIN + side] == pixels[y, MARGIN]).all()]
    for image in range(4):
        x, y = MARGIN + image % columns * (width + GAP), rows[image // columns]
        across = (1 + tiles[image]) * (side + FRAME) + FRAME
        assert (pixels[y, x : x + across] == framed[image]).all()
        assert (pixels[y, x + across + 1] == 255).all(), "the frame ends with the image's last label"
        for place in range(1, 1 + tiles[image]):
            left = x + FRAME + place * (side + FRAME)
            tile = pixels[y + FRAME + side // 2, left + 4 : left + side - 4]
            is_blank = (image, place) == (0, 3)
            grey = 255 * (0.65 + 0.35 * colors(4)[image].mean().item())
            assert np.abs(tile - (grey if is_blank else 255.0)).max() <= 1


def test_what_is_said_of_a_label() -> None:
    tile = torch.zeros(2, 2, 3, dtype=torch.uint8)
    said = [
        LabelTile(tile, "Mass", *one) for one in ((0.83, True), (0.12, True), (0.61, False), (0.2, False))
    ]
    assert [one.words for one in said] == ["83 % present", "12 % present", "61 % absent", "20 % absent"]
    assert [one.is_wrong for one in said] == [False, True, True, False]


def test_maps_of_each_label() -> None:
    cams = torch.arange(12.0).reshape(4, 3, 1, 1)
    found = maps_by_label((LABELS, cams))
    assert {label: rows for label, (rows, _) in found.items()} == {2: [0], 0: [0], 1: [1]}
    assert [found[label][1].flatten().tolist() for label in (2, 0, 1)] == [[0.0], [1.0], [3.0]]


def test_masks_are_outlined_on_every_tile() -> None:
    probe = Probe(
        torch.zeros(4, 3, 32, 32),
        TRUTH,
        torch.zeros(4, 32, 32).index_fill(1, torch.arange(8, 20), 1) > 0,
        NAMES,
    )
    dark = Style(colormap="gray", opacity=0.0)
    look = scene(
        probe, dark, cams=maps()[:, 0], scores=SCORES, task="multilabel", label_maps=(LABELS, maps().abs())
    )
    pixels = np.asarray(draw_overlay(look)())
    side = tile_size(32, 32, *STRIP_TILES)[0]
    for place in range(4):
        left = MARGIN + FRAME + place * (side + FRAME)
        assert (pixels[TOP + FRAME : TOP + FRAME + side, left + side // 2] == 255).all(axis=1).any()
