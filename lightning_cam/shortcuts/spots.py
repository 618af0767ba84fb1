"""Where an image has a spot, and the pixels of boxes. Tensors in, tensors out."""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lightning_cam.shortcuts.features import Maps, mean
from lightning_cam.typing import Images

LARGEST_SCAN = 48  # pixels a side, up to twice as many, of what is searched for a spot


def spot_corners(images: Images) -> Tensor:
    """(n, 2) row and column where the box of the plainest spot begins: a box of a sixth of the shorter side
    that differs most from what surrounds it, less what differs within it. Images of 96 pixels a side and
    more are searched in steps of a whole number of pixels.
    """
    step, side = _step(images), spot_side(images) // _step(images)
    scanned = images if step == 1 else F.avg_pool2d(images, step)
    scanned = scanned - mean(scanned)  # sums of small numbers round less
    inner, inner_square = box_mean(scanned, side), box_mean(scanned**2, side)
    within = (inner_square - inner**2).clamp(min=0).sum(dim=1)
    wide = box_mean(F.pad(scanned, (side,) * 4, mode="reflect"), 3 * side)
    outside = (9 * wide - inner) / 8
    response = ((inner - outside) ** 2).sum(dim=1) - within
    best = response.flatten(1).argmax(dim=1)
    return step * torch.stack([best // response.shape[2], best % response.shape[2]], dim=1)


def spot_side(images: Images) -> int:
    """Pixels along a side of the box that a spot is looked for in."""
    step = _step(images)
    return step * max(3, min(images.shape[2:]) // step // 6)


def _step(images: Images) -> int:
    return max(1, min(images.shape[2:]) // LARGEST_SCAN)


def box_mean(images: Images, side: int) -> Maps:
    """Means over every box of ``side`` pixels, by where it begins."""
    for dim in (2, 3):
        sums = F.pad(images.cumsum(dim=dim), (1, 0) if dim == 3 else (0, 0, 1, 0))
        length = sums.shape[dim] - side
        images = (sums.narrow(dim, side, length) - sums.narrow(dim, 0, length)) / side
    return images


def boxes(corners: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """(n, side * side) places in the flattened image, of boxes moved inside it."""
    most = corners.new_tensor([size[0] - side, size[1] - side])
    first = torch.minimum(corners.clamp(min=0), most)
    steps = torch.arange(side, device=corners.device)
    rows, columns = first[:, 0, None] + steps, first[:, 1, None] + steps
    return (rows[:, :, None] * size[1] + columns[:, None]).flatten(1)


def cut(images: Images, places: Tensor) -> Float[Tensor, "n c p"]:
    """The pixels at flattened places (n, p)."""
    return images.flatten(2).gather(2, places[:, None].expand(-1, images.shape[1], -1))
