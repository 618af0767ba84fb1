"""When to look, and what the training can afford of it."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum

import torch

from lightning_cam.data.history import History
from lightning_cam.devices import seconds_now
from lightning_cam.distributed import Ranks


class Work(Enum):
    """What costs the training time."""

    UNTRAINED_LOOK = "the look at the untrained model"
    FEATURES = "features of validation images"
    LOOK = "a look"
    TESTS = "shortcut tests"


@dataclass(frozen=True)
class Budget:
    """What was spent of the training time, in seconds, on a clock that the caller reads.

    Args:
        max_overhead: The largest share that may be spent, in (0, 1].
        free: What may be spent whatever the share.
        start: When training began.
        spent: On all work so far.
        costs: What each kind of work took when it was last done; a kind not done yet is expected to cost
            nothing.

    Raises:
        TypeError: ``max_overhead`` is no number.
        ValueError: ``max_overhead`` is outside (0, 1].
    """

    max_overhead: float
    free: float = 0.0
    start: float = 0.0
    spent: float = 0.0
    costs: Mapping[Work, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        remedy = (
            f"max_overhead: got {self.max_overhead!r}; give a share of the training time in (0, 1], such as "
            '0.05, "auto", or None.'
        )
        if isinstance(self.max_overhead, bool) or not isinstance(self.max_overhead, int | float):
            raise TypeError(remedy)
        if not 0 < self.max_overhead <= 1:
            raise ValueError(remedy)

    def begun(self, now: float) -> "Budget":
        """A new training, nothing spent."""
        return Budget(self.max_overhead, self.free, now)

    def after(self, work: Work, seconds: float) -> "Budget":
        """With ``work`` done in so many seconds."""
        return replace(self, spent=self.spent + seconds, costs={**self.costs, work: seconds})

    def expected(self, works: Sequence[Work]) -> float:
        """What is spent once ``works`` are done and cost what they last did."""
        return self.spent + sum(self.costs.get(work, 0.0) for work in works)

    def share(self, works: Sequence[Work], now: float) -> float:
        """The share of the training time that is spent if ``works`` are done now."""
        return self.expected(works) / max(now - self.start, 1e-9)

    def affordable(self, works: Sequence[Work], now: float) -> list[Work]:
        """As many of ``works``, the first before the others, as the share allows; all where the first was
        never done.
        """
        if works[0] not in self.costs:
            return list(works)
        most = max(self.free, self.max_overhead * (now - self.start))
        counts = range(len(works), 0, -1)
        return next((list(works[:n]) for n in counts if self.expected(works[:n]) <= most), [])


def budget_of(max_overhead: float | str | None) -> Budget | None:
    """The budget of a training: "auto" is 10 % of its time, and a minute whatever that is; None: no limit.

    Raises:
        TypeError, ValueError: As ``Budget``.
    """
    if max_overhead is None:
        return None
    return AUTO if max_overhead == "auto" else Budget(max_overhead)  # type: ignore[arg-type]


AUTO = Budget(0.1, free=60.0)


class Schedule:
    """Which validations of one fit are looked at.

    Args:
        every_n_epochs: A look in the first epoch, and then in the last of each block of that many.
        every_n_validations: Of the validations of those epochs, the first of the fit and then every n-th.
        max_overhead: As ``budget_of`` has it.
    """

    def __init__(
        self, every_n_epochs: int, every_n_validations: int, max_overhead: float | str | None
    ) -> None:
        self._every_n_epochs, self._every_n_validations = every_n_epochs, every_n_validations
        self._budget = budget_of(max_overhead)
        self._validations = 0

    def begin(self, now: float) -> None:
        """Training begins, nothing is spent."""
        if self._budget is not None:
            self._budget = self._budget.begun(now)

    def next_is_due(self, history: History, epoch: int) -> bool:
        """Whether the validation that comes now is looked at; asked once at each.

        Epochs count from 0 and are saved by ``ModelCheckpoint(every_n_epochs=n)`` where n divides epoch + 1.
        """
        self._validations += 1
        epochs = [look.epoch for look in history.looks if look.epoch >= 0]
        if not epochs:
            return True
        if self._validations % self._every_n_validations != 0:
            return False
        n = self._every_n_epochs
        return epoch == epochs[-1] or (epoch + 1) // n != (epochs[-1] + 1) // n

    def affordable(self, works: Sequence[Work], ranks: Ranks, now: float) -> tuple[list[Work], str]:
        """What of ``works`` is done at this validation, and a note where something is left out.

        A collective: rank zero decides, all ranks follow.
        """
        budget = self._budget
        if budget is None:
            return list(works), ""
        kept = ranks.from_zero(lambda: budget.affordable(works, now))
        if len(kept) == len(works):
            return kept, ""
        share, most = 100 * budget.share(works[: len(kept) + 1], now), 100 * budget.max_overhead
        what = "looks with shortcut tests" if kept else "looks"
        return kept, (
            f"max_overhead: {what} would take {share:.1f} % of the training time, more than {most:g} %, "
            "so some are left out"
        )

    @contextmanager
    def timed(self, work: Work | None, device: torch.device) -> Iterator[None]:
        """Puts what ``work`` takes on the budget, where there is one; None costs nothing."""
        if self._budget is None or work is None:
            yield
            return
        start = seconds_now(device)
        yield
        self._budget = self._budget.after(work, seconds_now(device) - start)
