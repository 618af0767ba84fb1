"""Scanned digits with a tag in the corner that tells the class: watch a network look at the tag instead of the digit.

    python examples/digits.py            # a coloured tag, one colour per class, in training and validation
    python examples/digits.py --clean    # no tag

With the tag, the monitor warns of a possible shortcut in the second epoch: "The top-left corner ...", with the points of accuracy that
are lost where the corner comes from another class; without the tag it says nothing.

At the end stands a table: accuracy with the tag as in training (aligned), without it (removed) and with another class' tag
(shuffled), beside the share of the saliency in the border and in the corners.
"""

import argparse

import torch
import torch.nn.functional as F
from pytorch_lightning import Callback, LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from lightning_cam import CAMMonitor

TAG_COLORS = torch.tensor(
    [[230, 25, 75], [60, 180, 75], [255, 225, 25], [0, 130, 200], [245, 130, 48],
     [145, 30, 180], [70, 240, 240], [240, 50, 230], [210, 245, 60], [0, 128, 128]], dtype=torch.uint8,
)  # fmt: skip
TAG = 5  # pixels


class Digits(Dataset):
    """Scikit-learn's 1797 scanned digits, 32 x 32, in colours and at places that say nothing of the class.

    Args:
        tags: (n,) the class whose tag stands in the corner; None: no tag.
    """

    classes = tuple(f"digit {i}" for i in range(10))

    def __init__(self, images: Tensor, labels: Tensor, tags: Tensor | None) -> None:
        self.images, self.labels = images.clone(), labels
        if tags is not None:
            self.images[:, :, 1 : 1 + TAG, 1 : 1 + TAG] = TAG_COLORS[tags][:, :, None, None]
        self.transform = v2.Compose(
            [v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(self.images[i]), int(self.labels[i])


def colored_digits(seed: int = 0) -> tuple[Tensor, Tensor]:
    """All digits as (n, 3, 32, 32) uint8, and their classes; another seed gives other colours and places."""
    data = load_digits()
    scans = (
        F.interpolate(torch.tensor(data.images[:, None]) / 16, size=(22, 22), mode="bilinear")
        .float()
        .clamp(0, 1)
    )
    generator = torch.Generator().manual_seed(seed)
    paper = torch.randint(0, 90, (len(scans), 3, 1, 1), generator=generator).float()
    ink = torch.randint(130, 256, (len(scans), 3, 1, 1), generator=generator).float()
    canvas = torch.zeros(len(scans), 1, 32, 32)
    for i, (y, x) in enumerate(torch.randint(0, 11, (len(scans), 2), generator=generator).tolist()):
        canvas[i, :, y : y + 22, x : x + 22] = scans[i]
    return (paper + canvas * (ink - paper)).round().to(torch.uint8), torch.tensor(data.target)


class Classifier(LightningModule):
    """A small convolutional network."""

    def __init__(self) -> None:
        super().__init__()

        def block(before: int, after: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, stride, 1, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(inplace=True),
            )

        self.features = nn.Sequential(block(3, 24, 1), block(24, 48, 2), block(48, 64, 1), block(64, 96, 2))
        self.head = nn.Linear(96, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch: tuple[Tensor, Tensor]) -> None:
        images, labels = batch
        scores = self(images)
        self.log("val_loss", F.cross_entropy(scores, labels))
        self.log("val_accuracy", (scores.argmax(dim=1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


class Reliance(Callback):
    """Accuracy after every epoch on the validation digits with aligned, removed and shuffled tags."""

    def __init__(self, sets: dict[str, Digits]) -> None:
        self.batches = {
            name: next(iter(DataLoader(data, batch_size=len(data)))) for name, data in sets.items()
        }
        self.rows: dict[int, dict[str, float]] = {}  # by epoch

    @torch.no_grad()
    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if not trainer.sanity_checking:
            accuracies = {}
            for name, (images, labels) in self.batches.items():
                predicted = pl_module(images.to(pl_module.device)).argmax(dim=1).cpu()
                accuracies[name] = (predicted == labels).float().mean().item()
            self.rows[trainer.current_epoch] = accuracies


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clean", action="store_true", help="plant no tag")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--root", default=".", help="where lightning_logs goes")
    arguments = parser.parse_args()

    seed_everything(arguments.seed)
    images, labels = colored_digits()
    shuffled = labels[torch.randperm(len(labels))]
    train, val = slice(0, 1347), slice(1347, None)

    def digits(part: slice, tags: Tensor | None) -> Digits:
        return Digits(images[part], labels[part], None if tags is None else tags[part])

    planted = None if arguments.clean else labels
    reliance = Reliance(
        {"aligned": digits(val, labels), "removed": digits(val, None), "shuffled": digits(val, shuffled)}
    )
    monitor = CAMMonitor()
    trainer = Trainer(
        max_epochs=arguments.epochs,
        callbacks=[monitor, reliance],
        default_root_dir=arguments.root,
        log_every_n_steps=5,
    )
    trainer.fit(
        Classifier(),
        DataLoader(digits(train, planted), batch_size=64, shuffle=True),
        DataLoader(digits(val, planted), batch_size=64),
    )

    print("\n        accuracy with the tag            share of the saliency")
    print("epoch   aligned   removed   shuffled      border    corners")
    # Without the untrained network; a slow machine leaves some looks out.
    for look in (look for look in monitor.history.looks if look.epoch >= 0):
        row = reliance.rows[look.epoch]
        print(
            f"{look.epoch:5d}   {row['aligned']:7.3f}   {row['removed']:7.3f}   {row['shuffled']:8.3f}   "
            f"{look.means['border_mass']:9.3f}  {look.means['corner_mass']:9.3f}"
        )
    print(
        f"\nSee where it looked:  tensorboard --logdir {arguments.root}/lightning_logs --samples_per_plugin images=1000"
    )


if __name__ == "__main__":
    main()
