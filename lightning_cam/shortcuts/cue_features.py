"""What tells the label by a cue: numbers of each image, small enough for a thousand images. Tensors in,
tensors out.
"""

import torch
from torch import Tensor

from lightning_cam.shortcuts.features import (
    Features,
    Views,
    boxes,
    centre,
    channel_shifts,
    cut,
    detail_share,
    dilated,
    in_cell,
    moments,
    quantiles,
    radial_frequencies,
    ring,
    shrunk,
    spectrum,
    spot_corners,
    spot_side,
    spread,
)

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
    return moments(values) if full else values.mean(dim=2)


def tone_features(views: Views) -> Features:
    """17 quantiles of each channel, the same between its darkest and its brightest value (the tone curve),
    and how many tones there are.
    """
    found = quantiles(views.palette.flatten(2), TONES)
    darkest, brightest = found[..., :1], found[..., -1:]
    curve = (found - darkest) / (brightest - darkest).clamp(min=1e-6)
    values = centre(views.images).flatten(2)
    fullness = [_fullness(values, levels) for levels in LEVELS]
    return torch.cat([found.flatten(1), curve[..., 1:-1].flatten(1), *fullness], dim=1)


def _fullness(values: Tensor, levels: int) -> Tensor:
    """(n, c) entropy of the tones, between the darkest and the brightest, in ``levels`` steps; in nats."""
    low, high = values.amin(dim=2, keepdim=True), values.amax(dim=2, keepdim=True)
    places = ((values - low) / (high - low).clamp(min=1e-6) * (levels - 1)).round().long()
    counts = values.new_zeros(*values.shape[:2], levels).scatter_add(2, places, torch.ones_like(values))
    return torch.special.entr(counts / values.shape[2]).sum(dim=2)


def fringe_features(views: Views) -> Features:
    """How much better red and blue fit green at one shift than at the opposite one."""
    found = channel_shifts(views.images)
    uneven = (found - found.flip(2, 3)).flatten(2)
    return uneven[:, :, : uneven.shape[2] // 2].flatten(1)


def detail_features(views: Views) -> Features:
    """Log amplitudes above a quarter of the side by radius, textures, and steps at the edges of 8 x 8 blocks."""
    crop = centre(views.images)
    radius = radial_frequencies(crop)
    is_fine = radius > min(crop.shape[2:]) / 4
    places = radius[is_fine] - int(radius[is_fine].min())
    bins = int(places.max()) + 1
    fine = views.amplitudes[:, is_fine]
    profile = fine.new_zeros(len(fine), bins).index_add(1, places, fine) / torch.bincount(
        places, minlength=bins
    )
    strength = views.textures[:, 0] - spread(views.images).mean(dim=1)[:, 0].log()[..., None]
    return torch.cat([profile, strength.flatten(1), *(_blocks(views, dim) for dim in (2, 3))], dim=1)


def sharpness_features(views: Views) -> Features:
    """The radial spectrum, and how much of the contrast lies in steps over 1, 2 and 4 pixels."""
    shares = [detail_share(views.images, step)[:, None] for step in STEPS]
    return torch.cat([spectrum(centre(views.images)), *shares], dim=1)


def _blocks(views: Views, dim: int) -> Tensor:
    """(n, 8) log of steps across each eighth line, less their mean: JPEG's blocks, wherever they begin."""
    steps = views.images.diff(dim=dim).abs().mean(dim=(1, 5 - dim))
    whole = steps.shape[1] // BLOCK * BLOCK
    if not whole:
        return steps[:, :0]
    lines = steps[:, :whole].reshape(len(steps), -1, BLOCK).mean(dim=1)
    least = 1e-3 * spread(views.images).mean(dim=1)[:, :, 0]
    return (lines + least).log() - (lines + least).log().mean(dim=1, keepdim=True)


def spot_features(views: Views) -> Features:
    """The plainest spot's pixels, pooled to 3 x 3, and its means beside those of the image."""
    images = views.images
    size, side = (images.shape[2], images.shape[3]), spot_side(images)
    pixels = cut(images, boxes(spot_corners(images), side, size)).unflatten(2, (side, side))
    pooled = shrunk(pixels, 3).flatten(1)
    means = pixels.mean(dim=(2, 3))
    return torch.cat([pooled, means - images.mean(dim=(2, 3))], dim=1)


def background_features(views: Views) -> Features:
    """Colours, tones and textures outside the objects."""
    if views.masks is None:
        raise ValueError("cues: 'background' needs masks.")
    shown = ~dilated(views.masks)
    colours, weight = _outside(views.palette, shown)
    steps = torch.linspace(0, 1, 9, device=colours.device, dtype=colours.dtype)
    hidden = torch.where(weight > 0.5, colours, torch.nan).flatten(2)
    everything = hidden.isnan().all(dim=2, keepdim=True)
    seen = torch.where(everything, colours.flatten(2), hidden)
    tones = torch.nanquantile(seen, steps, dim=2).permute(1, 2, 0).flatten(1)
    textures, weight = _outside(views.textures, shown)
    weighed = (textures * weight).sum(dim=(2, 3)) / weight.sum(dim=(2, 3)).clamp(min=1e-6)
    return torch.cat([tones, _weighted_moments(colours, *_outside(views.palette, shown)[1:]), weighed], dim=1)


def _outside(maps: Tensor, shown: Tensor) -> tuple[Tensor, Tensor]:
    """The maps, and how much of each place lies outside the objects, (n, 1, h, w) in [0, 1]."""
    size = (maps.shape[2], maps.shape[3])
    return maps, torch.nn.functional.adaptive_avg_pool2d(shown[:, None].to(maps.dtype), size)


def _weighted_moments(maps: Tensor, weight: Tensor) -> Features:
    total = weight.sum(dim=(2, 3)).clamp(min=1e-6)
    mean = (maps * weight).sum(dim=(2, 3)) / total
    variance = ((maps - mean[..., None, None]) ** 2 * weight).sum(dim=(2, 3)) / total
    return torch.cat([mean, variance.sqrt()], dim=1)
