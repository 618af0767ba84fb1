"""Headers, names and images of the sheets that are looked at pixel by pixel."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from lightning_cam.data.probe import Probe
from lightning_cam.visualization.canvas import (
    LINE,
    MARGIN,
)
from lightning_cam.visualization.overlay import draw_overlay
from lightning_cam.visualization.style import Style
from support.scenes import scene

HEADER = ("epoch 12 · step 3456", "gradcam at layer4 (7 x 7) · target: label")
NAMES = ("cat", "dog", "golden retriever", "tench, Tinca tinca")


FIRST_ROW = MARGIN + 2 * LINE + 14  # of the first row of cells
BAR = 2 * LINE + 10  # height of the colour bar with its legend
SIZES = [(32, 32), (224, 224), (512, 512), (20, 200), (200, 20)]
LONG = tuple(
    f"{number} is a very long class name that goes on and on, and only its end tells the number: {number}"
    for number in range(4)
)
ALPHABETS = (
    "Größe ÄÖÜß",
    "кошка",
    "γάτα",
    "قطة",
    "עברית",
    "猫",
    "고양이",
    "बिल्ली",
    "แมว",
    "🐱",
    "two\nlines\tand a tab",
    " ",
)

Pixels = np.ndarray
Place = tuple[int, int]


def colors(count: int) -> Tensor:
    """One colour per image, (n, 3), in [0, 1]."""
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(0))


def plain(count: int, size: tuple[int, ...] = (32, 32), channels: int = 3) -> Tensor:
    """Images of one colour each."""
    values = torch.cat([colors(count), torch.ones(count, 1)], dim=1)[:, :channels]
    return values.reshape(count, channels, *[1] * len(size)).expand(-1, -1, *size).contiguous()


def answers(predicted: Sequence[int], classes: int) -> Tensor:
    return 3 * torch.nn.functional.one_hot(torch.tensor(predicted), classes).float()


def sheet(
    images: Tensor,
    predicted: Sequence[int],
    labels: Sequence[int] | None,
    names: tuple[str, ...] | None = NAMES,
    reasons: Sequence[int] | None = None,
    cams: Tensor | None = None,
    style: Style | None = None,
    parts: Tensor | None = None,
    header: tuple[str, str] = HEADER,
) -> Pixels:
    count = len(images)
    probe = Probe(images, None if labels is None else torch.tensor(labels), None, names)
    if cams is None:
        cams = (
            torch.rand(count, 7, 7, generator=torch.Generator().manual_seed(1))
            if parts is None
            else parts[:, 0]
        )
    reasons = torch.tensor(reasons or [0] * count)
    scores = answers(predicted, len(names or NAMES))
    picture = draw_overlay(
        scene(probe, style, cams=cams, scores=scores, header=header, reasons=reasons, parts=parts)
    )()
    assert picture.mode == "RGB"
    return np.asarray(picture)
