"""Photographs with long names."""

import torch
from torch import Tensor, nn

from support.networks import pictures

LONG = "black-and-gold garden spider, Argiope aurantia"
NAMES = [
    LONG,
    "tabby",
    "W" * 80,
    "Kraftfahrzeug-Haftpflichtversicherung at $5 to $6 a day",
    "Sturm und Drang",
]


def photographs(count: int, size: tuple[int, int] = (24, 32), channels: int = 3) -> Tensor:
    return pictures(count, size, channels).sigmoid()


def gray_net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5)
    )
