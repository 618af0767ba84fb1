"""How the model answers a part of each image: its border alone, its patches shuffled."""

from collections.abc import Callable
from functools import partial

import torch

from lightning_cam.shortcuts.cues import Cue, Pair
from lightning_cam.shortcuts.examine import Asking
from lightning_cam.shortcuts.features import GRID, ring
from lightning_cam.shortcuts.pairing import answers
from lightning_cam.shortcuts.predictivity import kappa
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.typing import Images

SHARE = 8  # the border is an eighth of each side thick
SMALLEST = 8  # pixels of a side
ORDER = (
    10,
    12,
    4,
    14,
    15,
    0,
    3,
    9,
    5,
    7,
    13,
    6,
    2,
    8,
    11,
    1,
)  # no patch keeps its row or column, and none a neighbour


# What the model may see of an image


def border_only(images: Images) -> Images:
    """The ring alone; the rest is the image's mean of each channel."""
    return torch.where(ring(images, SHARE), images, images.mean(dim=(2, 3), keepdim=True))


def shuffled(images: Images) -> Images:
    """The 4 x 4 patches in another order, always the same one; pixels beyond a multiple of four stay."""
    height, width = (side // GRID for side in images.shape[2:])
    rows = [part.split(width, dim=3)[:GRID] for part in images.split(height, dim=2)[:GRID]]
    patches = [patch for row in rows for patch in row]
    lines = [
        torch.cat([patches[place] for place in ORDER[i : i + GRID]], dim=3) for i in range(0, GRID**2, GRID)
    ]
    mixed = torch.cat(lines, dim=2)
    right, below = images[:, :, : GRID * height, GRID * width :], images[:, :, GRID * height :]
    return torch.cat([torch.cat([mixed, right], dim=3), below], dim=2)


PARTS: dict[str, Callable[[Images], Images]] = {"border_only": border_only, "shuffled": shuffled}


def observe(report: ShortcutReport, asking: Asking) -> ShortcutReport:
    """The report with its ``agreement``; as it was where images have several labels, are no pictures, or too
    small.
    """
    view = report.views[0] if len(report.views) == 1 else None
    if (
        view is None
        or view.column is not None
        or view.images.ndim != 4
        or min(view.images.shape[2:]) < SMALLEST
    ):
        return report
    everyone = torch.arange(len(view.images), device=view.images.device)
    agreement: dict[str, float] = {}
    for name, part in PARTS.items():
        seen = Cue(
            swap=partial(_of_hosts, part=part), features=lambda views: views.images.flatten(1), meaning=name
        )
        found, _ = answers(seen, view, everyone, everyone, asking.ask, asking.max_batch)
        agreement[name] = kappa(view.predicted, found, view.classes)
    return report.with_agreement(agreement, len(PARTS))


def _of_hosts(pair: Pair, part: Callable[[Images], Images]) -> Images:
    return part(pair.hosts)
