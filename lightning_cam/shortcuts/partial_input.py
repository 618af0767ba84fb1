"""How the model answers a part of each image: its border alone, its patches shuffled."""

import math
from collections.abc import Callable, Mapping
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
    """The report with its ``offers`` and its ``agreement``, of several labels each one's too; as it was where
    the images are no pictures, or too small, or no label is tested.

    Args:
        ask: ``(images, index) -> (m, C)`` scores.
        classes: How many the model tells apart.
    """
    subjects = report.subjects
    if subjects.images.ndim != 4 or min(subjects.images.shape[2:]) < SMALLEST or subjects.columns == ():
        return report
    everyone = torch.arange(len(subjects.images), device=subjects.images.device)
    answered = {}
    for name, part in PARTS.items():
        seen = Cue(partial(_of_hosts, part=part), 2, "B", name)
        answered[name], _ = answers(seen, subjects, Pairing(everyone, everyone), ask, max_batch)
    features = {name: feature(subjects.precise) for name, feature in OFFERS.items()}
    passes = report.passes + len(PARTS)
    if subjects.columns is None:
        offers = {name: label_skill(values, subjects.labels) for name, values in features.items()}
        agreement = {name: kappa(subjects.predicted, found, classes) for name, found in answered.items()}
        return replace(report, offers=offers, agreement=agreement, passes=passes)
    label_offers: dict[int, dict[str, float]] = {}
    label_agreement: dict[int, dict[str, float]] = {}
    for place, column in enumerate(subjects.columns):
        labels, predicted = subjects.labels[:, place], subjects.predicted[:, place]
        known, told = labels >= 0, predicted >= 0
        label_offers[column] = {
            name: label_skill(values[known], labels[known]) for name, values in features.items()
        }
        both = {name: told & (found[:, place] >= 0) for name, found in answered.items()}
        label_agreement[column] = {
            name: kappa(predicted[both[name]], found[both[name], place], classes=2)
            for name, found in answered.items()
        }
    return replace(
        report,
        offers=_largest(label_offers),
        agreement=_largest(label_agreement),
        label_offers=label_offers,
        label_agreement=label_agreement,
        passes=passes,
    )


def _largest(by_label: Mapping[int, Mapping[str, float]]) -> dict[str, float]:
    """Of each name the largest value over labels; none that is not finite."""
    found: dict[str, float] = {}
    for values in by_label.values():
        for name, value in values.items():
            if math.isfinite(value):
                found[name] = max(value, found.get(name, value))
    return found


def _of_hosts(pair: Pair, part: Callable[[Images], Images]) -> Images:
    return part(pair.hosts)
