"""The layout of sheets as a whole, beside golden pictures at a quarter of the size."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.looks import judged, looks
from support.scenes import scene

from lightning_cam import Probe
from lightning_cam.visualization.animation import draw_animation
from lightning_cam.visualization.classes import draw_classes
from lightning_cam.visualization.evolution import draw_evolution
from lightning_cam.visualization.overlay import draw_overlay
from lightning_cam.visualization.reliance import draw_reliance
from lightning_cam.visualization.shortcut import ClassRow, Swap, draw_shortcut
from lightning_cam.visualization.style import Style

GOLDEN = Path(__file__).parent / "golden"


def small(picture: Image.Image) -> np.ndarray:
    """At a quarter of the size: letters, which differ between versions of the font renderer, become grey."""
    return np.asarray(picture.convert("RGB").reduce(4)).astype(int)


def sheets() -> dict[str, Image.Image]:
    images = torch.linspace(0, 1, 8 * 3 * 32 * 32).reshape(8, 3, 32, 32)
    labels = torch.arange(8) % 4
    masks = torch.zeros(8, 32, 32, dtype=torch.bool)
    masks[:, 8:20, 10:24] = True
    probe = Probe(
        images, labels, masks, ("cat", "dog", "a class with a long name, which goes on and on", "hen")
    )
    history, cams = looks(12, 8, (1.0, 2.0, 3.0, 4.0) * 3)
    history = judged(history, labels)
    scores = 4 * torch.eye(4)[(labels + (torch.arange(8) == 2)) % 4]
    confusions = (cams.flip(1), cams - cams.flip(1))
    style = Style(foreground=0.6)
    drawn = scene(probe, style, history, cams, scores, confusions=confusions, in_fit=True)
    return {
        "overlay": draw_overlay(drawn)(),
        "evolution": draw_evolution(replace(drawn, style=Style(color_scale="run"), is_last=True))(),
        "classes": draw_classes(replace(drawn, is_last=True))(),
        "animation": draw_animation(
            replace(drawn, style=Style(colormap="RdBu_r", animation=True), is_last=True)
        )()[-1],
        "shortcut": shortcut(images[:2]),
        "reliance": reliance(),
    }


def shortcut(images: torch.Tensor) -> Image.Image:
    swaps = [
        Swap("cat", "dog", "cat", "dog", own_is_right=True, other_is_right=False),
        Swap("a class with a long name, which goes on", "hen", "cow", "hen", False, False),
    ]
    cells = [[1.0, 0.5, 0.1, 0.0], [0.2, 0.3, 0.4, -0.1], [0.0, 0.7, 0.6, 0.2], [0.0, 0.0, 0.0, 0.9]]
    classes = [
        ClassRow("cat", 0.9, 0.7, True),
        ClassRow("dog", 0.4, 0.2, False),
        ClassRow("hen", 0.0, 0.1, False),
    ]
    tagged = images.clone()
    tagged[:, :, :8, :8] = 1.0
    header = (
        "shortcut · epoch 4 · step 87 · warning",
        "The top-left corner: alone, it tells the class. " * 3,
    )
    return draw_shortcut(images, tagged, images, tagged, swaps, cells, classes, header, None)()


def reliance() -> Image.Image:
    looks = [
        (
            epoch,
            {"cell_0_0": 0.2 * epoch, "border_8": 0.05 * epoch, **({"detail": 0.3} if epoch != 2 else {})},
        )
        for epoch in range(5)
    ]
    told = {"cell_0_0": 1.0, "border_8": 0.9, "detail": 0.7}
    return draw_reliance(looks, told, {"cell_0_0": "the top-left corner"}, ["cell_0_0"], when="epoch 4")()


@pytest.mark.parametrize("name", ["overlay", "evolution", "classes", "animation", "shortcut", "reliance"])
def test_the_layout_is_that_of_the_golden_picture(name: str) -> None:
    """To make them anew, after looking: ``PYTHONPATH=.:tests python tests/visualization/test_golden.py``."""
    found, golden = (
        small(sheets()[name]),
        np.asarray(Image.open(GOLDEN / f"{name}.png").convert("RGB")).astype(int),
    )
    assert found.shape == golden.shape
    off = np.abs(found - golden)
    assert off.mean() < 0.5
    assert off.max() < 60


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, sheet in sheets().items():
        Image.fromarray(small(sheet).astype(np.uint8)).save(GOLDEN / f"{name}.png", optimize=True)
