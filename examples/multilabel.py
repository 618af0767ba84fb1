"""Several labels per image: composed photographs that show two or three of five things, and a mark that goes with one of them.

    python examples/multilabel.py            # where there is a tree, there is a mark in the corner, in training and validation
    python examples/multilabel.py --clean    # no mark

The monitor tests each label against the rest, and warns of the mark by label and place: "The bottom-right corner: ... whether 'tree' is
there ...". Each picture ``cam/overlay`` has a map for each label that is present, with the sigmoid's percentage. At the end stands a table, one row
a label: accuracy with the mark as in training (aligned), without it (removed) and with the mark where there is no tree (swapped), beside
the share of the label's own map on the thing itself and in the marked corner. The photographs are those of scikit-learn and matplotlib.
"""

import argparse
import itertools
import math

import matplotlib.cbook
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from pytorch_lightning import LightningModule, Trainer, seed_everything
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from sklearn.datasets import load_sample_image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchvision.transforms import v2

from lightning_cam import CAMMonitor, explain

SIZE = 128  # pixels, height and width
MARK = slice(SIZE - 20, SIZE - 4)  # rows and columns of the mark, at the bottom right
CORNER = slice(SIZE - 32, SIZE)  # as the monitor has it: a cell of 4 x 4
# Where each thing is, and where there is none of them: photograph, then left, top, right, bottom.
THINGS = {
    "flower": ("flower.jpg", (168, 82, 448, 362)),
    "pagoda": ("china.jpg", (70, 50, 340, 320)),
    "face": ("grace_hopper.jpg", (150, 90, 375, 315)),
    "flag": ("grace_hopper.jpg", (0, 0, 145, 145)),
    "tree": ("china.jpg", (340, 277, 640, 427)),
}
BACKGROUNDS = (
    ("flower.jpg", (0, 0, 160, 427)),
    ("flower.jpg", (455, 0, 640, 350)),
    ("china.jpg", (335, 0, 540, 265)),
    ("grace_hopper.jpg", (385, 0, 512, 240)),
)
LABELS = tuple(THINGS)
TREE = LABELS.index("tree")


def photographs() -> dict[str, Image.Image]:
    """The three photographs from which everything is cut."""
    hopper = matplotlib.cbook.get_sample_data("grace_hopper.jpg", asfileobj=False)
    samples = {name: Image.fromarray(load_sample_image(name)) for name in ("flower.jpg", "china.jpg")}
    return {**samples, "grace_hopper.jpg": Image.open(str(hopper)).convert("RGB")}


def overlap(places: list[tuple[int, int]], widths: list[int]) -> bool:
    """Whether any two discs do, of which the left and top are given, and the widths."""
    discs = [(x + width / 2, y + width / 2, width / 2) for (x, y), width in zip(places, widths, strict=True)]
    pairs = itertools.combinations(discs, 2)
    return any(math.dist(one[:2], other[:2]) < one[2] + other[2] for one, other in pairs)


def composed(count: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (count, 3, 128, 128) uint8 of two or three things at any place, and of each pixel (count, 128, 128)
    what it shows: 0 the background, 1 the first of ``LABELS``.
    """
    chance = torch.Generator().manual_seed(seed)

    def whole(low: int, high: int) -> int:
        return int(torch.randint(low, high + 1, (), generator=chance))

    source, images, masks = photographs(), [], []
    for _ in range(count):
        name, (left, top, right, bottom) = BACKGROUNDS[whole(0, len(BACKGROUNDS) - 1)]
        side = whole(90, min(right - left, bottom - top))
        x, y = whole(left, right - side), whole(top, bottom - side)
        canvas = source[name].resize((SIZE, SIZE), box=(x, y, x + side, y + side))
        mask = Image.new("L", (SIZE, SIZE))
        present = torch.randperm(len(LABELS), generator=chance)[: whole(2, 3)].tolist()
        widths = [whole(34, 54) for _ in present]
        places = [(0, 0)] * len(present)
        while overlap(places, widths):
            places = [(whole(0, SIZE - width), whole(0, SIZE - width)) for width in widths]
        for label, place, width in zip(present, places, widths, strict=True):
            name, (left, top, right, bottom) = THINGS[LABELS[label]]
            side = min(right - left, bottom - top)
            x = whole(left, right - side)  # what is wider than high is seen in part
            thing = source[name].resize((width, width), box=(x, top, x + side, top + side))
            shape = Image.new("L", (width, width))
            ImageDraw.Draw(shape).ellipse((0, 0, width - 1, width - 1), fill=255)
            seen = shape.point(lambda whole: whole // 2) if label == TREE else shape  # trees are in the mist
            canvas.paste(thing, place, seen)
            mask.paste(label + 1, place, shape)
        images.append(v2.functional.pil_to_tensor(canvas))
        masks.append(v2.functional.pil_to_tensor(mask)[0])
    light = 0.6 + 0.6 * torch.rand(count, 3, 1, 1, generator=chance)  # of any colour and brightness
    return (torch.stack(images) * light).clamp(0, 255).to(torch.uint8), torch.stack(masks).long()


def labels_of(masks: Tensor) -> Tensor:
    """Zeros and ones (n, 5): what the masks (n, 128, 128) show somewhere."""
    return torch.stack([(masks == i + 1).flatten(1).any(dim=1) for i in range(len(LABELS))], dim=1).float()


def marked(images: Tensor, where: Tensor) -> Tensor:
    """The images (n, 3, 128, 128), with a yellow mark in the corner of those where ``where`` (n,) is 1."""
    with_mark = images.clone()
    with_mark[:, :, MARK, MARK] = torch.tensor([250, 210, 30], dtype=images.dtype)[:, None, None]
    return torch.where(where.bool()[:, None, None, None], with_mark, images)


class Composites(TensorDataset):
    """Items of an image, normalized, and its truth, whatever that is."""

    transform = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.5] * 3, [0.25] * 3)])

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image, truth = super().__getitem__(index)
        return self.transform(image), truth


def block(before: int, after: int, stride: int = 1) -> nn.Sequential:
    """A convolution, 3 x 3."""
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU(inplace=True)
    )


def slowing(module: LightningModule, learning_rate: float) -> OptimizerLRSchedulerConfig:
    """An optimizer whose steps become smaller, down to none in the last epoch."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=learning_rate)
    slower = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, module.trainer.max_epochs or 1)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": slower}}


