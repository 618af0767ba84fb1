"""Images of noise, and photographs."""

import torch
from torch import Tensor


def noise(count: int = 4, channels: int = 3, size: tuple[int, ...] = (8, 6), seed: int = 0) -> Tensor:
    return torch.rand(count, channels, *size, generator=torch.Generator().manual_seed(seed))


SIZES = {"signals": (11,), "volumes": (4, 8, 6)}


def photos(channels: int, count: int = 3) -> torch.Tensor:
    """Images in [0, 1] that reach both ends."""
    images = torch.rand(count, channels, 9, 7, generator=torch.Generator().manual_seed(0))
    images[0, :, 0, 0], images[1, :, 0, 0] = 0, 1
    return images
