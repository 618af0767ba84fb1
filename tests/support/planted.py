"""A planted shortcut: images with a tag in the corner, a network that reads it, and a fit of both."""

from pathlib import Path
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import CAMMonitor
from support.modules import CLASSES, trainer


def tagged(count: int = 48, size: int = 16, classes: int = CLASSES) -> TensorDataset:
    """Noise with a tag in the top left corner: the channel that is bright is the class."""
    labels = torch.arange(count) % classes
    images = 0.2 * torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))
    images[torch.arange(count), labels, :4, :4] += 3
    return TensorDataset(images, labels)


class ReadsTheTag(LightningModule):
    """Answers the channel that is brightest in the corner; what training changes does not matter."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Conv2d(3, 3, 1, bias=False)
        self.features.weight = nn.Parameter(torch.eye(3)[:, :, None, None])

    def forward(self, images: Tensor) -> Tensor:
        return self.features(images)[:, :, :4, :4].mean(dim=(2, 3))

    def training_step(self, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: Any) -> None:
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=1e-3)


def fit(
    directory: Path,
    monitor: CAMMonitor,
    data: TensorDataset | None = None,
    ckpt_path: str | None = None,
    model: LightningModule | None = None,
    validated: TensorDataset | None = None,
    **options: Any,
) -> Any:
    loader = DataLoader(data or tagged(), batch_size=12)
    fitted = trainer(directory, **{"callbacks": [monitor], "max_epochs": 3, **options})
    val = loader if validated is None else DataLoader(validated, batch_size=12)
    fitted.fit(model or ReadsTheTag(), loader, val, ckpt_path=ckpt_path)
    return fitted
