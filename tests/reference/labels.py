"""Shortcut tests of several labels a second time: float64, plain loops, no cleverness. Nothing here calls the package."""

from fractions import Fraction
from math import isnan
from typing import NamedTuple

import numpy as np

from reference.cues import binomial_tail

Array = np.ndarray
UNKNOWN = -1


class Tally(NamedTuple):
    """What one label counts: answers as the donor's and as the host's, neither; images won, and not drawn."""

    donor: int
    host: int
    neither: int
    wins: int
    votes: int


def answer(logit: float) -> int:
    """1: the label is there; 0: it is not; nothing can be said of what is no number."""
    return UNKNOWN if isnan(logit) else int(logit > 0)


def tally(
    labels: list[list[int]],
    before: list[list[int]],
    pairs: list[tuple[int, int]],
    after: list[list[int]],
    label: int,
    always_by_host: bool,
) -> Tally | None:
    """Goes through the pairs one by one; None where host and donor never differ in the label.

    ``before`` is answered to the images as they are, ``after`` to the transplants, one per pair.
    """
    conflicts = []
    for (host, donor), answers in zip(pairs, after, strict=True):
        own, given = labels[host][label], labels[donor][label]
        if UNKNOWN in (own, given) or own == given or before[host][label] != own:
            continue
        conflicts.append((host, donor, own, given, answers[label]))
    if not conflicts:
        return None
    hosts, donors = {found[0] for found in conflicts}, {found[1] for found in conflicts}
    by_host = always_by_host or len(hosts) <= len(donors)
    follow = keep = neither = 0
    leads: dict[int, int] = {}
    for host, donor, own, given, said in conflicts:
        voter = host if by_host else donor
        leads.setdefault(voter, 0)
        if said == given:
            follow += 1
            leads[voter] += 1
        elif said == own:
            keep += 1
            leads[voter] -= 1
        else:
            neither += 1
    wins = sum(lead > 0 for lead in leads.values())
    return Tally(follow, keep, neither, wins, sum(lead != 0 for lead in leads.values()))


def flips(
    labels: list[list[int]],
    before: list[list[int]],
    shams: list[tuple[int, int]],
    after: list[list[int]],
    label: int,
) -> float:
    """Share of answers that change although host and donor are alike in the label; 0 without such."""
    changed = alike = 0
    for (host, donor), answers in zip(shams, after, strict=True):
        own = labels[host][label]
        if own == UNKNOWN or own != labels[donor][label] or before[host][label] != own:
            continue
        alike += 1
        changed += answers[label] != own
    return changed / alike if alike else 0.0


def expected(features: Array, labels: Array, host: int, donor: int) -> tuple[Array, Array]:
    """What is expected of the host's labels and of the donor's, by least squares over all images but the host.

    A label that is not known is taken as it is on average; a pair in which it is not known of both is alike.
    """
    filled = labels.astype(float)
    for label in range(labels.shape[1]):
        known = [value for value in labels[:, label].tolist() if value != UNKNOWN]
        for image in range(len(labels)):
            if labels[image, label] == UNKNOWN:
                filled[image, label] = sum(known) / len(known)
    others = [image for image in range(len(labels)) if image != host]
    design = np.array([[1.0, *filled[image].tolist()] for image in others])
    coefficients = np.linalg.lstsq(design, np.array([features[image] for image in others]), rcond=None)[0]
    of_host = coefficients[0].copy()
    of_donor = coefficients[0].copy()
    for label in range(labels.shape[1]):
        own, given = filled[host, label], filled[donor, label]
        if UNKNOWN in (labels[host, label], labels[donor, label]):
            given = own
        of_host += own * coefficients[label + 1]
        of_donor += given * coefficients[label + 1]
    return of_host, of_donor


def fewest_images(tests: int, families: int = 3, alpha: Fraction = Fraction(1, 100)) -> int:
    """How many images must have a label: if each of twice as many votes is won, that must be enough."""
    images = 1
    while families * tests * binomial_tail(2 * images, 2 * images, Fraction(1, 2)) > alpha:
        images += 1
    return images


def tellable(labels: list[list[int]], tests: int, most: int) -> list[int]:
    """The labels that are tested: as many of the most even ones as leave each of them enough images."""
    rarer = []
    for label in range(len(labels[0])):
        column = [row[label] for row in labels]
        rarer.append((min(column.count(0), column.count(1)), -label))
    told: list[int] = []
    for images, label in sorted(rarer, reverse=True)[:most]:
        if images < fewest_images(tests * (len(told) + 1)):
            break
        told.append(-label)
    return sorted(told)
