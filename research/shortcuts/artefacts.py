"""Artefacts that tell the class: seven that the cues were designed for, and five that they were not."""

import math
from collections.abc import Callable

import torch
from torch import Generator, Tensor

from research.shortcuts.domains import rgb, uniform

# (images, codes, classes, generator) -> images in [0, 1].
# The generator draws the look of the run first, then what differs between the images.
Family = Callable[[Tensor, Tensor, int, Generator], Tensor]


def levels(low: float, high: float, classes: int, generator: Generator) -> Tensor:
    """One level per class, evenly spaced, in random order."""
    return torch.linspace(low, high, classes)[torch.randperm(classes, generator=generator)]


def palette(classes: int, generator: Generator) -> Tensor:
    """(classes, 3) colours of evenly spaced hues, alternately bright and dark, in random order."""
    order = torch.randperm(classes, generator=generator)
    hues = (order / classes + torch.rand(1, generator=generator)) % 1
    return rgb(hues, torch.full((classes,), 0.9), torch.where(order % 2 == 0, 1.0, 0.65))


def pasted(images: Tensor, patches: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The images with their (n, 3, h, w) patches at (n,) rows and columns."""
    count, _, height, width = patches.shape
    at_rows, at_columns = rows[:, None] + torch.arange(height), columns[:, None] + torch.arange(width)
    where = (
        torch.arange(count)[:, None, None, None],
        torch.arange(3)[:, None, None],
        at_rows[:, None, :, None],
        at_columns[:, None, None, :],
    )
    return images.index_put(where, patches)


def squares(colors: Tensor) -> Tensor:
    return colors[:, :, None, None].expand(-1, -1, 5, 5)


def grid(images: Tensor) -> tuple[Tensor, Tensor]:
    y, x = torch.meshgrid(torch.arange(images.shape[2]), torch.arange(images.shape[3]), indexing="ij")
    return y * 2 * math.pi / images.shape[2], x * 2 * math.pi / images.shape[3]


def corner_patch(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A coloured patch of 5 pixels in one corner."""
    colors = palette(classes, generator)
    corner = torch.tensor([1, images.shape[2] - 6])[torch.randint(0, 2, (2,), generator=generator)]
    return pasted(images, squares(colors[codes]), *corner[:, None].expand(-1, len(images)))


def random_patch(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A coloured patch of 5 pixels anywhere."""
    colors = palette(classes, generator)
    rows, columns = torch.randint(0, images.shape[2] - 4, (2, len(images)), generator=generator)
    return pasted(images, squares(colors[codes]), rows, columns)


def tint(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A slight colour cast."""
    return 0.7 * images + 0.3 * palette(classes, generator)[codes][:, :, None, None]


def frame(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A coloured frame of 2 pixels."""
    edge = torch.ones(images.shape[2:], dtype=torch.bool)
    edge[2:-2, 2:-2] = False
    return torch.where(edge, palette(classes, generator)[codes][:, :, None, None], images)


def stripes(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Faint stripes, 3 to 12 across or down, always at the same phase."""
    order = torch.randperm(classes, generator=generator)
    phase = uniform(generator, 0, 2 * math.pi, classes)[codes, None, None]
    waves = torch.linspace(3, 12, classes).round()[order][codes, None, None]
    y, x = grid(images)
    along = torch.where((order % 2 == 0)[codes, None, None], y, x)
    return (images + 0.12 * torch.sin(waves * along + phase)[:, None]).clamp(0, 1)


def watermark(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A faint pattern of 4 x 4 bits, 12 pixels wide, always at the same place."""
    bits = torch.randint(0, 2, (classes, 4, 4), generator=generator).float()
    marks = bits.repeat_interleave(3, dim=1).repeat_interleave(3, dim=2)[codes][:, None]
    row, column = torch.randint(2, images.shape[2] - 13, (2,), generator=generator).tolist()
    there = images[:, :, row : row + 12, column : column + 12]
    place = torch.tensor([row, column])[:, None].expand(-1, len(images))
    return pasted(images, there + 0.22 * (marks - there), *place)


def blur(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Gaussian blur of 0.6 to 3.2 pixels."""
    sigma = levels(0.6, 3.2, classes, generator)
    steps = torch.arange(images.shape[2])
    weights = torch.exp(-((steps[:, None] - steps) ** 2) / (2 * sigma[:, None, None] ** 2))
    smooth = (weights / weights.sum(dim=2, keepdim=True))[codes][:, None]
    return (smooth @ images @ smooth.transpose(2, 3)).clamp(0, 1)


def gamma(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A tone curve: the power 1/3 to 3."""
    return images ** (3 ** levels(-1, 1, classes, generator))[codes, None, None, None]


def chromatic(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Red and blue moved apart, by up to 3 pixels each."""
    offsets = torch.cartesian_prod(torch.tensor([-3, -1, 1, 3]), torch.tensor([-2, 0, 2]))
    offset = offsets[torch.randperm(len(offsets), generator=generator)[:classes]][codes]
    sides = torch.tensor([-1, 0, 1])  # red, green, blue
    steps = torch.arange(images.shape[2])
    rows, columns = (steps + sides[:, None] * part[:, None, None] for part in offset.unbind(1))
    rows, columns = rows.clamp(0, images.shape[2] - 1), columns.clamp(0, images.shape[3] - 1)
    return images[
        torch.arange(len(images))[:, None, None, None],
        torch.arange(3)[:, None, None],
        rows[..., None],
        columns[:, :, None],
    ]


def grating(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A weak wave whose orientation tells the class, at a random phase."""
    waves, start = uniform(generator, 6, 9, 1), uniform(generator, 0, math.pi, 1)
    angle = (start + torch.randperm(classes, generator=generator) * math.pi / classes)[codes, None, None]
    phase = uniform(generator, 0, 2 * math.pi, len(images), 1, 1)
    y, x = grid(images)
    return (images + 0.12 * torch.sin(waves * (x * angle.cos() + y * angle.sin()) + phase)[:, None]).clamp(
        0, 1
    )


def posterize(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Few grey levels: 2 to 12."""
    steps = levels(2, 12, classes, generator).round()[codes, None, None, None] - 1
    return (images * steps).round() / steps


def timestamp(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Small black and white glyphs of 5 x 7 pixels somewhere along the bottom edge."""
    glyphs = torch.randint(0, 2, (classes, 1, 5, 7), generator=generator).float()[codes].expand(-1, 3, -1, -1)
    columns = torch.randint(0, images.shape[3] - 6, (len(images),), generator=generator)
    return pasted(images, glyphs, torch.full((len(images),), images.shape[2] - 6), columns)


def untouched(family: Family) -> Family:
    """The family, leaving alone images of code -1."""

    def planted(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
        changed = family(images, codes.clamp(min=0), classes, generator)
        return torch.where(codes[:, None, None, None] >= 0, changed, images)

    return planted


KNOWN = ("corner_patch", "random_patch", "tint", "frame", "stripes", "watermark", "blur")
UNDESIGNED = ("gamma", "chromatic", "grating", "posterize", "timestamp")


FAMILIES: dict[str, Family] = {
    family.__name__: untouched(family)
    for family in (
        corner_patch, random_patch, tint, frame, stripes, watermark, blur, gamma, chromatic, grating, posterize, timestamp,
    )
}  # fmt: skip
