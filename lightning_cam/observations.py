"""What is told beside the shortcut tests, without alarm: what the data offer, and how far the model goes with parts of an image."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import torch

from lightning_cam.evidence import Pair
from lightning_cam.functional.cues import Cue
from lightning_cam.functional.offers import OFFERS, PARTS, SMALLEST, kappa, label_skill
from lightning_cam.shortcut_report import ShortcutReport
from lightning_cam.transplants import Ask, Plan, answers
from lightning_cam.typing import Images


def observe(report: ShortcutReport, ask: Ask, *, classes: int, max_batch: int) -> ShortcutReport:
    """The report with its ``offers`` and its ``agreement``; as it was where the images are no pictures, or too small.

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
        predicted, _ = answers(seen, subjects, Plan(everyone, everyone), ask, max_batch)
        agreement[name] = kappa(subjects.predicted, predicted, classes)
    offers = {name: label_skill(features(subjects.precise), subjects.labels) for name, features in OFFERS.items()}
    return replace(report, offers=offers, agreement=agreement, passes=report.passes + len(PARTS))


def _of_hosts(pair: Pair, part: Callable[[Images], Images]) -> Images:
    return part(pair.hosts)
