"""The monitor in the configuration of a LightningCLI: a small network, and scikit-learn's scanned digits.

pip install "jsonargparse[signatures]" scikit-learn
python examples/cli.py fit --config examples/cli.yaml                             # the monitor stands in this file
python examples/cli.py fit --config examples/cli.yaml --trainer.max_epochs 20     # options come after it, and win
python examples/cli.py fit --trainer.callbacks.help lightning_cam.CAMMonitor      # explains the monitor's arguments

The pictures are in ./lightning_logs; the monitor prints the command that shows them.
"""

import torch
import torch.nn.functional as F
from pytorch_lightning import LightningDataModule, LightningModule
from pytorch_lightning.cli import LightningCLI
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2


class Digits(Dataset):
    """1797 scanned digits of 8 x 8 pixels, enlarged: the first or the last part of them.

    Args:
        place: Where on the canvas a digit goes.
    """

    classes = tuple(f"digit {i}" for i in range(10))

    def __init__(self, part: slice, place: v2.Transform) -> None:
        data = load_digits()
        self.images, self.labels = data.images[part].astype("float32") / 16, data.target[part]
        self.transform = v2.Compose(
            [v2.ToImage(), v2.Resize((24, 24)), place, v2.Normalize([0.2], [0.3]), v2.ToPureTensor()]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        return self.transform(self.images[i]), int(self.labels[i])


class DigitsData(LightningDataModule):
    """Batches of digits on a canvas: in training anywhere, in validation at its centre.

    Args:
        size: Height and width of the canvas, at least 24.
    """

    def __init__(self, size: int = 32, batch_size: int = 64) -> None:
        super().__init__()
        self.size, self.batch_size = size, batch_size

    def train_dataloader(self) -> DataLoader:
        anywhere = v2.RandomCrop(self.size, padding=self.size - 24)
        return DataLoader(Digits(slice(0, 1347), anywhere), self.batch_size, shuffle=True)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(Digits(slice(1347, None), v2.CenterCrop(self.size)), self.batch_size)


class Classifier(LightningModule):
    """A small convolutional network.

    Args:
        width: Channels of the first layer; the following have twice and four times as many.
    """

    def __init__(self, width: int = 24, learning_rate: float = 3e-3) -> None:
        super().__init__()
        self.learning_rate = learning_rate

        def block(before: int, after: int, stride: int) -> nn.Sequential:
            return nn.Sequential(
                nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU()
            )

        self.features = nn.Sequential(
            block(1, width, 2), block(width, 2 * width, 1), block(2 * width, 4 * width, 2)
        )
        self.head = nn.Linear(4 * width, 10)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))

    def training_step(self, batch: list[Tensor]) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch: list[Tensor]) -> None:
        images, labels = batch
        self.log("val_accuracy", (self(images).argmax(dim=1) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)


if __name__ == "__main__":
    LightningCLI(Classifier, DigitsData)
