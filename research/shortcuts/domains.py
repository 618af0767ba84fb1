"""Small labelled image sets, each a function of the seed: tasks that a shortcut can be planted in, and honest ones."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

SIZE = 32
SHAPES = ("disc", "square", "triangle", "star", "cross", "ring")
TEXTURES = ("fine stripes", "coarse stripes", "checks", "dots", "noise", "clouds")
HUES = ("red", "yellow", "green", "cyan", "blue", "magenta")
PLACES = tuple(f"{row} {column}" for row in ("top", "bottom") for column in ("left", "middle", "right"))
BINARY = ((3, 8), (4, 9), (1, 7), (5, 6), (2, 7))


@dataclass(frozen=True, eq=False)
class Domain:
    """Images (n, c, h, w) float32 in [0, 1], labels (n,), and (n, h, w) bool masks of the validation objects, where known.

    Attributes:
        scenes: (n, places, c, h, w) uint8, all images, training first, in every place that they might have been in; composites alone.
    """

    train_images: Tensor
    train_labels: Tensor
    val_images: Tensor
    val_labels: Tensor
    class_names: tuple[str, ...]
    masks: Tensor | None = None
    scenes: Tensor | None = None


def uniform(generator: Generator, low: float, high: float, *shape: int) -> Tensor:
    return low + (high - low) * torch.rand(shape, generator=generator)


def two_colors(fields: Tensor, generator: Generator) -> Tensor:
    """(n, 32, 32) fields in [0, 1] as images that run from a random dark to a random bright colour."""
    paper, ink = (
        uniform(generator, 0, 0.35, len(fields), 3, 1, 1),
        uniform(generator, 0.5, 1, len(fields), 3, 1, 1),
    )
    return paper + fields[:, None] * (ink - paper)


def scattered(scans: Tensor, generator: Generator) -> Tensor:
    """(n, s, s) scans at random places of an empty (n, 32, 32) canvas."""
    room = SIZE - scans.shape[-1]
    canvases = F.pad(scans, (room,) * 4)
    corners = torch.randint(0, room + 1, (len(scans), 2), generator=generator)
    rows, columns = (corners[:, :, None] + torch.arange(SIZE)).unbind(1)
    return canvases[torch.arange(len(scans))[:, None, None], rows[:, :, None], columns[:, None, :]]


def clouds(count: int, cells: int, generator: Generator) -> Tensor:
    """(count, 32, 32) smooth random fields in [0, 1]."""
    fields = F.interpolate(
        torch.rand(count, 1, cells, cells, generator=generator), (SIZE, SIZE), mode="bicubic"
    )[:, 0]
    low, high = fields.amin(dim=(1, 2), keepdim=True), fields.amax(dim=(1, 2), keepdim=True)
    return (fields - low) / (high - low)


def rgb(hues: Tensor, saturation: Tensor, value: Tensor) -> Tensor:
    """(n, 3) colours of (n,) hues in [0, 1)."""
    steps = (torch.tensor([5.0, 3.0, 1.0]) + hues[:, None] * 6) % 6
    return value[:, None] * (1 - saturation[:, None] * torch.minimum(steps, 4 - steps).clamp(0, 1))


def inside(shape: int, x: Tensor, y: Tensor) -> Tensor:
    """Where the shape of radius 1 is, in its own coordinates."""
    radius, angle = torch.hypot(x, y), torch.atan2(y, x)
    match SHAPES[shape]:
        case "disc":
            return radius < 0.8
        case "square":
            return torch.maximum(x.abs(), y.abs()) < 0.72
        case "triangle":
            return (
                torch.stack(
                    [x * math.cos(a) + y * math.sin(a) for a in (0, 2 * math.pi / 3, 4 * math.pi / 3)]
                ).amax(0)
                < 0.5
            )
        case "star":
            return radius < 0.62 + 0.36 * torch.cos(5 * angle)
        case "cross":
            return (torch.minimum(x.abs(), y.abs()) < 0.26) & (torch.maximum(x.abs(), y.abs()) < 0.95)
        case _:
            return (radius > 0.5) & (radius < 0.92)


def silhouettes(shapes: Tensor, generator: Generator) -> Tensor:
    """(n, 32, 32) coverage in [0, 1] by shapes at random places, scales and rotations."""
    count, fine = len(shapes), 3
    radii = uniform(generator, 6, 10, count)
    centres = radii[:, None] + torch.rand(count, 2, generator=generator) * (SIZE - 2 * radii[:, None])
    angles = uniform(generator, 0, 2 * math.pi, count)
    at = (torch.arange(SIZE * fine) + 0.5) / fine
    found = torch.zeros(count, SIZE, SIZE)
    for shape in range(len(SHAPES)):
        chosen = torch.nonzero(shapes == shape)[:, 0]
        radius, angle = radii[chosen, None, None], angles[chosen, None, None]
        y, x = (
            (at[:, None] - centres[chosen, :1, None]) / radius,
            (at[None, :] - centres[chosen, 1:, None]) / radius,
        )
        hit = inside(shape, x * angle.cos() + y * angle.sin(), y * angle.cos() - x * angle.sin())
        found[chosen] = F.avg_pool2d(hit[:, None].float(), fine)[:, 0]
    return found


def textures(kinds: Tensor, generator: Generator) -> Tensor:
    """(n, 32, 32) fields in [0, 1] of one texture each, at a random phase and, for stripes, rotation."""
    count = len(kinds)
    angle, phase = (
        uniform(generator, 0, math.pi, count, 1, 1),
        uniform(generator, 0, 2 * math.pi, count, 2, 1, 1),
    )
    y, x = torch.meshgrid(torch.arange(SIZE), torch.arange(SIZE), indexing="ij")
    along = 2 * math.pi / SIZE * (x * angle.cos() + y * angle.sin())
    across = 2 * math.pi / SIZE * (y * angle.cos() - x * angle.sin())
    wave = torch.sin(6 * along + phase[:, 0]) * torch.sin(6 * across + phase[:, 1])
    drawn = torch.stack([
        0.5 + 0.5 * torch.sin(9 * along + phase[:, 0]),
        0.5 + 0.5 * torch.sin(4 * along + phase[:, 0]),
        0.5 + 0.5 * torch.tanh(6 * wave),
        (wave > 0.5).float(),
        torch.rand(count, SIZE, SIZE, generator=generator),
        clouds(count, 6, generator),
    ])  # fmt: skip
    return drawn[kinds, torch.arange(count)]


def digit_scans() -> tuple[Tensor, Tensor]:
    """Scikit-learn's 1797 scans (n, 8, 8) in [0, 1] and their digits."""
    from sklearn.datasets import load_digits

    data = load_digits()
    return torch.tensor(data.images / 16).float(), torch.tensor(data.target)


