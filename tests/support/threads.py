"""Ranks that are threads of one process: the collectives of a strategy, without a network."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any, TypeVar

import torch
from torch import Tensor

from lightning_cam.distributed import Ranks

T = TypeVar("T")


class ThreadStrategy:
    """What ``Ranks`` asks of a strategy of Lightning, for one of several threads."""

    root_device = torch.device("cpu")

    def __init__(self, own: int, told: list[Any], barrier: Barrier) -> None:
        self._own, self._told, self._barrier = own, told, barrier

    def _tell(self, value: Any) -> list[Any]:
        self._told[self._own] = value
        self._barrier.wait(20)
        told = list(self._told)
        self._barrier.wait(20)
        return told

    def broadcast(self, value: Any, src: int = 0) -> Any:
        return self._tell(value)[src]

    def all_gather(self, values: Tensor) -> Tensor:
        return torch.stack(self._tell(values))


def on_ranks(count: int, work: Callable[[Ranks], T]) -> list[T]:
    """What each of so many ranks returns."""
    told, barrier = [None] * count, Barrier(count)
    ranks = [Ranks(ThreadStrategy(own, told, barrier), count, own) for own in range(count)]
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(work, ranks))
