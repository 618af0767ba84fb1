"""LightningModules and data that the tests train, with a real Trainer."""

from pathlib import Path
from typing import Any

import pytorch_lightning
import torch
import torch.nn.functional as F
from packaging.version import Version
from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from support.networks import Net, net

CLASSES = 3
LIGHTNING = Version(pytorch_lightning.__version__)


def data(count: int = 24, seed: int = 0, size: int = 16) -> TensorDataset:
    """Images whose class is which third of their rows is bright."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(count) % CLASSES
    images = 0.3 * torch.randn(count, 3, size, size, generator=generator)
    for image, label in zip(images, labels.tolist(), strict=True):
        image[:, label * size // 3 : (label + 1) * size // 3] += 1
    return TensorDataset(images, labels)


def loader(count: int = 24, seed: int = 0, **options: Any) -> DataLoader:
    return DataLoader(data(count, seed), **{"batch_size": 8, **options})


class Classifier(LightningModule):
    """Plain training with random augmentation, so that a disturbed random state shows in the weights."""

    def __init__(self, network: nn.Module | None = None) -> None:
        super().__init__()
        self.net = net(classes=CLASSES) if network is None else network

    def forward(self, images: Tensor) -> Tensor:
        return self.net(images)

    def training_step(self, batch: Any, batch_idx: int = 0) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self(images + 0.1 * torch.randn_like(images)), labels)

    def validation_step(self, batch: Any, batch_idx: int = 0, dataloader_idx: int = 0) -> None:
        images, labels = batch
        scores = self(images)
        self.log("val_loss", F.cross_entropy(scores, labels))
        self.log("val_accuracy", (scores.argmax(dim=1) == labels).float().mean())

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in self.parameters() if p.requires_grad], lr=0.05, momentum=0.9)


class FrozenBatchNorm(Classifier):
    """The user's own train() keeps batch norm in eval mode."""

    def train(self, mode: bool = True) -> "FrozenBatchNorm":
        super().train(mode)
        for module in self.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.eval()
        return self


class FrozenBackbone(Classifier):
    def __init__(self) -> None:
        super().__init__()
        self.net.stem.requires_grad_(False)
        self.net.body.requires_grad_(False)


class BackboneUnderNoGrad(Classifier):
    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            activations = self.net.trunk(images)
        return self.net.tail(activations)


class CompiledSubmodule(Classifier):
    def __init__(self) -> None:
        network: Net = net(classes=CLASSES)
        network.body = torch.compile(network.body, backend="eager")
        super().__init__(network)


def trainer(directory: Path, **options: Any) -> Trainer:
    """A quiet one on the CPU, whose logger takes numbers alone, so that pictures are files in ``directory``."""
    quiet = {
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": CSVLogger(directory, name="", version=""),
        "enable_checkpointing": False,
    }
    return Trainer(default_root_dir=directory, **{"accelerator": "cpu", "max_epochs": 2, **quiet, **options})
