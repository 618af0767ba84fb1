"""Two public datasets with object masks, read from disk: Waterbirds and Oxford-IIIT Pet. Nothing is downloaded but weights.

    python -m research.shortcuts.natural waterbirds ROOT --masks SEGMENTATIONS --epochs 3  # ROOT holds metadata.csv
    python -m research.shortcuts.natural pets ROOT --target breed                          # ROOT holds oxford-iiit-pet/

Fine-tunes a torchvision classifier under a CAMMonitor, and prints the accuracy in each group and what the monitor found.
"""

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from pytorch_lightning import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import tv_tensors
from torchvision.transforms import v2

from lightning_cam import CAMMonitor
from lightning_cam.checks import IMAGENET

WATERBIRDS = "the folder 'waterbird_complete95_forest2water2' of Waterbirds, see https://github.com/kohpangwei/group_DRO"
SEGMENTATIONS = (
    "the folder 'segmentations' of CUB-200-2011, see https://www.vision.caltech.edu/datasets/cub_200_2011/"
)
PETS = "the folder in which 'oxford-iiit-pet' has 'images' and 'annotations' of https://www.robots.ox.ac.uk/~vgg/data/pets/"
SPLITS = ("train", "val", "test")


class Pictures(Dataset):
    """Items ``(image (3, size, size), label, mask (size, size))``, the image normalized; without the mask where there are none."""

    classes: tuple[str, ...]
    place_names: tuple[str, ...] = ("any place",)

    def __init__(
        self, images: Sequence[Path], labels: Sequence[int], masks: Sequence[Path] | None, size: int
    ) -> None:
        self.images, self.labels, self.masks = images, torch.tensor(labels), masks
        self.places = torch.zeros_like(self.labels)
        self.resize = v2.Resize((size, size))
        self.transform = v2.Compose(
            [v2.ToDtype(torch.float32, scale=True), v2.Normalize(*IMAGENET), v2.ToPureTensor()]
        )

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, i: int) -> tuple[Tensor, int] | tuple[Tensor, int, Tensor]:
        image, label = tv_tensors.Image(Image.open(self.images[i]).convert("RGB")), int(self.labels[i])
        if self.masks is None:
            return self.transform(self.resize(image)), label
        mask = tv_tensors.Image(self.object_in(self.masks[i]))
        (height, width), (mask_height, mask_width) = image.shape[1:], mask.shape[1:]
        if abs(width * mask_height / (height * mask_width) - 1) > 0.02:  # more than rounding leaves
            sizes = (
                f"{self.masks[i]} has {mask_width} x {mask_height} pixels and its image {width} x {height}"
            )
            raise ValueError(f"masks: {sizes}; give both in the same proportions.")
        # The mask too is resized as an image: as a tv_tensors.Mask it would take the nearest pixel, up to half a pixel off.
        image, mask = self.resize(image, mask)
        return self.transform(image), label, mask[0] > 127

    def object_in(self, mask: Path) -> Image.Image:
        """The object in grey, 255 where it is."""
        raise NotImplementedError


class Waterbirds(Pictures):
    """Birds of land and water, pasted onto land and water; in training, 95 % of them where they belong.

    The images have the size of those in CUB-200-2011 that the birds were cut from, so CUB's masks fit them.

    Args:
        root: The folder with metadata.csv.
        split: "train", "val" or "test".
        masks: CUB's segmentations; a pixel is the bird's where most annotators say so.

    Source: Sagawa et al., Distributionally Robust Neural Networks, ICLR 2020. https://arxiv.org/abs/1911.08731
    """

    classes = ("landbird", "waterbird")
    place_names = ("land", "water")

    def __init__(
        self, root: Path | str, split: str, masks: Path | str | None = None, size: int = 224
    ) -> None:
        one_of("split", split, SPLITS)
        with existing("root", [Path(root, "metadata.csv")], WATERBIRDS)[0].open(newline="") as file:
            rows = [row for row in csv.DictReader(file) if int(row["split"]) == SPLITS.index(split)]
        images = existing("root", [Path(root, row["img_filename"]) for row in rows], WATERBIRDS)
        if masks is not None:
            segmentations = [Path(masks, row["img_filename"]).with_suffix(".png") for row in rows]
            existing("masks", [Path(masks), *segmentations], SEGMENTATIONS)
        super().__init__(
            images, [int(row["y"]) for row in rows], None if masks is None else segmentations, size
        )
        self.places = torch.tensor([int(row["place"]) for row in rows])

    def object_in(self, mask: Path) -> Image.Image:
        return Image.open(mask).convert("L")


class Pets(Pictures):
    """Cats and dogs of 37 breeds; a mask holds the animal and the border that annotators left undecided.

    Args:
        root: The folder with oxford-iiit-pet, as torchvision has it.
        split: "trainval" or "test".
        target: "species", cat or dog; or "breed".

    Source: Parkhi et al., Cats and Dogs, CVPR 2012. https://www.robots.ox.ac.uk/~vgg/data/pets/
    """

    def __init__(self, root: Path | str, split: str, target: str = "species", size: int = 224) -> None:
        one_of("split", split, ("trainval", "test"))
        one_of("target", target, ("species", "breed"))
        folder = Path(root, "oxford-iiit-pet")
        lines = existing("root", [folder / "annotations" / f"{split}.txt"], PETS)[0].read_text().splitlines()
        rows = [line.split() for line in lines]
        images = existing("root", [folder / "images" / f"{row[0]}.jpg" for row in rows], PETS)
        masks = existing("root", [folder / "annotations" / "trimaps" / f"{row[0]}.png" for row in rows], PETS)
        super().__init__(images, [int(row[1 if target == "breed" else 2]) - 1 for row in rows], masks, size)
        breeds = {int(row[1]): row[0].rpartition("_")[0].replace("_", " ").title() for row in rows}
        self.classes = ("Cat", "Dog") if target == "species" else tuple(breeds[i] for i in sorted(breeds))

    def object_in(self, mask: Path) -> Image.Image:
        return Image.fromarray(np.where(np.asarray(Image.open(mask)) == 2, 0, 255).astype(np.uint8))