class Tagger(LightningModule):
    """A small convolutional network with one logit a label."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(block(3, 16, 2), block(16, 32, 2), block(32, 64, 2), block(64, 96))
        self.head = nn.Linear(96, len(LABELS))

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).mean(dim=(2, 3)))

    def training_step(self, batch: list[Tensor]) -> Tensor:
        images, labels = batch
        return F.binary_cross_entropy_with_logits(self(images), labels)

    def validation_step(self, batch: list[Tensor]) -> None:
        images, labels = batch
        scores = self(images)
        self.log("val_loss", F.binary_cross_entropy_with_logits(scores, labels))
        self.log("val_accuracy", ((scores > 0) == labels).float().mean(), prog_bar=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        return slowing(self, 3e-3)


def table(model: Tagger, images: Tensor, masks: Tensor, planted: Tensor) -> list[str]:
    """One row a label, of validation images without a mark."""
    labels = labels_of(masks)
    trees = labels[:, TREE]
    sets = {"aligned": trees, "removed": torch.zeros(len(trees)), "swapped": 1 - trees}
    right = {}
    with torch.no_grad():
        for name, where in sets.items():
            scores = model(Composites.transform(marked(images, where)))
            right[name] = ((scores > 0) == labels).float().mean(dim=0)
    rows = ["label    aligned   removed    swapped      on itself   in the corner"]
    shown = Composites.transform(marked(images, planted))
    for i, label in enumerate(LABELS):
        present = labels[:, i] == 1
        found = explain(model, shown[present], target=i, task="multilabel")
        saliency = found.saliency / found.saliency.sum(dim=(1, 2), keepdim=True).clamp(min=1e-6)
        itself = (saliency * (masks[present] == i + 1)).sum(dim=(1, 2)).mean()
        corner = saliency[:, CORNER, CORNER].sum(dim=(1, 2)).mean()
        accuracies = f"{right['aligned'][i]:7.3f}   {right['removed'][i]:7.3f}   {right['swapped'][i]:8.3f}"
        rows.append(f"{label:8s} {accuracies}   {itself:12.3f}   {corner:13.3f}")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clean", action="store_true", help="plant no mark")
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
        labels = labels_of(masks)
        planted = torch.zeros(count) if arguments.clean else labels[:, TREE]
        data = Composites(marked(images, planted), labels)
        loaders.append(DataLoader(data, batch_size=32, shuffle=seed == 1))
    model, monitor = Tagger(), CAMMonitor(class_names=LABELS)
    trainer = Trainer(
        max_epochs=arguments.epochs,
        callbacks=[monitor],
        default_root_dir=arguments.root,
        log_every_n_steps=10,
    )
    trainer.fit(model, loaders[0], loaders[1])

    print(f"\nThe monitor {monitor.reading}")  # the images and masks are those of validation
    print("\n         accuracy with the mark          share of the label's map")
    print("\n".join(table(model.eval(), images, masks, planted)))


if __name__ == "__main__":
    main()
