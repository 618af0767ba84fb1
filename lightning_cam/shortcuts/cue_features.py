"""What tells the label by a cue: numbers of each image, small enough for a thousand images. Tensors in,
tensors out.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from lightning_cam.shortcuts.features import (
    Features,
    Views,
    averages,
    detail_share,
    dilated,
    in_cell,
    moments,
    quantiles,
    radial_frequencies,
    ring,
    shrunk,
)
from lightning_cam.shortcuts.spots import boxes, cut, spot_corners, spot_side

TONES = 17
LEVELS = (16, 64, 256)
STEPS = (1, 2, 4)  # pixels
BLOCK = 8  # pixels of a block of JPEG


def border_features(views: Views, share: int) -> Features:
    """The ring's pixels, pooled, and its textures."""
    pixels = views.pooled[:, :, ring(views.pooled, share)]
    return torch.cat([pixels.flatten(1), views.textures[:, :, ring(views.textures, share)].flatten(1)], dim=1)


def cell_features(views: Views, row: int, column: int) -> Features:
    """The cell's pixels, pooled, and its textures."""
    pixels, textures = (maps[:, :, in_cell(maps, row, column)] for maps in (views.pooled, views.textures))
    return torch.cat([pixels.flatten(1), textures.flatten(1)], dim=1)


def colour_features(views: Views, full: bool) -> Features:
    """Each channel's mean; in ``full`` their spread, medians and covariances too."""
    values = views.palette.flatten(2)
    return moments(values, views.ordered) if full else values.mean(dim=2)


def tone_features(views: Views) -> Features:
    """17 quantiles of each channel, the same between its darkest and its brightest value (the tone curve),
    and how many tones there are.
    """
    found = quantiles(views.ordered, TONES)
    darkest, brightest = found[..., :1], found[..., -1:]
    curve = (found - darkest) / (brightest - darkest).clamp(min=1e-6)
    return torch.cat([found.flatten(1), curve[..., 1:-1].flatten(1), _fullness(views.crop.flatten(2))], dim=1)


def _fullness(values: Tensor) -> Features:
    """(n, 3 c) entropy of the tones, in 16, 64 and 256 steps from the darkest to the brightest; in nats."""
    low, high = values.amin(dim=2, keepdim=True), values.amax(dim=2, keepdim=True)
    finest = max(LEVELS)
    step = ((values - low) / (high - low).clamp(min=1e-6) * finest).long().clamp(max=finest - 1)
    channels = values.shape[0] * values.shape[1]
    own = torch.arange(channels, device=values.device).reshape(*values.shape[:2], 1) * finest
    counts = torch.bincount((step + own).flatten(), minlength=channels * finest).to(values.dtype)
    shares = counts.reshape(*values.shape[:2], finest) / values.shape[2]
    return torch.cat(
        [torch.special.entr(shares.unflatten(2, (levels, -1)).sum(dim=3)).sum(dim=2) for levels in LEVELS],
        dim=1,
    )


def fringe_features(views: Views) -> Features:
    """How much better red and blue fit green at one shift than at the opposite one."""
    uneven = (views.shifts - views.shifts.flip(2, 3)).flatten(2)
    return uneven[:, :, : uneven.shape[2] // 2].flatten(1)


def detail_features(views: Views) -> Features:
    """Log amplitudes above a quarter of the side by radius, textures, and steps at edges of 8 x 8 blocks."""
    radius = radial_frequencies(views.crop)
    is_fine = radius > min(views.crop.shape[2:]) / 4
    places = radius[is_fine] - int(radius[is_fine].min())
    profile = averages(views.amplitudes[:, is_fine], places, int(places.max()) + 1)
    strength = views.textures[:, 0] - views.deviation.mean(dim=1)[:, 0].log()[..., None]
    return torch.cat([profile, strength.flatten(1), *(_blocks(views, dim) for dim in (2, 3))], dim=1)


def sharpness_features(views: Views) -> Features:
    """The radial spectrum, and how much of the contrast lies in steps over 1, 2 and 4 pixels."""
    shares = [detail_share(views.crop, step)[:, None] for step in STEPS]
    return torch.cat([views.spectrum, *shares], dim=1)


def _blocks(views: Views, dim: int) -> Tensor:
    """(n, 8) log of steps across each eighth line, less their mean: JPEG's blocks, wherever they begin."""
    steps = views.crop.diff(dim=dim).abs().mean(dim=(1, 5 - dim))
    whole = steps.shape[1] // BLOCK * BLOCK
    if not whole:
        return steps[:, :0]
    lines = steps[:, :whole].reshape(len(steps), -1, BLOCK).mean(dim=1)
    logs = (lines + 1e-3 * views.deviation.mean(dim=1)[:, :, 0]).log()
    return logs - logs.mean(dim=1, keepdim=True)


def spot_features(views: Views) -> Features:
    """The plainest spot's pixels, pooled to 3 x 3, and its means beside those of the image."""
    images = views.images
    size, side = (images.shape[2], images.shape[3]), spot_side(images)
    pixels = cut(images, boxes(spot_corners(images), side, size)).unflatten(2, (side, side))
    means = pixels.mean(dim=(2, 3))
    return torch.cat([shrunk(pixels, 3).flatten(1), means - images.mean(dim=(2, 3))], dim=1)


def background_features(views: Views) -> Features:
    """Colours, tones and textures outside the objects."""
    if views.masks is None:
        raise ValueError("cues: 'background' needs masks.")
    shown = ~dilated(views.masks)
    colours, weight = views.palette, _outside(views.palette, shown)
    steps = torch.linspace(0, 1, 9, device=colours.device, dtype=colours.dtype)
    hidden = torch.where(weight > 0.5, colours, torch.nan).flatten(2)
    is_all_hidden = hidden.isnan().all(dim=2, keepdim=True)
    seen = torch.where(is_all_hidden, colours.flatten(2), hidden)
    tones = torch.nanquantile(seen, steps, dim=2).permute(1, 2, 0).flatten(1)
    textures, own = views.textures, _outside(views.textures, shown)
    weighed = (textures * own).sum(dim=(2, 3)) / own.sum(dim=(2, 3)).clamp(min=1e-6)
    return torch.cat([tones, _weighted_moments(colours, weight), weighed], dim=1)


def _outside(maps: Tensor, shown: Tensor) -> Tensor:
    """(n, 1, h, w) how much of each place lies outside the objects, in [0, 1]."""
    size = (maps.shape[2], maps.shape[3])
    return F.adaptive_avg_pool2d(shown[:, None].to(maps.dtype), size)


def _weighted_moments(maps: Tensor, weight: Tensor) -> Features:
    total = weight.sum(dim=(2, 3)).clamp(min=1e-6)
    mean = (maps * weight).sum(dim=(2, 3)) / total
    variance = ((maps - mean[..., None, None]) ** 2 * weight).sum(dim=(2, 3)) / total
    return torch.cat([mean, variance.sqrt()], dim=1)
