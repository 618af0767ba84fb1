"""The monitor with Weights & Biases: scanned digits, its pictures as images of the run.

pip install wandb scikit-learn
python examples/wandb_logger.py                    # offline: the run stays in ./wandb/offline-run-*
wandb sync wandb/offline-run-*                     # sends it, whenever you like
python examples/wandb_logger.py --mode online      # sends it at once; `wandb login` comes first
"""

import argparse

import torch
import torch.nn.functional as F
import wandb
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.loggers import WandbLogger
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from lightning_cam import CAMMonitor


def digits() -> tuple[TensorDataset, TensorDataset]:
    """1797 scanned digits of 8 x 8 pixels, enlarged to 32 x 32: for training and for validation."""
    data = load_digits()
    images = F.interpolate(
        torch.tensor(data.images[:, None] / 16, dtype=torch.float32), size=(32, 32), mode="bilinear"
    )
    labels = torch.tensor(data.target)
    return TensorDataset(images[:1347], labels[:1347]), TensorDataset(images[1347:], labels[1347:])


class Classifier(LightningModule):
    """A small convolutional network."""

    def __init__(self) -> None:
        super().__init__()

        def block(before: int, after: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            )

        self.features = nn.Sequential(block(1, 24, 2), block(24, 48, 1), block(48, 96, 2))
        self.head = nn.Linear(96, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))

    def training_step(self, batch: list[Tensor]) -> Tensor:
        images, labels = batch
        loss = F.cross_entropy(self(images), labels)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch: list[Tensor]) -> None:
        images, labels = batch
        self.log("val_accuracy", (self(images).argmax(dim=1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=2e-3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mode", default="offline", choices=["offline", "online"])
    parser.add_argument("--project", default="digits")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--root", default=".", help="where the folder wandb goes")
    arguments = parser.parse_args()

    seed_everything(0)
    train, val = digits()
    trainer = Trainer(
        max_epochs=arguments.epochs,
        logger=WandbLogger(
            project=arguments.project, save_dir=arguments.root, offline=arguments.mode == "offline"
        ),
        callbacks=[CAMMonitor(class_names=[f"digit {i}" for i in range(10)])],
        default_root_dir=arguments.root,
        log_every_n_steps=5,
    )
    trainer.fit(Classifier(), DataLoader(train, batch_size=64, shuffle=True), DataLoader(val, batch_size=64))
    wandb.finish()


if __name__ == "__main__":
    main()
