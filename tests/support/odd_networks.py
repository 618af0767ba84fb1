"""Networks whose forward is of an odd shape, and data whose figure is known: bright squares, one in each image."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from support.modules import Classifier

SIDE, FIGURE = 24, 8


def figures(count: int = 32, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Noise with a bright figure: filled (class 0) or striped (class 1). Images, labels, masks of the figures."""
    generator = torch.Generator().manual_seed(seed)
    images = 0.2 * torch.rand(count, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(count) % 2
    masks = torch.zeros(count, SIDE, SIDE, dtype=torch.bool)
    for i in range(count):
        top, left = torch.randint(0, SIDE - FIGURE, (2,), generator=generator).tolist()
        masks[i, top : top + FIGURE, left : left + FIGURE] = True
        images[i, :, top : top + FIGURE : 1 + int(labels[i]), left : left + FIGURE] = 1.0
    return images, labels, masks


class Convolutions(nn.Module):
    """Maps of half the image's resolution, then the mean over places."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images).mean(dim=(2, 3))


class OfFixedBatch(nn.Module):
    """Rows of the map are a sequence; the hidden state has so many rows as are written in."""

    def __init__(self, batch: int | None = 8, classes: int = 2) -> None:
        super().__init__()
        self.batch, self.features = batch, Convolutions().features
        self.sequence, self.head = nn.GRU(8 * SIDE // 2, 8, batch_first=True), nn.Linear(8, classes)

    def forward(self, images: Tensor) -> Tensor:
        rows = self.features(images).permute(0, 2, 1, 3).flatten(2)
        hidden = torch.zeros(1, self.batch or len(images), 8)
        return self.head(self.sequence(rows, hidden)[0][:, -1])


class AnyStep(Classifier):
    """Trains and validates with a loss of its own."""

    def loss(self, batch: Any) -> Tensor:
        raise NotImplementedError

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        return self.loss(batch)

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        self.log("val_loss", self.loss(batch))


def closed(network: nn.Module, images: Tensor, kind: str = "traced") -> nn.Module:
    """The network as torch.jit traces or scripts it, which torch now advises against."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if kind == "traced":
            return torch.jit.trace(network, images, check_trace=False)
        return torch.jit.script(network)
