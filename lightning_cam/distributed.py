"""The processes that train together: all of them look, and all of them fail, or none does."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_cam.devices import is_out_of_memory

T = TypeVar("T")
FINE, OUT_OF_MEMORY, FAILED = range(3)


class RankError(RuntimeError):
    """Another process failed, so this one leaves off as well."""


@dataclass(frozen=True)
class Ranks:
    """The processes of a Trainer's strategy.

    Every method but ``share`` is a collective where there are several: all ranks call it, in the same order.

    Args:
        strategy: Knows how processes speak with each other; None where there is only one.
        count: How many processes there are.
        own: Which of them this is, from 0.
    """

    strategy: Any = None
    count: int = 1
    own: int = 0

    def together(self, work: Callable[[], T]) -> T:
        """What ``work`` returns on this rank, once it has ended well on all of them.

        Collectives inside ``work`` are safe where they are in a ``together`` of their own.

        Raises:
            RankError: It failed elsewhere; the message says how. Where memory ran out on some ranks and
                nothing else happened, all raise ``torch.OutOfMemoryError``.
        """
        if self.count == 1:
            return work()
        error: Exception | None = None
        try:
            result = work()
        except Exception as caught:  # noqa: BLE001 - whatever it is, it is raised below, on all ranks
            error = caught
        own = FINE if error is None else OUT_OF_MEMORY if is_out_of_memory(error) else FAILED
        (told,) = self.largest(own * self.count + self.count - 1 - self.own)
        worst, place = divmod(told, self.count)
        if worst == FINE:
            return result
        first = self.count - 1 - place  # the lowest of the ranks that fared worst: its words reach all
        words = self.strategy.broadcast(f"rank {first}: {type(error).__name__}: {error}", src=first)
        if error is not None and own == worst:
            raise error
        raise torch.OutOfMemoryError(words) if worst == OUT_OF_MEMORY else RankError(words)

    def from_zero(self, make: Callable[[], T]) -> T:
        """What rank zero made, on all ranks; fails together."""
        made = self.together(lambda: make() if self.own == 0 else None)
        return made if self.count == 1 else self.strategy.broadcast(made)  # type: ignore[return-value]

    def of_all(self, value: T) -> list[T]:
        """What each rank has, lowest rank first."""
        if self.count == 1:
            return [value]
        return [self.strategy.broadcast(value, src=rank) for rank in range(self.count)]

    def largest(self, *values: int) -> list[int]:
        """Of each value the largest on any rank."""
        if self.count == 1:
            return list(values)
        own = torch.tensor(values, dtype=torch.int64, device=self.strategy.root_device)
        return self.strategy.all_gather(own).reshape(self.count, -1).amax(dim=0).tolist()

    def summed(self, values: Tensor) -> Tensor:
        """The sum over ranks."""
        return values if self.count == 1 else self.strategy.reduce(values.clone(), reduce_op="sum")

    def share(self, count: int, device: torch.device) -> Tensor:
        """(k,) which of ``count`` rows are this rank's: equally many on each rank, so that all run as many
        forwards.
        """
        each = -(-count // self.count)
        return (torch.arange(each, device=device) * self.count + self.own) % max(count, 1)

    def whole(self, shares: Tensor, count: int) -> Tensor:
        """(count, ...) all rows, from what each rank has of its share."""
        if self.count == 1:
            return shares
        gathered = self.strategy.all_gather(shares).reshape(self.count, *shares.shape)
        return gathered.transpose(0, 1).flatten(0, 1)[:count]


ALONE = Ranks()


def ranks_of(trainer: Any) -> Ranks:
    """The ranks of a Trainer of either namespace."""
    return (
        Ranks(trainer.strategy, trainer.world_size, trainer.global_rank) if trainer.world_size > 1 else ALONE
    )
