"""Networks and images that are small enough for plain loops."""

import numpy as np
import torch
from torch import Tensor, nn


def noise(shape: tuple[int, ...]) -> np.ndarray:
    """What imputations add: from a generator of their own, so no twin can know it."""
    return (0.01 * torch.randn(shape, generator=torch.Generator().manual_seed(0))).double().numpy()


def maps(count: int, size: tuple[int, int], seed: int = 1) -> Tensor:
    """In [0, 1], with ties: half of the pixels are zero, and values are rounded."""
    values = torch.rand(count, *size, generator=torch.Generator().manual_seed(seed))
    return ((values - 0.5).clamp(min=0) * 2 * 16).round() / 16


def small_net(channels: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = nn.Sequential(
            nn.Conv2d(channels, 6, 3, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(2),
            nn.Flatten(),
            nn.Linear(24, 4),
        )
    with torch.no_grad():
        model[-1].weight *= 8  # answers that differ
    return model
