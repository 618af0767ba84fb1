"""A U-Net that tells of each pixel which of five things it shows: from where it takes its evidence for the flower.

    python examples/segmentation.py
    python examples/segmentation.py --thing face

A map explains the sum of one channel's scores over the pixels that the network gives to that thing, ``region(channel)``; where it gives
none, there is nothing to explain. So the probe is validation images that show the thing. The maps are those of the last layer before the
scores, through which all evidence passes: the head's own would be the scores themselves, and the skip connections go around the coarser
ones. At the end stands how well the pixels were told, as intersection over union. The images are those of multilabel.py, without a mark.
"""

import argparse

import torch
import torch.nn.functional as F
from multilabel import LABELS, Composites, block, composed, slowing
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.utils.data import DataLoader

from lightning_cam import CAMMonitor
from lightning_cam.attribution.targets import region


class UNet(LightningModule):
    """Three steps down and three up; channel 0 is the background, then one channel a thing."""

    def __init__(self, channel: int) -> None:
        super().__init__()
        self.channel = channel
        self.fine, self.middle = block(3, 16, 2), block(16, 32, 2)
        self.coarse = nn.Sequential(block(32, 64, 2), block(64, 64))
        self.up_middle, self.up_fine = block(64 + 32, 32), block(32 + 16, 16)
        self.head = nn.Conv2d(16, 1 + len(LABELS), 1)

    def forward(self, images: Tensor) -> Tensor:
        fine = self.fine(images)
        middle = self.middle(fine)
        coarse = self.coarse(middle)
        middle = self.up_middle(torch.cat([F.interpolate(coarse, scale_factor=2), middle], dim=1))
        fine = self.up_fine(torch.cat([F.interpolate(middle, scale_factor=2), fine], dim=1))
        return F.interpolate(self.head(fine), scale_factor=2, mode="bilinear")

    def training_step(self, batch: list[Tensor]) -> Tensor:
        images, masks = batch
        return F.cross_entropy(self(images), masks)

    def validation_step(self, batch: list[Tensor]) -> None:
        images, masks = batch
        scores = self(images)
        self.log("val_loss", F.cross_entropy(scores, masks))
        found, true = scores.argmax(dim=1) == self.channel, masks == self.channel
        self.log("val_iou", (found & true).sum() / (found | true).sum().clamp(min=1), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return slowing(self, 3e-3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--thing", default="flower", choices=LABELS, help="what is explained")
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument(
        "--images", type=int, default=512, help="for training; a quarter of it for validation"
    )
    parser.add_argument("--root", default=".", help="where lightning_logs goes")
    arguments = parser.parse_args()

    seed_everything(0)
    channel = 1 + LABELS.index(arguments.thing)
    train, val = (
        Composites(*composed(count, seed))
        for count, seed in ((arguments.images, 1), (arguments.images // 4, 2))
    )
    shown = (val.tensors[1] == channel).flatten(1).any(dim=1).nonzero()[:32, 0].tolist()
    monitor = CAMMonitor(probe=shown, target=region(channel), target_layer="up_fine")
    trainer = Trainer(
        max_epochs=arguments.epochs,
        callbacks=[monitor],
        default_root_dir=arguments.root,
        log_every_n_steps=10,
    )
    trainer.fit(UNet(channel), DataLoader(train, batch_size=32, shuffle=True), DataLoader(val, batch_size=32))

    print(f"\nThe monitor {monitor.reading}")
    print(f"{trainer.callback_metrics['val_iou']:.3f}  intersection over union of the {arguments.thing}")


if __name__ == "__main__":
    main()
