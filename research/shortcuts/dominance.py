"""The rule of before, on the same images: does a cue of another class win more than half of its conflicts with the
object? It is set beside the rule of the package.
"""

from typing import Any

import torch
from scipy.stats import binomtest

from lightning_cam.shortcuts.result import Result

ALPHA, LEAST_EFFECT = 0.01, 0.10


def dominance(result: Result) -> dict[str, Any]:
    """Conflicts that the cue's class and the image's class won, and the p-value of one image, one vote.

    Source: Geirhos et al., ImageNet-trained CNNs are biased towards texture, ICLR 2019, the shape bias, for any cue.
    """
    swaps, labels = result.swaps, result.subjects.labels
    to_donor = (swaps.other == labels[swaps.pairs.other]).long()
    to_host = (swaps.other == labels[swaps.pairs.hosts]).long()
    _, voter = swaps.pairs.hosts.unique(return_inverse=True)
    lead = torch.zeros(len(voter), dtype=torch.long).index_add(0, voter, to_donor - to_host)
    wins, votes = int((lead > 0).sum()), int((lead != 0).sum())
    p_value = binomtest(wins, votes, 0.5, alternative="greater").pvalue if votes else 1.0
    return {
        "donor": int(to_donor.sum()),
        "host": int(to_host.sum()),
        "swaps": len(voter),
        "p_value": float(p_value),
    }


def dominates(row: dict[str, Any], tests: int, classes: int) -> bool:
    """Whether the rule of before holds for a test that ``dominance`` counted.

    Args:
        tests: How many there were at that look, for Bonferroni's adjustment.
    """
    third = row["swaps"] - row["donor"] - row["host"]
    chance = third / (classes - 2) / max(1, row["swaps"]) if classes > 2 else 0.0
    is_most = row["donor"] > row["host"]
    return (
        is_most
        and row["donor"] / max(1, row["swaps"]) - chance >= LEAST_EFFECT
        and row["p_value"] * tests <= ALPHA
    )