def enlarged(scans: Tensor, size: int) -> Tensor:
    return F.interpolate(scans[:, None], (size, size), mode="bilinear")[:, 0]


def split(
    images: Tensor, labels: Tensor, names: tuple[str, ...], train: int, masks: Tensor | None = None
) -> Domain:
    """The first ``train`` images for training, the others for validation."""
    return Domain(
        images[:train],
        labels[:train],
        images[train:],
        labels[train:],
        names,
        None if masks is None else masks[train:],
    )


def digits(seed: int) -> Domain:
    """Ten digits; colours and places say nothing."""
    generator = torch.Generator().manual_seed(seed)
    scans, labels = digit_scans()
    order = torch.randperm(len(scans), generator=generator)
    images = two_colors(scattered(enlarged(scans[order], 22), generator), generator)
    return split(images, labels[order], tuple(f"digit {i}" for i in range(10)), 1347)


def shapes(seed: int) -> Domain:
    """Six shapes of random place, scale, rotation and colour on clouds."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, len(SHAPES), (1600,), generator=generator)
    cover = silhouettes(labels, generator)
    ground = two_colors(clouds(1600, 8, generator), generator) * 0.6
    color = uniform(generator, 0.55, 1, 1600, 3, 1, 1) * torch.ones(SIZE, SIZE)
    flip = (torch.rand(1600, 1, 1, 1, generator=generator) < 0.5).float()  # dark shapes on bright clouds
    images = ground + cover[:, None] * (color - ground)
    return split(flip * (1 - images) + (1 - flip) * images, labels, SHAPES, 1200, cover > 0.5)


def photographs(seed: int) -> Domain:
    """From which of eight photographs a patch is: one half of each for training, the other for validation; colour says nothing."""
    from skimage import data
    from sklearn.datasets import load_sample_image

    generator = torch.Generator().manual_seed(seed)
    photos = {
        "brick": data.brick(),
        "cat": data.chelsea(),
        "coffee": data.coffee(),
        "coins": data.coins(),
        "flower": load_sample_image("flower.jpg"),
        "motorcycle": data.stereo_motorcycle()[0],
        "palace": load_sample_image("china.jpg"),
        "tissue": data.immunohistochemistry(),
    }
    grey = [
        torch.tensor(np.asarray(photo)).float().reshape(*photo.shape[:2], -1).mean(-1) / 255
        for photo in photos.values()
    ]

    def patches(count: int, right: bool) -> tuple[Tensor, Tensor]:
        labels = torch.randint(0, len(grey), (count,), generator=generator)
        draws = torch.rand(count, 4, generator=generator)
        found = []
        for label, (scale, y, x, mirror) in zip(labels.tolist(), draws.tolist(), strict=True):
            half = grey[label].chunk(2, dim=1)[right]
            side = int(min(half.shape) * (0.25 + 0.35 * scale))
            top, left = int(y * (half.shape[0] - side)), int(x * (half.shape[1] - side))
            patch = half[None, None, top : top + side, left : left + side]
            patch = patch.flip(3) if mirror < 0.5 else patch
            found.append(F.interpolate(patch, (SIZE, SIZE), mode="bilinear", antialias=True)[0, 0])
        return torch.stack(found), labels

    right = bool(seed % 2)
    (train, train_labels), (val, val_labels) = patches(1200, right), patches(400, not right)
    images = two_colors(torch.cat([train, val]).clamp(0, 1), generator)
    return split(images, torch.cat([train_labels, val_labels]), tuple(photos), 1200)


def binary_digits(seed: int) -> Domain:
    """Two digits, which, the seed says; every scan four times, at other places in other colours, all on one side of the split."""
    generator, pair = torch.Generator().manual_seed(seed), BINARY[seed % len(BINARY)]
    scans, found = digit_scans()
    chosen = torch.nonzero((found == pair[0]) | (found == pair[1]))[:, 0]
    order = chosen[torch.randperm(len(chosen), generator=generator)]
    scans, labels = (
        scans[order].repeat_interleave(4, dim=0),
        (found[order] == pair[1]).long().repeat_interleave(4),
    )
    images = two_colors(scattered(enlarged(scans, 22), generator), generator)
    return split(images, labels, (f"digit {pair[0]}", f"digit {pair[1]}"), len(order) * 3 // 4 * 4)


def imbalanced(seed: int) -> Domain:
    """One digit against the nine others."""
    domain, digit = digits(seed), (seed + 8) % 10
    return Domain(
        domain.train_images,
        (domain.train_labels == digit).long(),
        domain.val_images,
        (domain.val_labels == digit).long(),
        ("another digit", f"digit {digit}"),
    )


def centred_digits(seed: int) -> Domain:
    """Grey digits that fill the frame."""
    generator = torch.Generator().manual_seed(seed)
    scans, labels = digit_scans()
    order = torch.randperm(len(scans), generator=generator)
    images = enlarged(scans[order], SIZE)[:, None].repeat(1, 3, 1, 1)
    return split(images, labels[order], tuple(f"digit {i}" for i in range(10)), 1347)


def honest_position(seed: int) -> Domain:
    """The class is in which of six places the blob lies."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, len(PLACES), (1600,), generator=generator)
    centres = torch.stack([8 + 16 * (labels // 3), 6 + 10 * (labels % 3)], dim=1) + uniform(
        generator, -2, 2, 1600, 2
    )
    y, x = ((torch.arange(SIZE) - centres[:, :, None]) ** 2).unbind(1)
    cover = torch.sigmoid(2 * (4 - (y[:, :, None] + x[:, None, :]).sqrt()))
    ground = two_colors(clouds(1600, 8, generator), generator) * 0.6
    images = ground + cover[:, None] * (uniform(generator, 0.55, 1, 1600, 3, 1, 1) - ground)
    return split(images, labels, PLACES, 1200, cover > 0.5)


def honest_color(seed: int) -> Domain:
    """The class is the hue of the object, whatever its shape."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, len(HUES), (1600,), generator=generator)
    cover = silhouettes(torch.randint(0, len(SHAPES), (1600,), generator=generator), generator)
    hues = (labels + uniform(generator, -0.2, 0.2, 1600)) / 6
    color = rgb(hues % 1, uniform(generator, 0.6, 1, 1600), uniform(generator, 0.6, 1, 1600))
    ground = two_colors(clouds(1600, 8, generator), generator)
    return split(
        ground + cover[:, None] * (color[:, :, None, None] - ground), labels, HUES, 1200, cover > 0.5
    )


def honest_texture(seed: int) -> Domain:
    """The class is the texture of a shape on plain ground (odd seeds) or of the whole image (even seeds)."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, len(TEXTURES), (1600,), generator=generator)
    images = two_colors(textures(labels, generator), generator)
    if seed % 2 == 0:
        return split(images, labels, TEXTURES, 1200)
    cover = silhouettes(torch.randint(0, 2, (1600,), generator=generator), generator)
    ground = uniform(generator, 0, 1, 1600, 3, 1, 1)
    return split(ground + cover[:, None] * (images - ground), labels, TEXTURES, 1200, cover > 0.5)


DOMAINS: dict[str, Callable[[int], Domain]] = {
    "digits": digits,
    "shapes": shapes,
    "photographs": photographs,  # for the last run alone: no rule is tuned on it
    "binary_digits": binary_digits,
    "honest_position": honest_position,
    "honest_colour": honest_color,
    "honest_texture": honest_texture,
    "centred_digits": centred_digits,
    "imbalanced": imbalanced,
}


HONEST = ("honest_position", "honest_colour", "honest_texture", "centred_digits", "imbalanced")
