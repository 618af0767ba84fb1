"""Kinds 40 to 43: several crops of an image, and what a data set says of itself."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from lightning_cam import CAMMonitor, Inputs
from support.read_case import Setup, case, plain
from support.read_data import NAMES, Items, from_items, loader, training, validation, with_names
from support.read_modules import SmallNet, User, classified, learnt, trained_net

# --- several crops of an image


class FiveCrops(User):
    def step(self, batch):
        images, labels = batch
        if images.ndim == 4:
            return super().step(batch)
        scores = self(images.flatten(0, 1)).unflatten(0, (-1, 5)).mean(dim=1)
        return classified(scores, labels)


def five(images: Tensor) -> Tensor:
    padded = nn.functional.pad(images, (2, 2, 2, 2))
    return torch.stack(v2.functional.five_crop(padded, [32, 32]), dim=1)


def five_crops(**changes: Any) -> Setup:
    held = validation()
    return plain(FiveCrops(trained_net()), val=loader(five(held.images), held.labels), **changes)


def the_middle_crop() -> Setup:
    held = validation()
    return five_crops(own=lambda module: classified(module(held.images), held.labels))


@case(40, says=(r"images=",), remedied=the_middle_crop,
      remedy=lambda told: {"inputs": Inputs(images=lambda batch: batch[0][:, 4])})  # fmt: skip
def five_crops_of_each_image() -> Setup:
    return five_crops()


# --- what a data set says of itself


class Noise:
    """It has a mean and a standard deviation, and does not normalize."""

    def __init__(self, mean: float, std: float) -> None:
        self.mean, self.std = mean, std

    def __call__(self, image: Tensor) -> Tensor:
        return (image + self.mean + self.std * torch.randn_like(image)).clamp(0, 1)


def is_shown_as_bright_as_it_is(monitor: CAMMonitor, setup: Setup, folder: Path) -> None:
    """The first image in the picture, whose figure is nearly white."""
    (picture,) = folder.rglob("cam/overlay/*.jpg")
    with Image.open(picture) as opened:
        first = opened.convert("L").crop((20, 70, 140, 190))
    assert first.getextrema()[1] > 0.75 * 255
    assert first.resize((1, 1), Image.Resampling.BOX).getpixel((0, 0)) < 0.5 * 255  # the noise is darker


@case(41, also=is_shown_as_bright_as_it_is)
def noise_among_the_transforms() -> Setup:
    held = validation()
    steps = v2.Compose([Noise(0.0, 0.1)])
    noisy = [steps(image) for image in held.images]
    items = Items(len(noisy), lambda i: (noisy[i], int(held.labels[i])), transform=steps)
    return plain(User(trained_net()), val=from_items(items), seen=torch.stack(noisy))


class TwoGroups(User):
    def __init__(self) -> None:
        super().__init__(SmallNet(out=2))


@case(42, names=None, says=(r"class_names|class names|classes",))
def target_transform_makes_other_classes() -> Setup:
    known, held = training(), validation()

    def late(labels):
        return (labels > 1).long()

    train = loader(known.images, late(known.labels), shuffle=True)
    items = with_names(held.images, late(held.labels), NAMES[:4], target_transform=late)
    module = learnt(TwoGroups, train)
    return plain(module, train=train, val=from_items(items), labels=late(held.labels))


@case(43, names=("tench", "goldfish", "cock", "hen"))
def class_names_with_synonyms() -> Setup:
    held = validation()
    names = [("tench", "Tinca tinca"), ("goldfish", "Carassius auratus"), ("cock",), ("hen", "biddy")]
    return plain(User(trained_net()), val=from_items(with_names(held.images, held.labels, names)))
