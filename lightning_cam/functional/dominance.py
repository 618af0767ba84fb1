"""Who wins when a cue and the object disagree: counts, dominance, effect, and how sure one may be."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lightning_cam.typing import Labels

ALPHA = 0.01  # per look, over all cues tested
LEAST_EFFECT = 0.10


@dataclass(frozen=True)
class Tally:
    """What the model answered to transplants, counted.

    Args:
        donor: Answers that are the donor's class.
        host: Answers that are the host's class.
        third: Answers that are neither.
        units: Independent images behind the pairs: pairs that share an image are one observation.
        classes: How many classes the model tells apart.
        flips: With two classes, the share of sham transplants, of the host's own class, that flip the answer.
    """

    donor: int
    host: int
    third: int
    units: int
    classes: int
    flips: float = 0.0

    @property
    def pairs(self) -> int:
        """How many transplants were shown."""
        return self.donor + self.host + self.third

    @property
    def dominance(self) -> float:
        """Share of the conflicts between donor and host that the donor wins, in [0, 1]; NaN where there is none.

        Source: Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019, the shape bias, for any cue.
        https://arxiv.org/abs/1811.12231
        """
        return self.donor / (self.donor + self.host) if self.donor + self.host else float("nan")

    @property
    def effect(self) -> float:
        """Share of transplants answered by the donor's class, less what chance or shams give, in [-1, 1]; NaN without pairs.

        With more than two classes, chance is how often one class that has nothing to do with the pair is answered.
        """
        if not self.pairs:
            return float("nan")
        chance = self.flips if self.classes == 2 else self.third / (self.classes - 2) / self.pairs
        return self.donor / self.pairs - chance

    @property
    def p_value(self) -> float:
        """Of the null hypothesis that the cue does not dominate, ``P(Bin(M, 1/2) >= D)``; M is at most the number of units."""
        shrink = min(1.0, self.units / self.pairs) if self.pairs else 0.0
        trials, wins = int((self.donor + self.host) * shrink + 1e-9), int(self.donor * shrink + 1e-9)
        return binomial_tail(wins, trials)

    def holds(self, p_value: float) -> bool:
        """Whether the rule holds: the donor wins most conflicts, by more than chance (p adjusted), often enough to matter."""
        return self.dominance > 0.5 and self.effect >= LEAST_EFFECT and p_value <= ALPHA


def tally(predicted: Labels, hosts: Labels, donors: Labels, units: int, classes: int, flips: float = 0.0) -> Tally:
    """Counts answers ``predicted`` to transplants that hosts of classes ``hosts`` received from classes ``donors``."""
    donor, host = (predicted == donors).sum().item(), (predicted == hosts).sum().item()
    return Tally(int(donor), int(host), len(predicted) - int(donor) - int(host), units, classes, flips)


def binomial_tail(wins: int, trials: int) -> float:
    """``P(Bin(trials, 1/2) >= wins)``, in [0, 1]; 1 without trials."""
    if wins <= 0:
        return 1.0
    k = torch.arange(wins, trials + 1, dtype=torch.float64)
    n = torch.tensor(float(trials), dtype=torch.float64)
    log_terms = (
        torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(n - k + 1) - n * torch.log(torch.tensor(2.0, dtype=n.dtype))
    )
    return min(1.0, log_terms.exp().sum().item())


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted for how many there are, each at least as large as before, in [0, 1].

    Source: Holm, A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 1979.
    """
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
