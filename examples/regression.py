"""A number per image: which share of it is flower, in per cent; and whether the network looks at the flower for it.

    python examples/regression.py

A map explains the number itself. Each picture says "6.1 (true 5.8)", and has no frame: no number is right or wrong. At the end: the mean
absolute error, and the share of the saliency on the flower, where there is one. The images are those of multilabel.py, without a mark.
"""

import argparse

import torch.nn.functional as F
from multilabel import LABELS, Composites, block, composed, slowing
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_cam import CAMMonitor, explain

FLOWER = 1 + LABELS.index("flower")


class Measure(LightningModule):
    """A small convolutional network with one output."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 64, 2), block(64, 96))
        self.head = nn.Linear(96, 1)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))[:, 0]

    def training_step(self, batch: list[Tensor]) -> Tensor:
        images, shares = batch
        return F.mse_loss(self(images), shares)

    def validation_step(self, batch: list[Tensor]) -> None:
        images, shares = batch
        measured = self(images)
        self.log("val_loss", F.mse_loss(measured, shares))
        self.log("val_error", (measured - shares).abs().mean(), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return slowing(self, 3e-3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument(
        "--images", type=int, default=1024, help="for training; a quarter of it for validation"
    )
    parser.add_argument("--root", default=".", help="where lightning_logs goes")
    arguments = parser.parse_args()

    seed_everything(0)
    loaders = []  # of training, then of validation
    for count, seed in ((arguments.images, 1), (arguments.images // 4, 2)):
        images, masks = composed(count, seed)
        flowers = masks == FLOWER
        shares = 100 * flowers.float().mean(dim=(1, 2))  # per cent
        loaders.append(DataLoader(Composites(images, shares), batch_size=32, shuffle=seed == 1))
    model, monitor = Measure(), CAMMonitor()
    trainer = Trainer(
        max_epochs=arguments.epochs,
        callbacks=[monitor],
        default_root_dir=arguments.root,
        log_every_n_steps=10,
    )
    trainer.fit(model, loaders[0], loaders[1])

    print(f"\nThe monitor {monitor.reading}")  # the images and masks are those of validation
    print(
        f"{trainer.callback_metrics['val_error']:.3f}  mean absolute error, of {shares.mean():.1f} per cent"
    )
    with_flower = shares > 0
    pictures = Composites.transform(images[with_flower])
    found = explain(model.eval(), pictures, target="output", task="regression")
    saliency = found.saliency / found.saliency.sum(dim=(1, 2), keepdim=True).clamp(min=1e-6)
    print(f"{(saliency * flowers[with_flower]).sum(dim=(1, 2)).mean():.3f}  of the saliency is on the flower")


if __name__ == "__main__":
    main()
