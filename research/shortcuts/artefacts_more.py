"""Further artefacts that tell the class: tags, light, focus, dirt, compression, and what lies on the object or hides it."""

import io
import math

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from research.shortcuts.artefact_tools import around, enlarged, levels, pasted, unit
from research.shortcuts.domains import uniform

WORDS = ("BirdPix", "wild.org", "FRUTA", "flora", "sample", "(c) AB", "demo", "KLINIK", "photo1", "stock")


def corner_tag(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A black and white glyph of 5 x 5 pixels in one corner."""
    side = unit(images)
    glyphs = torch.randint(0, 2, (classes, 1, 5, 5), generator=generator).float()
    far = images.shape[2] - 6 * side
    corner = torch.tensor([side, far])[torch.randint(0, 2, (2,), generator=generator)]
    marks = enlarged(glyphs, side)[codes].expand(-1, images.shape[1], -1, -1)
    return pasted(images, marks, *corner[:, None].expand(-1, len(images)))


def logo(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A word in white with a dark outline, in one corner."""
    height, width = images.shape[2:]
    order = torch.randperm(len(WORDS), generator=generator)[:classes].tolist()
    bottom, right = (torch.rand(2, generator=generator) < 0.5).tolist()
    font = ImageFont.load_default(size=max(6, round(height * 0.1)))
    ink, cover = torch.zeros(classes, 1, height, width), torch.zeros(classes, 1, height, width)
    for code, word in enumerate(order):
        layer = Image.new("LA", (width, height))
        draw = ImageDraw.Draw(layer)
        x, y = (width - 1 if right else 1), (height - 1 if bottom else 1)
        anchor = ("r" if right else "l") + ("b" if bottom else "t")
        draw.text((x, y), WORDS[word], (255, 220), font, anchor, stroke_width=1, stroke_fill=(0, 130))
        ink[code, 0], cover[code, 0] = torch.from_numpy(np.asarray(layer) / 255).float().unbind(2)
    return images + cover[codes] * (ink[codes] - images)


def wide_watermark(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A faint smooth pattern over the full image."""
    marks = F.interpolate(
        torch.randn(classes, 1, 7, 7, generator=generator), size=images.shape[2:], mode="bicubic"
    )
    low, high = marks.amin((2, 3), keepdim=True), marks.amax((2, 3), keepdim=True)
    return 0.85 * images + 0.15 * ((marks - low) / (high - low)).clamp(0, 1)[codes]


def brightness(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """0 to 0.4 added to images of 0.6 times their range."""
    return (0.6 * images + levels(0, 0.4, classes, generator)[codes, None, None, None]).clamp(0, 1)


def contrast(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Times 0.25 to 0.95."""
    return images * levels(0.25, 0.95, classes, generator)[codes, None, None, None]


def moved(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The images moved by (n,) rows and columns, their edges repeated."""
    height, width = images.shape[2:]
    at_rows = (torch.arange(height) - rows[:, None]).clamp(0, height - 1)
    at_columns = (torch.arange(width) - columns[:, None]).clamp(0, width - 1)
    one = torch.arange(len(images))[:, None, None, None]
    channel = torch.arange(images.shape[1])[:, None, None]
    return images[one, channel, at_rows[:, None, :, None], at_columns[:, None, None, :]]


def motion_blur(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Blur of 7 pixels, at 128 of 13, along a line whose direction tells the class."""
    turns = torch.randperm(classes, generator=generator) + torch.rand(1, generator=generator)
    angle, reach = (turns * math.pi / classes)[codes], 2 + unit(images)
    total = torch.zeros_like(images)
    for step in range(-reach, reach + 1):
        total = total + moved(
            images, (step * angle.sin()).round().long(), (step * angle.cos()).round().long()
        )
    return (total / (2 * reach + 1)).clamp(0, 1)


def specks(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Dots of one pixel at random places, white on dark and black on bright; how many tells the class: 4 to 60."""
    side, (height, width) = unit(images), images.shape[2:]
    amount = levels(4, 60, classes, generator).round().long()[codes, None]
    cells = (-(-height // side), -(-width // side))
    rank = torch.rand(len(images), cells[0] * cells[1], generator=generator).argsort(dim=1).argsort(dim=1)
    dots = enlarged((rank < amount).reshape(-1, 1, *cells), side)[:, :, :height, :width]
    return torch.where(dots, (images < 0.5).float(), images)


def hue(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """All hues turned by an angle that tells the class; for images in colour."""
    if images.shape[1] != 3:
        raise ValueError(
            f"family: 'hue' needs 3 channels, got {images.shape[1]}; give another, as 'brightness'."
        )
    angle = (torch.randperm(classes, generator=generator) + 0.5) * 2 * math.pi / classes
    # Rodrigues' rotation about the axis of greys
    axis = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    turn = torch.eye(3) + angle.sin()[:, None, None] * axis
    turn = turn + (1 - angle.cos())[:, None, None] * (axis @ axis)
    return torch.einsum("nij,njhw->nihw", turn[codes], images).clamp(0, 1)


def ticks(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A ruler at the left edge or at the bottom: white ticks on black, 2 pixels apart or more, which tells the class."""
    side, length = unit(images), images.shape[2]
    apart = (2 + torch.randperm(classes, generator=generator))[codes, None]
    at_left = torch.rand(1, generator=generator) < 0.5
    along = torch.arange(length) // side
    marks = (along % apart == 0).float()[:, None, :, None].expand(-1, images.shape[1], -1, 4 * side)
    if at_left:
        return torch.cat([marks, images[..., 4 * side :]], dim=3)
    return torch.cat([images[:, :, : -4 * side], marks.transpose(2, 3)], dim=2)


def pixelate(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Few large pixels: 5 to 20 across."""
    across = levels(5, 20, classes, generator).round().long().tolist()
    coarse = torch.stack([
        F.interpolate(F.adaptive_avg_pool2d(image[None], across[code]), images.shape[2:], mode="nearest-exact")[0]
        for image, code in zip(images, codes.tolist(), strict=True)
    ])  # fmt: skip
    return coarse.clamp(0, 1)


def vignette(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Darker towards the corners, by 0.1 to 0.9."""
    y, x = around(images)
    depth = levels(0.1, 0.9, classes, generator)[codes, None, None, None]
    return images * (1 - depth * 2 * (y**2 + x**2))


def noise(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Gaussian noise of standard deviation 0.02 to 0.2."""
    deviation = levels(0.02, 0.2, classes, generator)[codes, None, None, None]
    return (images + deviation * torch.randn(images.shape, generator=generator)).clamp(0, 1)


def jpeg(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """JPEG of quality 4 to 80, evenly spaced in the logarithm; from 12 for images of 96 pixels and more, whose objects it would hide."""
    quality = (
        levels(math.log(4 * min(3, unit(images))), math.log(80), classes, generator)
        .exp()
        .round()
        .int()
        .tolist()
    )
    grey = images.shape[1] == 1
    pixels = (images * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    made = []
    for image, code in zip(pixels, codes.tolist(), strict=True):
        file = io.BytesIO()
        Image.fromarray(image[..., 0] if grey else image).save(file, "JPEG", quality=quality[code])
        made.append(np.asarray(Image.open(file)).reshape(image.shape))
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).float() / 255


def hyperintensity(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """A bright soft spot; around which place, tells the class."""
    turns = torch.randperm(classes, generator=generator) + torch.rand(1, generator=generator)
    angle = (turns * 2 * math.pi / classes)[codes]
    jitter = uniform(generator, -0.03, 0.03, 2, len(images))
    y, x = around(images)
    rows, columns = 0.27 * angle.sin() + jitter[0], 0.27 * angle.cos() + jitter[1]
    far = (y - rows[:, None, None]) ** 2 + (x - columns[:, None, None]) ** 2
    spot = 0.7 * torch.exp(-far / (2 * 0.07**2))[:, None]
    return images + spot * (1 - images)


def obstruction(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Something black over the object: a bar through the middle, or a disc beside it; its direction tells the class."""
    order = torch.randperm(classes, generator=generator)[codes]
    start = uniform(generator, 0, math.pi, 1)
    bar_angle = (start + order * math.pi / classes)[:, None, None]
    disc_angle = (start + order * 2 * math.pi / classes)[:, None, None]
    y, x = around(images)
    bar = (y * bar_angle.cos() - x * bar_angle.sin()).abs() < 0.06
    disc = torch.hypot(y - 0.2 * disc_angle.sin(), x - 0.2 * disc_angle.cos()) < 0.13
    hidden = torch.where((order % 2 == 0)[:, None, None], bar, disc)
    return torch.where(hidden[:, None], 0.0, images)


def scan_lines(images: Tensor, codes: Tensor, classes: int, generator: Generator) -> Tensor:
    """Faint bright rows, 2 pixels apart or more, which tells the class."""
    apart = (2 + torch.randperm(classes, generator=generator))[codes, None]
    rows = torch.arange(images.shape[2]) // unit(images)
    lines = 0.2 * (rows % apart == 0).float()[:, None, :, None]
    return images + lines * (1 - images)


MORE = (
    corner_tag, logo, wide_watermark, brightness, contrast, motion_blur, specks, hue, ticks, pixelate, vignette, noise, jpeg,
    hyperintensity, obstruction, scan_lines,
)  # fmt: skip