def one_of(argument: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        raise ValueError(f"{argument}: got {value!r}; give one of {', '.join(map(repr, known))}.")


def existing(argument: str, paths: list[Path], remedy: str) -> list[Path]:
    """The paths, all of which exist."""
    for path in paths:
        if not path.exists():
            raise ValueError(f"{argument}: no {str(path)!r}; give {remedy}.")
    return paths


def group_accuracy(predicted: Tensor, labels: Tensor, places: Tensor) -> dict[tuple[int, int], float]:
    """Accuracy in each group (label, place) that has images; the worst-group accuracy is the least of them."""
    groups = torch.stack([labels, places], dim=1)
    correct = (predicted == labels).double()
    return {
        (y, place): correct[(labels == y) & (places == place)].mean().item()
        for y, place in groups.unique(dim=0).tolist()
    }


class FineTuned(LightningModule):
    """A torchvision classifier with a new last layer; ``weights`` is "DEFAULT", "none" or the path of a state dict."""

    def __init__(self, model: str, weights: str, classes: int) -> None:
        super().__init__()
        self.model = torchvision.models.get_model(model, weights="DEFAULT" if weights == "DEFAULT" else None)
        if weights not in ("DEFAULT", "none"):
            self.model.load_state_dict(torch.load(weights, weights_only=True))
        name, last = [
            (name, module) for name, module in self.model.named_modules() if isinstance(module, nn.Linear)
        ][-1]
        self.model.set_submodule(name, nn.Linear(last.in_features, classes))

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images)

    def training_step(self, batch: list[Tensor]) -> Tensor:
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch: list[Tensor]) -> None:
        self.log("val_accuracy", (self(batch[0]).argmax(dim=1) == batch[1]).float().mean(), prog_bar=True)

    def predict_step(self, batch: list[Tensor]) -> Tensor:
        return self(batch[0]).argmax(dim=1).cpu()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW(self.parameters(), lr=1e-4)


def main(command: Sequence[str] | None = None) -> CAMMonitor:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", choices=["waterbirds", "pets"])
    parser.add_argument("root")
    parser.add_argument("--masks", help="CUB's segmentations, for waterbirds; pets bring theirs along")
    parser.add_argument("--target", choices=["species", "breed"], default="species", help="of pets")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--model", default="resnet18", help="a torchvision classifier")
    parser.add_argument(
        "--weights",
        default="DEFAULT",
        help="DEFAULT (torchvision may download them), none, or a state dict's path",
    )
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--limit", type=int, help="images of each split, chosen at random")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--logs", default=".", help="where lightning_logs goes")
    arguments = parser.parse_args(command)

    seed_everything(arguments.seed)
    sets: list[Waterbirds] | list[Pets]
    if arguments.data == "waterbirds":
        sets = [Waterbirds(arguments.root, split, arguments.masks, arguments.size) for split in SPLITS]
    else:
        sets = [
            Pets(arguments.root, split, arguments.target, arguments.size)
            for split in ("trainval", "test", "test")
        ]
    # In random order also without a limit: the files are sorted by class, and the sanity check sees the first batches only.
    chosen = [torch.randperm(len(data))[: arguments.limit] for data in sets]
    train, val, test = (
        DataLoader(
            Subset(data, rows.tolist()), batch_size=64, shuffle=data is sets[0], num_workers=arguments.workers
        )
        for data, rows in zip(sets, chosen, strict=True)
    )
    data, rows = sets[-1], chosen[-1]
    module, monitor = FineTuned(arguments.model, arguments.weights, len(data.classes)), CAMMonitor()
    trainer = Trainer(
        max_epochs=arguments.epochs, devices=1, callbacks=[monitor], default_root_dir=arguments.logs
    )
    trainer.fit(module, train, val)

    batches: Any = trainer.predict(module, test)
    predicted, labels = torch.cat(batches), data.labels[rows]
    groups = group_accuracy(predicted, labels, data.places[rows])
    accuracy = (predicted == labels).double().mean().item()
    print(
        f"\naccuracy {accuracy:.3f} on {len(rows)} test images, {min(groups.values()):.3f} in the worst group"
    )
    for (label, place), value in groups.items():
        print(f"  {value:.3f} {data.classes[label]}, {data.place_names[place]}")
    if monitor.probe is not None and monitor.probe.masks is not None:
        print(
            f"the object covers {monitor.probe.masks.double().mean():.3f} of the probe's {len(monitor.probe)} images"
        )
    for look in monitor.history.looks[-1:]:
        print("last look: " + ", ".join(f"{name} {mean:.3f}" for name, mean in look.means.items()))
    print("findings: " + ("; ".join(map(str, getattr(monitor, "findings", ()))) or "none"))
    return monitor


if __name__ == "__main__":
    main()
