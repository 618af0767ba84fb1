"""How the model answers a part of each image: its border alone, its patches shuffled."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from lightning_cam.shortcuts.cues import Cue, Pair
from lightning_cam.shortcuts.features import GRID, ring
from lightning_cam.shortcuts.pairing import Ask, Pairing, answers
from lightning_cam.shortcuts.predictivity import OFFERS, SHARE, SMALLEST, kappa, label_skill
from lightning_cam.shortcuts.report import ShortcutReport
from lightning_cam.typing import Images

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


def observe(report: ShortcutReport, ask: Ask, *, classes: int, max_batch: int) -> ShortcutReport:
    """The report with its ``offers`` and its ``agreement``; as it was where the images are no pictures, or
    too small.

    Args:
        ask: ``(images, index) -> (m, C)`` scores.
        classes: How many the model tells apart.
    """
    subjects = report.subjects
    if subjects.images.ndim != 4 or min(subjects.images.shape[2:]) < SMALLEST:
        return report
    everyone = torch.arange(len(subjects.images), device=subjects.images.device)
    agreement = {}
    for name, part in PARTS.items():
        seen = Cue(partial(_of_hosts, part=part), 2, "B", name)
        predicted, _ = answers(seen, subjects, Pairing(everyone, everyone), ask, max_batch)
        agreement[name] = kappa(subjects.predicted, predicted, classes)
    offers = {
        name: label_skill(features(subjects.precise), subjects.labels) for name, features in OFFERS.items()
    }
    return replace(report, offers=offers, agreement=agreement, passes=report.passes + len(PARTS))


def _of_hosts(pair: Pair, part: Callable[[Images], Images]) -> Images:
    return part(pair.hosts)
