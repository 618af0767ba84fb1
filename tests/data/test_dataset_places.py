"""Which image of a dataset comes when: against what real loaders deliver."""

import importlib
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
)

from lightning_cam.data.dataset import dataset_size, known_places, places


class Numbers(Dataset):
    """Item i is the number i, so that a loader shows the order in which it takes its items."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Tensor:
        return torch.tensor(index)


class Endless(IterableDataset):
    """Tells no length and no order."""

    def __iter__(self) -> Iterator[Tensor]:
        return iter(torch.arange(5))


class Sized(Endless):
    """Tells its length, which does not make it a dataset with indices."""

    def __len__(self) -> int:
        return 5


class Backwards(SequentialSampler):
    """The user's own order."""

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source) - 1, -1, -1))


class Pairs(BatchSampler):
    """The user's own batches."""

    def __iter__(self) -> Iterator[list[int]]:
        yield from ([4, 0], [1, 2])


def delivered(loader: Any) -> list[int]:
    return torch.cat([batch.flatten() for batch in loader]).tolist()


def assert_known(loader: Any) -> None:
    place, order = places(loader), delivered(loader)
    assert place is not None
    assert [place(position) for position in range(len(order))] == order


@pytest.mark.parametrize("count", [12, 13])
@pytest.mark.parametrize("drop_last", [False, True])
def test_in_order(count: int, drop_last: bool) -> None:
    assert_known(DataLoader(Numbers(count), batch_size=4, drop_last=drop_last))


@pytest.mark.parametrize("count", [1, 2, 7, 9, 12])
@pytest.mark.parametrize("world", [1, 2, 3, 4])
@pytest.mark.parametrize("drop_last", [False, True])
def test_shared_out_among_ranks(count: int, world: int, drop_last: bool) -> None:
    if drop_last and count < world:
        pytest.skip("no rank would get an image")
    seen = set()
    for rank in range(world):
        sampler = DistributedSampler(Numbers(count), world, rank, shuffle=False, drop_last=drop_last)
        loader = DataLoader(Numbers(count), batch_size=2, sampler=sampler)
        assert_known(loader)
        seen |= set(delivered(loader))
    assert seen == set(range(count)) or drop_last


def test_indices_of_a_subset_are_its_own() -> None:
    loader = DataLoader(Subset(Numbers(10), [7, 3, 9]), batch_size=2)
    assert delivered(loader) == [7, 3, 9], "of the dataset behind it"
    assert [places(loader)(position) for position in range(3)] == [0, 1, 2]


def test_a_batch_sampler_in_order_will_do() -> None:
    data = Numbers(9)
    assert_known(DataLoader(data, batch_sampler=BatchSampler(SequentialSampler(data), 4, drop_last=False)))


@pytest.mark.parametrize("namespace", ["lightning", "pytorch_lightning"])
@pytest.mark.parametrize("count", [8, 9])
def test_what_lightning_shares_out(namespace: str, count: int) -> None:
    fabric = "lightning.fabric" if namespace == "lightning" else "lightning_fabric"
    pytorch = "lightning.pytorch" if namespace == "lightning" else "pytorch_lightning"
    wrapper = importlib.import_module(f"{fabric}.utilities.distributed").DistributedSamplerWrapper
    overrides = importlib.import_module(f"{pytorch}.overrides.distributed")
    data = Numbers(count)
    options = {"num_replicas": 2, "shuffle": False}
    for rank in range(2):
        samplers = [
            wrapper(SequentialSampler(data), rank=rank, **options),
            overrides.UnrepeatedDistributedSampler(data, rank=rank, **options),
            overrides.UnrepeatedDistributedSamplerWrapper(SequentialSampler(data), rank=rank, **options),
        ]
        for sampler in samplers:
            assert_known(DataLoader(data, batch_size=2, sampler=sampler))
        random = wrapper(SubsetRandomSampler(range(count)), rank=rank, **options)
        assert places(DataLoader(data, batch_size=2, sampler=random)) is None
    batches = overrides._IndexBatchSamplerWrapper(BatchSampler(SequentialSampler(data), 4, drop_last=False))
    assert_known(DataLoader(data, batch_sampler=batches))


UNKNOWN = {
    "shuffled": (
        lambda: DataLoader(Numbers(5), shuffle=True),
        "loader's sampler is RandomSampler, which does not tell the order; use shuffle=False or give a Probe",
    ),
    "random": (
        lambda: DataLoader(Numbers(5), sampler=RandomSampler(Numbers(5))),
        "loader's sampler is RandomSampler",
    ),
    "random subset": (
        lambda: DataLoader(Numbers(5), sampler=SubsetRandomSampler([3, 1])),
        "loader's sampler is SubsetRandomSampler",
    ),
    "shared out and shuffled": (
        lambda: DataLoader(Numbers(5), sampler=DistributedSampler(Numbers(5), 2, 0)),
        "loader's sampler is DistributedSampler",
    ),
    "own sampler": (
        lambda: DataLoader(Numbers(5), sampler=Backwards(Numbers(5))),
        "loader's sampler is Backwards",
    ),
    "own batches": (
        lambda: DataLoader(Numbers(5), batch_sampler=Pairs(SequentialSampler(Numbers(5)), 2, False)),
        "loader's batch sampler is Pairs",
    ),
    "whole batches": (
        lambda: DataLoader(Numbers(5), batch_size=None),
        "loader's dataset yields whole batches",
    ),
    "iterable": (lambda: DataLoader(Endless()), "loader's dataset is Endless"),
    "iterable with a length": (lambda: DataLoader(Sized()), "loader's dataset is Sized"),
    "no loader": (lambda: [torch.rand(2, 3, 4, 4)], "loader's dataset is list"),
}


@pytest.mark.parametrize(("loader", "message"), UNKNOWN.values(), ids=UNKNOWN)
def test_what_does_not_tell_its_order(loader: Any, message: str) -> None:
    assert places(loader()) is None
    with pytest.raises(ValueError, match=f"probe: got dataset indices, but the validation {message}"):
        known_places(loader())


def test_what_tells_its_order() -> None:
    assert known_places(DataLoader(Numbers(5)))(3) == 3


def test_sizes() -> None:
    assert dataset_size(DataLoader(Numbers(5), batch_size=2, drop_last=True)) == 5
    assert dataset_size(DataLoader(Subset(Numbers(5), [1, 2]))) == 2
    assert dataset_size(DataLoader(Sized())) is None
    assert dataset_size([1, 2, 3]) is None
