"""Images of grey noise with one bright figure at a random place, whose shape is the class: so it is known where a true map lies."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, TensorDataset

SIDE = 10  # of a figure, in pixels
NAMES = ("block", "frame", "plus", "rows", "columns", "slash")
BRIGHT, DARK = 0.9, 0.3
TRAIN, VAL, BATCH = 96, 24, 8


@dataclass(frozen=True)
class Figures:
    """Images (n, c, H, W) in [0, 1], their classes (n,), and the boxes (n, H, W) in which the figures lie."""

    images: Tensor
    labels: Tensor
    boxes: Tensor


def shapes() -> Tensor:
    """(6, 10, 10) truth values: the pixels of each class' figure."""
    row, column = torch.arange(SIDE)[:, None].expand(SIDE, SIDE), torch.arange(SIDE).expand(SIDE, SIDE)
    to_edge = torch.stack([row, column, SIDE - 1 - row, SIDE - 1 - column]).amin(dim=0)
    return torch.stack(
        [
            torch.ones(SIDE, SIDE, dtype=torch.bool),
            to_edge < 2,
            ((row - 4.5).abs() < 2) | ((column - 4.5).abs() < 2),
            row % 4 < 2,
            column % 4 < 2,
            (row - column).abs() < 3,
        ]
    )


@cache
def figures(count: int, classes: int = 4, seed: int = 0, size: int = 32, channels: int = 3) -> Figures:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randperm(count, generator=generator) % classes
    images = DARK * torch.rand(count, channels, size, size, generator=generator)
    boxes = torch.zeros(count, size, size, dtype=torch.bool)
    corners = torch.randint(0, size - SIDE + 1, (count, 2), generator=generator)
    for image, box, label, (top, left) in zip(images, boxes, labels.tolist(), corners.tolist(), strict=True):
        place = (slice(top, top + SIDE), slice(left, left + SIDE))
        image[:, *place][:, shapes()[label]] = BRIGHT
        box[place] = True
    return Figures(images, labels, boxes)


def training(classes: int = 4, size: int = 32) -> Figures:
    return figures(TRAIN, classes, seed=0, size=size)


def validation(classes: int = 4, size: int = 32) -> Figures:
    """Few enough to be the probe as a whole."""
    return figures(VAL, classes, seed=1, size=size)


class Items(Dataset):
    """A dataset that makes each item by a function of its index, with attributes as data sets have them."""

    def __init__(self, count: int, item: Callable[[int], Any], **attributes: Any) -> None:
        self._count, self._item = count, item
        for name, value in attributes.items():
            setattr(self, name, value)

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Any:
        return self._item(index)


def loader(*parts: Tensor, **options: Any) -> DataLoader:
    return DataLoader(TensorDataset(*parts), **{"batch_size": BATCH, **options})


def named(**parts: Tensor) -> Items:
    """A dataset of dicts."""
    count = len(next(iter(parts.values())))
    return Items(count, lambda i: {name: part[i] for name, part in parts.items()})


def with_names(images: Tensor, labels: Tensor, names: Sequence[Any], **attributes: Any) -> Items:
    """A dataset of pairs that says what its classes are called."""
    return Items(len(images), lambda i: (images[i], int(labels[i])), classes=names, **attributes)


def from_items(items: Dataset, **options: Any) -> DataLoader:
    return DataLoader(items, **{"batch_size": BATCH, **options})
