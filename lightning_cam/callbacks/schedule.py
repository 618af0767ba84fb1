"""How much of the training time looks and tests may take: a share, what was spent, and what the next would
cost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Budget:
    """What was spent of the training time, in seconds, on a clock that the caller reads.

    Args:
        max_overhead: The largest share that may be spent, in (0, 1].
        start: When training began.
        spent: On all work so far.
        costs: What each kind of work took when it was last done; a kind not done yet is expected to cost
            nothing.

    Raises:
        TypeError: ``max_overhead`` is no number.
        ValueError: ``max_overhead`` is outside (0, 1].
    """

    max_overhead: float
    start: float = 0.0
    spent: float = 0.0
    costs: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        remedy = f"max_overhead: got {self.max_overhead!r}; give a share of the training time in (0, 1], such as 0.05, or None."
        if isinstance(self.max_overhead, bool) or not isinstance(self.max_overhead, int | float):
            raise TypeError(remedy)
        if not 0 < self.max_overhead <= 1:
            raise ValueError(remedy)

    def begun(self, now: float) -> "Budget":
        """A new training, nothing spent."""
        return Budget(self.max_overhead, now)

    def after(self, work: str, seconds: float) -> "Budget":
        """With ``work`` done in so many seconds."""
        return replace(self, spent=self.spent + seconds, costs={**self.costs, work: seconds})

    def share(self, works: Sequence[str], now: float) -> float:
        """The share of the training time that would be spent if ``works`` were done now and cost what they
        last did.
        """
        expected = sum(self.costs.get(work, 0.0) for work in works)
        return (self.spent + expected) / max(now - self.start, 1e-9)

    def affordable(self, works: Sequence[str], now: float) -> list[str]:
        """As many of ``works``, the first before the others, as the share allows; all where the first was
        never done.
        """
        if works[0] not in self.costs:
            return list(works)
        return next(
            (
                list(works[:n])
                for n in range(len(works), 0, -1)
                if self.share(works[:n], now) <= self.max_overhead
            ),
            [],
        )
