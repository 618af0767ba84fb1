"""What tells classes apart: their mean maps and the difference."""

import numpy as np
import torch
from support.scenes import scene
from torch import nn

from lightning_cam import Probe
from lightning_cam.visualization.canvas import LINE, MARGIN, TOP
from lightning_cam.visualization.classes import NARROWEST_TILE, draw_classes
from lightning_cam.visualization.prepared import CONTRAST
from lightning_cam.visualization.style import Style


def test_class_means_and_their_difference() -> None:
    """Two classes that are looked at left and right: by hand, pixel by pixel."""
    images = torch.rand(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 0, 1, 0, 1])
    cams = torch.zeros(6, 1, 2)
    cams[labels == 0, 0, 0] = torch.tensor([5.0, 1.0, 3.0])
    cams[labels == 1, 0, 1] = 2.0
    cams[1] = 0  # blank
    probe = Probe(images, labels, None, ("left", "right"))
    given = scene(probe, Style(colormap="gray", opacity=1.0), cams=cams, scores=torch.eye(2)[labels])
    drawn = draw_classes(given)
    assert drawn is not None
    pixels = np.asarray(drawn())
    side = given.strip.size[0]
    step = max(side, NARROWEST_TILE) + 14
    top = TOP + 2 * LINE
    for place, label in enumerate((0, 1)):
        x = MARGIN + place * step
        mean = torch.stack([images[i] for i in range(6) if labels[i] == label]).mean(dim=0)
        shown = nn.functional.interpolate(mean[None], (side, side), mode="nearest")[0].permute(1, 2, 0) * 255
        assert np.abs(pixels[top : top + side, x : x + side] - shown.numpy()).max() <= 1
        share = [[1.0, 0.0], [0.0, 2 / 3]][label]
        over = pixels[top + side + 4 : top + 2 * side + 4, x : x + side, 0]
        assert np.abs(over[:, :10].astype(float) - 255 * share[0]).max() <= 1
        assert np.abs(over[:, -10:].astype(float) - 255 * share[1]).max() <= 1
    below = top + 2 * (side + 4) + 14 + 2 * LINE + 8
    apart = pixels[below : below + side, MARGIN : MARGIN + side].astype(float)
    colors = 255 * CONTRAST.numpy()
    grey = images.reshape(6, 3, -1).mean().item() * 255
    # The first class is at the left end of the scale's reach: seven tenths of its colour.
    assert np.abs(apart[:, :10].mean(axis=(0, 1)) - (0.7 * colors[-1] + 0.3 * grey)).max() < 6
    assert (
        np.abs(apart[:, -10:].mean(axis=(0, 1)) - (0.7 * 2 / 3 * colors[0] + (1 - 0.7 * 2 / 3) * grey)).max()
        < 6
    )


def test_classes_need_two() -> None:
    images, cams = torch.rand(3, 3, 8, 8), torch.rand(3, 2, 2)
    for labels in (None, torch.tensor([1, 1, 1])):
        assert draw_classes(scene(Probe(images, labels), cams=cams)) is None


SEVERAL = torch.tensor([[1.0, 0.0, 1.0], [1.0, 1.0, 0.0], [0.0, torch.nan, 0.0], [1.0, 1.0, 0.0]])


def test_each_of_several_labels_has_the_mean_of_its_own_maps() -> None:
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([[0, 2, 1], [1, 0, 2], [-1, -1, 0], [0, 1, 2]])
    cams = torch.zeros(4, 3, 1, 2)
    for row, place in ((0, 0), (1, 1), (3, 0)):  # the maps of label 0: left
        cams[row, place, 0, 0] = 3.0
    for row, place in ((1, 0), (3, 1)):  # those of label 1: right
        cams[row, place, 0, 1] = 2.0
    probe = Probe(images, SEVERAL, None, ("a", "b", "c"))
    known = {"cams": torch.rand(4, 1, 2), "scores": torch.rand(4, 3), "task": "multilabel"}
    style = Style(colormap="gray", opacity=1.0)
    pixels = np.asarray(draw_classes(scene(probe, style, label_maps=(labels, cams), **known))())
    side = scene(probe, style, **known).strip.size[0]
    step, top = max(side, NARROWEST_TILE) + 14, TOP + 2 * LINE
    for place, (rows, ends) in enumerate((([0, 1, 3], (255, 0)), ([1, 3], (0, 255)), ([0], None))):
        x = MARGIN + place * step
        mean = images[rows].mean(dim=0, keepdim=True)
        shown = nn.functional.interpolate(mean, (side, side), mode="nearest")[0].permute(1, 2, 0) * 255
        assert np.abs(pixels[top : top + side, x : x + side] - shown.numpy()).max() <= 1
        over = pixels[top + side + 4 : top + 2 * side + 4, x : x + side, 0].astype(float)
        if ends is None:  # its map is blank
            assert np.abs(over - (0.65 * 255 + 0.35 * shown.mean(dim=2).numpy())).max() <= 1
            continue
        assert np.abs(over[:, :10] - ends[0]).max() <= 1
        assert np.abs(over[:, -10:] - ends[1]).max() <= 1


def test_without_maps_of_their_own_labels_share_the_map_of_their_image() -> None:
    images, cams = torch.rand(4, 3, 8, 8), torch.rand(4, 2, 2)
    probe = Probe(images, SEVERAL)
    assert draw_classes(scene(probe, cams=cams, scores=torch.rand(4, 3), task="multilabel")) is not None
    for task, scores in (("regression", torch.rand(4, 1)), ("none", torch.rand(4, 3))):
        plain = Probe(images, torch.tensor([0, 1, 2, 0]))
        assert draw_classes(scene(plain, cams=cams, scores=scores, task=task)) is None
