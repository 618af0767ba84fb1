"""Small networks that the tests look at."""

import torch
from torch import Tensor, nn


class Net(nn.Module):
    """Convolutions, in-place activations, batch norm, dropout, global average pooling, a linear head."""

    def __init__(self, classes: int = 5, activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True), nn.MaxPool2d(2)
        )
        self.body = nn.Sequential(nn.Conv2d(6, 8, 3, padding=1), nn.BatchNorm2d(8), activation())
        self.dropout = nn.Dropout(0.5)
        self.head = nn.Linear(8, classes)

    def trunk(self, images: Tensor) -> Tensor:
        return self.body(self.stem(images))

    def tail(self, activations: Tensor) -> Tensor:
        return self.head(self.dropout(activations.mean(dim=(2, 3))))

    def forward(self, images: Tensor) -> Tensor:
        return self.tail(self.trunk(images))


def net(seed: int = 0, **options: object) -> Net:
    """A ``Net`` whose batch norms have seen data, in train mode."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = Net(**options)
        with torch.no_grad():
            for _ in range(3):
                model(torch.randn(16, 3, 16, 16))
    return model


def pictures(count: int = 4, size: tuple[int, int] = (16, 16), channels: int = 3, seed: int = 0) -> Tensor:
    """Images from a generator of their own."""
    return torch.randn(count, channels, *size, generator=torch.Generator().manual_seed(seed))
