"""Who wins when a cue and the object disagree: counts, dominance, effect, and how sure one may be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from lightning_cam.typing import Conflicts, Flags, Index, Labels, Scores

ALPHA = 0.01  # per look, over all cues tested
LEAST_EFFECT = 0.10


@dataclass(frozen=True)
class Counts:
    """What the model answered to transplants, counted.

    Args:
        donor: Answers that are the donor's class.
        host: Answers that are the host's class.
        third: Answers that are neither.
        wins: Images whose pairs were won by the donor more often than by the host. Pairs that share an image
            are no independent observations, so each image has one vote.
        votes: Images whose pairs were not a draw.
        classes: How many classes the model tells apart.
        null: The share of conflicts that a cue may win without being a finding.
        flips: With two classes, the share of sham transplants, of the host's own class, that flip the answer.
    """

    donor: int
    host: int
    third: int
    wins: int
    votes: int
    classes: int
    null: float = 0.5
    flips: float = 0.0

    @property
    def pairs(self) -> int:
        """How many transplants were shown."""
        return self.donor + self.host + self.third

    @property
    def dominance(self) -> float:
        """Share of the conflicts between donor and host that the donor wins, in [0, 1]; NaN where there is
        none.

        Source: Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019, the shape bias,
            for any cue.
        https://arxiv.org/abs/1811.12231
        """
        return self.donor / (self.donor + self.host) if self.donor + self.host else float("nan")

    @property
    def effect(self) -> float:
        """Share of transplants answered by the donor's class, less what chance or shams give, in [-1, 1]; NaN
        without pairs.

        With more than two classes, chance is how often one class that has nothing to do with the pair is
        answered.
        """
        if not self.pairs:
            return float("nan")
        chance = self.flips if self.classes == 2 else self.third / (self.classes - 2) / self.pairs
        return self.donor / self.pairs - chance

    @property
    def p_value(self) -> float:
        """Of the null hypothesis that the cue wins no more than the share ``null``: ``P(Bin(votes, null) >=
        wins)``.
        """
        return binomial_tail(self.wins, self.votes, self.null)

    def holds(self, p_value: float) -> bool:
        """Whether the rule holds: the donor wins more than ``null``, by more than chance (p adjusted), often
        enough to matter.
        """
        return self.dominance > self.null and self.effect >= LEAST_EFFECT and p_value <= ALPHA


def tally(
    predicted: Labels, hosts: Labels, donors: Labels, voters: Index, classes: int, null: float = 0.5
) -> Counts:
    """Counts answers ``predicted`` to transplants that hosts of classes ``hosts`` received from classes
    ``donors``.

    Args:
        voters: Which image each pair counts for.
    """
    to_donor, to_host = predicted == donors, predicted == hosts
    donor, host = int(to_donor.sum().item()), int(to_host.sum().item())
    _, voter = voters.unique(return_inverse=True)
    lead = torch.zeros_like(predicted).index_add(
        0, voter, to_donor.to(predicted.dtype) - to_host.to(predicted.dtype)
    )
    wins, votes = int((lead > 0).sum().item()), int((lead != 0).sum().item())
    return Counts(donor, host, len(predicted) - donor - host, wins, votes, classes, null)


def label_flags(labels: Tensor) -> Flags:
    """Labels (n, K) of zeros and ones as whole numbers; -1 where one is not known: NaN, or negative."""
    return torch.where(labels.isfinite() & (labels >= 0), (labels > 0.5).long(), -1)


def label_answers(scores: Scores) -> tuple[Flags, Scores]:
    """Whether each label is answered to be there, 1 or 0, by the sign of its logit, and that answer's
    probability, in [0.5, 1]; -1 and NaN where the logit is NaN.
    """
    return torch.where(scores.isnan(), -1, (scores > 0).long()), scores.abs().sigmoid()


def conflicts(labels: Flags, right: Tensor, hosts: Index, donors: Index) -> Conflicts:
    """(m, K) in which labels host and donor of each pair differ, where both are known and the host is
    answered rightly: of these each label counts whom the answer follows.

    Args:
        labels: (n, K) zeros and ones; -1 where one is not known.
        right: (n, K) which labels of which images are answered rightly; none that is not known.
    """
    return right[hosts] & (labels[donors] >= 0) & (labels[hosts] != labels[donors])


def binomial_tail(wins: int, trials: int, share: float = 0.5) -> float:
    """``P(Bin(trials, share) >= wins)``, in [0, 1]; 1 without trials."""
    if wins <= 0:
        return 1.0
    k = torch.arange(wins, trials + 1, dtype=torch.float64)
    n = torch.tensor(float(trials), dtype=torch.float64)
    log_choices = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1)
    return min(1.0, (log_choices + k * math.log(share) + (n - k) * math.log1p(-share)).exp().sum().item())


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are, each at least as large as before, in [0, 1].

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics
        1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
