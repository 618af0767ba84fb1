"""What the families of artefacts share: levels and colours by class, places, and images of any side, grey or coloured."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from research.shortcuts.domains import rgb

# (images, codes, classes, generator) -> images in [0, 1].
# The generator draws the look of the run first, then what differs between the images.
Family = Callable[[Tensor, Tensor, int, Generator], Tensor]


def unit(images: Tensor) -> int:
    """Pixels that take the place of one in images of 28 or 32: 4 at 128."""
    return max(1, round(images.shape[2] / 32))


def levels(low: float, high: float, classes: int, generator: Generator) -> Tensor:
    """One level per class, evenly spaced, in random order."""
    return torch.linspace(low, high, classes)[torch.randperm(classes, generator=generator)]


def palette(classes: int, generator: Generator, channels: int = 3) -> Tensor:
    """(classes, channels) colours of evenly spaced hues, alternately bright and dark, in random order; for one channel greys."""
    if channels == 1:
        return levels(0.1, 1, classes, generator)[:, None]
    order = torch.randperm(classes, generator=generator)
    hues = (order / classes + torch.rand(1, generator=generator)) % 1
    return rgb(hues, torch.full((classes,), 0.9), torch.where(order % 2 == 0, 1.0, 0.65))


def pasted(images: Tensor, patches: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The images with their (n, c, h, w) patches at (n,) rows and columns."""
    count, channels, height, width = patches.shape
    at_rows, at_columns = rows[:, None] + torch.arange(height), columns[:, None] + torch.arange(width)
    where = (
        torch.arange(count)[:, None, None, None],
        torch.arange(channels)[:, None, None],
        at_rows[:, None, :, None],
        at_columns[:, None, None, :],
    )
    return images.index_put(where, patches)


def enlarged(marks: Tensor, times: int) -> Tensor:
    """(..., h, w) marks with every pixel repeated in both directions."""
    return marks.repeat_interleave(times, dim=-2).repeat_interleave(times, dim=-1)


def grid(images: Tensor) -> tuple[Tensor, Tensor]:
    """(h, w) rows and columns from 0 to 2 pi."""
    y, x = torch.meshgrid(torch.arange(images.shape[2]), torch.arange(images.shape[3]), indexing="ij")
    return y * 2 * math.pi / images.shape[2], x * 2 * math.pi / images.shape[3]


def around(images: Tensor) -> tuple[Tensor, Tensor]:
    """(h, w) rows and columns from -0.5 to 0.5, 0 in the middle."""
    y, x = torch.meshgrid(torch.arange(images.shape[2]), torch.arange(images.shape[3]), indexing="ij")
    return (y + 0.5) / images.shape[2] - 0.5, (x + 0.5) / images.shape[3] - 0.5


def untouched(family: Family) -> Family:
    """The family, leaving alone images of code -1."""

    def planted(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
        changed = family(images, codes.clamp(min=0), classes, generator)
        return torch.where(codes[:, None, None, None] >= 0, changed, images)

    return planted
