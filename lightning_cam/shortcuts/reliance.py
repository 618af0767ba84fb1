"""Reliance: how much accuracy is lost when a cue comes from another class rather than from its own."""

from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_cam.shortcuts.pairing import Pairing
from lightning_cam.typing import Labels


@dataclass(frozen=True, eq=False)
class Swaps:
    """Answers to images that received one cue: m times from an image of their own class, m times from
    another's.

    Args:
        pairs: Who received from whom.
        own: (m,) what the model answers where the cue came from the own class.
        other: (m,) likewise from another class.
        confidence: (m,) the probabilities of ``other``, in [0, 1].
    """

    pairs: Pairing
    own: Labels
    other: Labels
    confidence: Tensor

    def __add__(self, more: "Swaps") -> "Swaps":
        return Swaps(
            self.pairs + more.pairs,
            torch.cat([self.own, more.own]),
            torch.cat([self.other, more.other]),
            torch.cat([self.confidence, more.confidence]),
        )


@dataclass(frozen=True)
class Reliance:
    """What the model uses of a cue.

    Args:
        with_own: Accuracy on images that received the cue from another image of their own class, in [0, 1].
        with_other: Accuracy where it came from another class.
        z: Their difference in units of its standard error; 0 where there are fewer than two images.
        excess: Share answered with the class that gave the cue, less what errors that fall on any class would
            give, ``share - errors / (C - 1)``, in [-1, 1]; 0 of two classes, where each error is the other
            class.
        images: How many images received the cue.
    """

    with_own: float
    with_other: float
    z: float
    excess: float
    images: int

    @property
    def points(self) -> float:
        """Accuracy lost, in [-1, 1]."""
        return self.with_own - self.with_other


NOTHING = Reliance(0.0, 0.0, 0.0, 0.0, 0)


def reliance(swaps: Swaps, labels: Labels, classes: int) -> Reliance:
    """Paired per image, its donors' mean first, then averaged over classes, so that a frequent one counts no
    more.

    Args:
        labels: (n,) of the probe.
        classes: How many the model tells apart.
    """
    hosts, places = swaps.pairs.hosts.unique(return_inverse=True)
    if not len(hosts):
        return NOTHING
    truth = labels[swaps.pairs.hosts]
    own = _mean_by((swaps.own == truth).double(), places, len(hosts))
    other = _mean_by((swaps.other == truth).double(), places, len(hosts))
    present, group = labels[hosts].unique(return_inverse=True)
    counts = torch.bincount(group, minlength=len(present)).double()
    lost = own - other
    spread = float(lost.var()) if len(lost) > 1 else 0.0
    error = (spread * float((1 / counts).sum())) ** 0.5 / len(present)
    by_class = [float(_mean_by(values, group, len(present)).mean()) for values in (own, other)]
    points = by_class[0] - by_class[1]
    followed = (swaps.other == labels[swaps.pairs.other]).double().mean()
    wrong = (swaps.other != truth).double().mean()
    excess = float(followed - wrong / (classes - 1)) if classes > 2 else 0.0
    # Where all images lose the same, the error is that of the next image that would not.
    least = 1 / (2 * len(hosts))
    z = points / max(error, least) if len(hosts) > 1 else 0.0
    return Reliance(by_class[0], by_class[1], z, excess, len(hosts))


def by_class(swaps: Swaps, labels: Labels) -> dict[int, tuple[float, float]]:
    """Of each class what its images lose by the cue of others, and how far its cue draws images of others to
    it, beyond the cue of their own class; in [-1, 1].
    """
    truth, donors = labels[swaps.pairs.hosts], labels[swaps.pairs.other]
    found = {}
    for label in truth.unique().tolist():
        hosts, givers = truth == label, donors == label
        lost = (swaps.own == label).double()[hosts].mean() - (swaps.other == label).double()[hosts].mean()
        drawn = (swaps.other == label).double()[givers].mean() - (swaps.own == label).double()[givers].mean()
        found[label] = (float(lost), float(drawn.nan_to_num(0.0)))
    return found


def _mean_by(values: Tensor, places: Tensor, count: int) -> Tensor:
    sums = values.new_zeros(count).index_add(0, places, values)
    return sums / torch.bincount(places, minlength=count).clamp(min=1)
