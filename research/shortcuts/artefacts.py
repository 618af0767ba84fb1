"""Artefacts that tell the class: seven that the cues were designed for, five that they were not, and more (artefacts_more).

Images are (n, c, h, w) of any side, grey or in colour. Lengths are those at 28 and 32 pixels and grow with the side,
but for blur and chromatic fringes: four times as much would hide the object.
"""

import math

import torch
from torch import Generator, Tensor

from research.shortcuts.artefact_tools import Family, enlarged, grid, levels, palette, pasted, unit, untouched
from research.shortcuts.artefacts_more import MORE
from research.shortcuts.domains import uniform


def squares(colors: Tensor, side: int) -> Tensor:
    return colors[:, :, None, None].expand(-1, -1, 5 * side, 5 * side)


def corner_patch(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A coloured patch of 5 pixels in one corner."""
    colors, side = palette(classes, generator, images.shape[1]), unit(images)
    far = images.shape[2] - 6 * side
    corner = torch.tensor([side, far])[torch.randint(0, 2, (2,), generator=generator)]
    return pasted(images, squares(colors[codes], side), *corner[:, None].expand(-1, len(images)))


def random_patch(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A coloured patch of 5 pixels anywhere."""
    colors, side = palette(classes, generator, images.shape[1]), unit(images)
    rows, columns = torch.randint(0, images.shape[2] - 5 * side + 1, (2, len(images)), generator=generator)
    return pasted(images, squares(colors[codes], side), rows, columns)


def tint(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A slight colour cast."""
    return 0.7 * images + 0.3 * palette(classes, generator, images.shape[1])[codes][:, :, None, None]


def frame(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A coloured frame of 2 pixels."""
    edge = torch.ones(images.shape[2:], dtype=torch.bool)
    width = 2 * unit(images)
    edge[width:-width, width:-width] = False
    colors = palette(classes, generator, images.shape[1])
    return torch.where(edge, colors[codes][:, :, None, None], images)


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
    side = 12 * unit(images)
    marks = enlarged(bits, side // 4)[codes][:, None]
    row, column = torch.randint(2, images.shape[2] - side - 1, (2,), generator=generator).tolist()
    there = images[:, :, row : row + side, column : column + side]
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
    """Red and blue moved apart, by up to 3 pixels each; grey images get the ghost that their mean is."""
    offsets = torch.cartesian_prod(torch.tensor([-3, -1, 1, 3]), torch.tensor([-2, 0, 2]))
    offset = offsets[torch.randperm(len(offsets), generator=generator)[:classes]][codes]
    sides = torch.tensor([-1, 0, 1])  # red, green, blue
    steps = torch.arange(images.shape[2])
    rows, columns = (steps + sides[:, None] * part[:, None, None] for part in offset.unbind(1))
    rows, columns = rows.clamp(0, images.shape[2] - 1), columns.clamp(0, images.shape[3] - 1)
    moved = images.expand(-1, 3, -1, -1)[
        torch.arange(len(images))[:, None, None, None],
        torch.arange(3)[:, None, None],
        rows[..., None],
        columns[:, :, None],
    ]
    return moved if images.shape[1] == 3 else moved.mean(dim=1, keepdim=True)


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
    side = unit(images)
    glyphs = torch.randint(0, 2, (classes, 1, 5, 7), generator=generator).float()
    marks = enlarged(glyphs, side)[codes].expand(-1, images.shape[1], -1, -1)
    columns = torch.randint(0, images.shape[3] - 7 * side + 1, (len(images),), generator=generator)
    return pasted(images, marks, torch.full((len(images),), images.shape[2] - 6 * side), columns)


KNOWN = ("corner_patch", "random_patch", "tint", "frame", "stripes", "watermark", "blur")
UNDESIGNED = ("gamma", "chromatic", "grating", "posterize", "timestamp")
NEW = tuple(family.__name__ for family in MORE)
IN_COLOR = ("hue",)  # not for grey images


FAMILIES: dict[str, Family] = {
    family.__name__: untouched(family)
    for family in (
        corner_patch, random_patch, tint, frame, stripes, watermark, blur, gamma, chromatic, grating, posterize, timestamp,
        *MORE,
    )
}  # fmt: skip
