"""Waterbirds with the birds' masks: how well the worst group is told, beside what the monitor says of birds and backgrounds.

    python examples/waterbirds.py ROOT --masks SEGMENTATIONS
    python examples/waterbirds.py ROOT --weights none --size 112       # without masks, and without a download

ROOT is the folder waterbird_complete95_forest2water2, with metadata.csv, of https://github.com/kohpangwei/group_DRO.
SEGMENTATIONS is the folder segmentations of CUB-200-2011, https://www.vision.caltech.edu/datasets/cub_200_2011/, from which the
birds were cut: <class>/<image>.png, 255 where all annotators saw the bird.

In training 95 % of the birds are on the background where they belong, in the test half of them. Validation is here as most projects
have it, on a fifth of the training images: accuracy is high there, whatever the model reads. Waterbirds' own validation images, of
which half are where they belong, would be no test of the background: that of a waterbird is as often land as water.
"""

import argparse
import csv
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from pytorch_lightning import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, random_split
from torchvision.transforms import v2

from lightning_cam import CAMMonitor, Inputs

OTHERS = ("googlenet", "inception", "squeezenet")  # two scores in training; no linear layer at the end
MODELS = [name for name in torchvision.models.list_models(torchvision.models) if not name.startswith(OTHERS)]
SPLITS = {"train": "0", "test": "2"}
PLACES = ("land", "water")
MEANT = {
    "ROOT": "the folder waterbird_complete95_forest2water2, which holds metadata.csv and the images",
    "--masks": "the folder segmentations of CUB-200-2011, which holds <class>/<image>.png",
    "--checkpoint": "a state dict of the torchvision model",
}


class Waterbirds(Dataset):
    """Items ``(image, label, mask)``, or ``(image, label)`` where there are no masks.

    Args:
        root: Holds metadata.csv with the columns img_filename, y, split and place, and the images.
        masks: Holds a PNG for each image.
    """

    classes = ("landbird", "waterbird")

    def __init__(self, root: Path, split: str, masks: Path | None, size: int) -> None:
        with existing("ROOT", root / "metadata.csv").open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["split"] == SPLITS[split]]
        self.images = [existing("ROOT", root / row["img_filename"]) for row in rows]
        self.masks = masks and [
            existing("--masks", (masks / row["img_filename"]).with_suffix(".png")) for row in rows
        ]
        self.labels, self.places = (
            torch.tensor([int(row[column]) for row in rows]) for column in ("y", "place")
        )
        self.resize = v2.Compose(
            [v2.Resize((size, size)), v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.ToPureTensor()]
        )
        self.transform = v2.Compose([self.resize, v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, ...]:
        image = self.transform(Image.open(self.images[i]).convert("RGB"))
        if not self.masks:
            return image, self.labels[i]
        mask = (
            self.resize(Image.open(self.masks[i]).convert("L"))[0] > 0.5
        )  # most annotators saw the bird there
        return image, self.labels[i], mask


def existing(argument: str, path: Path) -> Path:
    if not path.exists():
        raise SystemExit(f"{argument}: no file {str(path)!r}; give {MEANT[argument]}.")
    return path


class Classifier(LightningModule):
    """A torchvision classifier with a new last layer."""

    def __init__(self, model: nn.Module, learning_rate: float) -> None:
        super().__init__()
        self.model, self.learning_rate = model, learning_rate
        name, last = [
            (name, module) for name, module in model.named_modules() if isinstance(module, nn.Linear)
        ][-1]
        model.set_submodule(name, nn.Linear(last.in_features, len(Waterbirds.classes)))

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        images, labels = batch[:2]
        return F.cross_entropy(self(images), labels)

    def validation_step(self, batch: list[Tensor]) -> None:
        images, labels = batch[:2]
        self.log("val_accuracy", (self(images).argmax(dim=1) == labels).float().mean(), prog_bar=True)

    def predict_step(self, batch: list[Tensor]) -> Tensor:
        return self(batch[0]).argmax(dim=1).cpu()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=self.learning_rate)


def pretrained(name: str, weights: str, checkpoint: Path | None) -> nn.Module:
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
        model.load_state_dict(
            torch.load(existing("--checkpoint", checkpoint), map_location="cpu", weights_only=True)
        )
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("root", type=Path, metavar="ROOT")
    parser.add_argument("--masks", type=Path, metavar="SEGMENTATIONS")
    parser.add_argument(
        "--model", default="resnet18", choices=MODELS, metavar="MODEL", help="a classifier of torchvision"
    )
    parser.add_argument(
        "--weights", default="DEFAULT", choices=["DEFAULT", "none"], help="torchvision's, or random ones"
    )
    parser.add_argument("--checkpoint", type=Path, help="a state dict of the model, instead of --weights")
    parser.add_argument("--size", type=int, default=224, help="height and width of the images")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--logs", default=".", help="where lightning_logs goes")
    arguments = parser.parse_args()

    seed_everything(0)
    images, test = (Waterbirds(arguments.root, split, arguments.masks, arguments.size) for split in SPLITS)
    train, val = random_split(images, [0.8, 0.2])
    train_loader, val_loader, test_loader = (
        DataLoader(data, arguments.batch_size, shuffle=data is train, num_workers=arguments.workers)
        for data in (train, val, test)
    )
    module = Classifier(
        pretrained(arguments.model, arguments.weights, arguments.checkpoint), arguments.learning_rate
    )
    where = Inputs(masks=2 if arguments.masks else None)  # a batch is (image, label, mask)
    monitor = CAMMonitor(inputs=where, scalars=["default", "shortcut"])
    trainer = Trainer(
        max_epochs=arguments.epochs, callbacks=[monitor], devices=1, default_root_dir=arguments.logs
    )
    trainer.fit(module, train_loader, val_loader)
    told = dict(trainer.callback_metrics)  # the next loop forgets them

    batches: Any = trainer.predict(module, test_loader)
    right = (torch.cat(batches) == test.labels).float()
    groups = {
        f"{test.classes[label]} on {PLACES[place]}": right[(test.labels == label) & (test.places == place)]
        .mean()
        .item()
        for label, place in torch.stack([test.labels, test.places], dim=1).unique(dim=0).tolist()
    }
    print(
        f"\naccuracy {right.mean():.3f} on {len(test)} test images, {min(groups.values()):.3f} in the worst group"
    )
    for group, accuracy in groups.items():
        print(f"  {accuracy:.3f}  {group}")
    print(f"the monitor, after {len(monitor.history.looks)} looks at validation images:")
    if "cam/mass_inside" in told and monitor.probe is not None and monitor.probe.masks is not None:
        print(f"  {monitor.probe.masks.float().mean():.3f}  of these images is bird")
        print(f"  {told['cam/mass_inside']:.3f}  of the saliency is on the bird")
        lost = told.get("cam/shortcut/background")  # only where it was tested
        if lost is None:
            print("  the background was not tested, as other cues tell the label better, or none does")
        else:
            print(
                f"  {lost:.3f}  of accuracy is lost when the background comes from a bird of the other class"
            )
    for finding in monitor.findings:
        print(f"  {finding.level}: {finding.statement}")
    if not monitor.findings:
        print("  no findings, which is no proof")


if __name__ == "__main__":
    main()
