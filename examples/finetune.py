"""Fine-tune a torchvision classifier on a folder of images, and see where it looks: first with a frozen backbone, then all of it.

    python examples/finetune.py FOLDER                              # FOLDER/train/<class>/*, FOLDER/val/<class>/*
    python examples/finetune.py FOLDER --model convnext_tiny --epochs 10
    python examples/finetune.py FOLDER --checkpoint resnet18.pth    # where torchvision cannot fetch its weights

Runs on all GPUs that are there, else on the CPU.
"""

import argparse
from pathlib import Path

import torch
import torch.nn.functional as F
import torchvision
from pytorch_lightning import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset
from torchvision.datasets import ImageFolder
from torchvision.transforms import v2

from lightning_cam import CAMMonitor

OTHERS = ("googlenet", "inception", "squeezenet")  # two scores in training; no linear layer at the end
MODELS = [name for name in torchvision.models.list_models(torchvision.models) if not name.startswith(OTHERS)]


class FineTuned(LightningModule):
    """A backbone and a new last layer."""

    def __init__(self, backbone: nn.Module, features: int, classes: int) -> None:
        super().__init__()
        self.backbone, self.head = backbone, nn.Linear(features, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.backbone(images))

    def training_step(self, batch: list[Tensor]) -> Tensor:
        images, labels = batch
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch: list[Tensor]) -> None:
        images, labels = batch
        accuracy = (self(images).argmax(dim=1) == labels).float().mean()
        self.log("val_accuracy", accuracy, prog_bar=True, sync_dist=True)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        groups = [
            {"params": self.backbone.parameters(), "lr": 1e-4},
            {"params": self.head.parameters(), "lr": 1e-3},
        ]
        return torch.optim.AdamW(groups)  # leaves out what is frozen: it has no gradient


def backbone_of(name: str, weights: str, checkpoint: Path | None) -> tuple[nn.Module, int]:
    """A torchvision classifier without its last layer, and how many features it yields."""
    try:
        model = torchvision.models.get_model(
            name, weights=None if checkpoint or weights == "none" else weights
        )
    except OSError as error:
        raise SystemExit(
            f"--weights: torchvision could not fetch those of {name!r} ({error}); fetch them where there is a network and give "
            "them with --checkpoint FILE, or start from random weights with --weights none."
        ) from None
    if checkpoint:
        if not checkpoint.is_file():
            raise SystemExit(
                f"--checkpoint: no file {str(checkpoint)!r}; give a state dict of torchvision's {name!r}."
            )
        model.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
    last = [layer for layer, module in model.named_modules() if isinstance(module, nn.Linear)][-1]
    features = model.get_submodule(last).in_features
    model.set_submodule(last, nn.Identity())
    return model, features


def images_in(folder: Path, transform: object) -> ImageFolder:
    try:
        return ImageFolder(folder, transform)
    except FileNotFoundError as error:
        raise SystemExit(
            f"FOLDER: {error}; give a folder that holds train/<class>/* and val/<class>/*."
        ) from None


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, help="holds train/<class>/* and val/<class>/*")
    parser.add_argument(
        "--model", default="resnet18", choices=MODELS, metavar="MODEL", help="a classifier of torchvision"
    )
    parser.add_argument(
        "--weights",
        default="DEFAULT",
        choices=["DEFAULT", "none"],
        help="torchvision's, or random ones, for which --frozen-epochs 0 makes sense",
    )
    parser.add_argument("--checkpoint", type=Path, help="a state dict of the model, instead of --weights")
    parser.add_argument(
        "--frozen-epochs", type=int, default=2, help="in which the new last layer alone learns"
    )
    parser.add_argument("--epochs", type=int, default=3, help="in which everything learns, thereafter")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--root", default=".", help="where lightning_logs goes")
    arguments = parser.parse_args()

    seed_everything(0)
    transform = torchvision.models.get_model_weights(arguments.model).DEFAULT.transforms()
    train = images_in(arguments.folder / "train", v2.Compose([v2.RandomHorizontalFlip(), transform]))
    val = images_in(arguments.folder / "val", transform)
    if train.classes != val.classes:
        raise SystemExit(
            f"FOLDER: train has the classes {train.classes} and val {val.classes}; give both the same."
        )
    mixed = Subset(
        val, torch.randperm(len(val)).tolist()
    )  # an ImageFolder is sorted: the sanity check would see one class alone
    train_loader, val_loader = (
        DataLoader(data, arguments.batch_size, shuffle=data is train, num_workers=arguments.workers)
        for data in (train, mixed)
    )
    module = FineTuned(
        *backbone_of(arguments.model, arguments.weights, arguments.checkpoint), len(train.classes)
    )

    trainer = Trainer(
        max_epochs=arguments.frozen_epochs,
        callbacks=[CAMMonitor()],
        default_root_dir=arguments.root,
        log_every_n_steps=10,
    )
    # Two fits of one trainer: Lightning's BackboneFinetuning unfreezes where several GPUs do not notice (its issue 20340).
    module.backbone.eval().requires_grad_(False)
    trainer.fit(module, train_loader, val_loader)
    module.backbone.train().requires_grad_(True)
    trainer.fit_loop.max_epochs += arguments.epochs
    trainer.fit(module, train_loader, val_loader)
    # CAMMonitor has printed the command that shows its pictures: tensorboard --logdir ... --samples_per_plugin images=1000


if __name__ == "__main__":
    main()
