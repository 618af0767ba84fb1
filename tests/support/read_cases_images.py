"""Kinds 30 to 39: what stands between the batch and the network."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.transforms import v2

from support.read_case import Setup, case, plain
from support.read_data import (
    Figures,
    from_items,
    loader,
    named,
    training,
    validation,
)
from support.read_modules import WIDTH, Own, SmallNet, User, learnt, trained_net

MEAN = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
STD = torch.tensor([0.229, 0.224, 0.225])[:, None, None]


def prepared(module: User, change: Any, **changes: Any) -> Setup:
    """Batches of changed images, which the step changes back."""
    known, held = training(), validation()
    train = loader(change(known.images), known.labels, shuffle=True)
    return plain(module, train=train, val=loader(change(held.images), held.labels), **changes)


class WithoutNorm(nn.Module):
    """No batch norm, so that another scale of the images is another answer."""

    def __init__(self) -> None:
        super().__init__()
        layers = [layer for layer in SmallNet().features if not isinstance(layer, nn.BatchNorm2d)]
        self.features, self.head = nn.Sequential(*layers), nn.Linear(WIDTH, 4)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.features(images).amax(dim=(2, 3)))


class Normalizes(User):
    def __init__(self) -> None:
        super().__init__(WithoutNorm())

    def step(self, batch):
        images, labels = batch
        return super().step(((images - MEAN) / STD, labels))


@case(30, says=(r"normalizes batch\[0\]: mean 0\.485, 0\.456, 0\.406, standard deviation 0\.229",))
def normalized_in_the_step() -> Setup:
    known, held = training(), validation()
    train = loader(known.images, known.labels, shuffle=True)
    module = learnt(Normalizes, train, epochs=12)
    return plain(module, seen=(held.images - MEAN) / STD)


class Crops(User):
    def step(self, batch):
        images, labels = batch
        return super().step((v2.functional.center_crop(images, [32, 32]), labels))


def framed(images: Tensor) -> Tensor:
    """With a white border of eight pixels."""
    return nn.functional.pad(images, (8, 8, 8, 8), value=1.0)


@case(31, says=(r"computed from batch\[0\] \(48 x 48 -> 32 x 32\); those are shown",))
def cropped_in_the_step() -> Setup:
    return prepared(Crops(trained_net()), framed)


# --- averages of the weights


class OwnAverage(User):
    """The average starts from random weights and follows slowly: it is validated, and it is not ``forward``."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        torch.manual_seed(7)
        self.ema = SmallNet().requires_grad_(False)

    def follow(self) -> None:
        with torch.no_grad():
            for slow, fast in zip(self.ema.parameters(), self.net.parameters(), strict=True):
                slow.lerp_(fast, 0.001)

    def on_train_batch_end(self, *_: Any) -> None:
        self.follow()

    def validation_step(self, batch, batch_idx=0, dataloader_idx=0):
        images, labels = batch
        right = (self.ema(images).argmax(dim=1) == labels).float()
        self.log("val_accuracy", right.mean(), batch_size=1)
        self.judged.append(Own(right.mean(), right))


@case(32, network="ema", share=None, own=0.0, says=(r"no loss was seen: batch\[1\]",))
def average_in_the_step() -> Setup:
    return plain(OwnAverage(trained_net()))


class AverageByMode(OwnAverage):
    def forward(self, images):
        return self.net(images) if self.training else self.ema(images)

    validation_step = User.validation_step


class AverageSwappedIn(OwnAverage):
    """The average's weights are in the network while it is validated."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.ema = copy.deepcopy(self.ema)

    def swap(self) -> None:
        ours, theirs = copy.deepcopy(self.net.state_dict()), self.ema.state_dict()
        self.net.load_state_dict(copy.deepcopy(theirs))
        self.ema.load_state_dict(ours)

    def on_validation_epoch_start(self) -> None:
        self.swap()

    def on_validation_epoch_end(self) -> None:
        self.swap()

    validation_step = User.validation_step


@case(33, share=None, own=0.0)
def average_by_mode() -> Setup:
    return plain(AverageByMode(trained_net()))


@case(33, share=None, own=0.0)
def average_swapped_in() -> Setup:
    return plain(AverageSwappedIn(trained_net()))


# --- other types and orders


def as_bytes(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)


def from_bytes(images: Tensor) -> Tensor:
    return (images.float() / 255 - 0.2) / 0.2


class ConvertsBytes(User):
    def step(self, batch):
        return super().step((from_bytes(batch[0]), batch[1]))


def learnt_from_bytes(make: type[User]) -> User:
    known = training()
    return learnt(make, loader(as_bytes(known.images), known.labels, shuffle=True))


def seen_bytes() -> Tensor:
    return from_bytes(as_bytes(validation().images))


@case(34, says=(r"normalizes batch\[0\]: mean 51, 51, 51, standard deviation 51, 51, 51",))
def bytes_converted_in_the_step() -> Setup:
    return prepared(learnt_from_bytes(ConvertsBytes), as_bytes, seen=seen_bytes())


class ConvertsDoubles(User):
    def step(self, batch):
        return super().step((batch[0].float(), batch[1]))


@case(35)
def doubles_converted_in_the_step() -> Setup:
    return prepared(ConvertsDoubles(trained_net()), Tensor.double)


class MovesChannels(User):
    def step(self, batch):
        return super().step((batch[0].permute(0, 3, 1, 2), batch[1]))


@case(36)
def channels_last_in_the_batch() -> Setup:
    return prepared(MovesChannels(trained_net()), lambda images: images.permute(0, 2, 3, 1).contiguous())


class BytesInForward(User):
    def __init__(self) -> None:
        super().__init__()
        self.prepare = v2.Compose([v2.ToDtype(torch.float32, scale=True), v2.Normalize([0.2] * 3, [0.2] * 3)])

    def forward(self, images):
        return self.net(self.prepare(images))


@case(37)
def bytes_through_forward() -> Setup:
    return prepared(learnt_from_bytes(BytesInForward), as_bytes, seen=as_bytes(validation().images))


class AfterTransfer(User):
    def on_after_batch_transfer(self, batch, dataloader_idx):
        return from_bytes(batch[0]), batch[1]


@case(38)
def normalized_after_the_transfer() -> Setup:
    return prepared(learnt_from_bytes(AfterTransfer), as_bytes, seen=seen_bytes())


class Satellite(User):
    """Thirteen bands of large numbers."""

    def __init__(self) -> None:
        super().__init__(SmallNet(channels=13))

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return {"image": (batch["image"] - 500) / 800, "label": batch["label"]}

    def step(self, batch):
        return super().step((batch["image"], batch["label"]))


def bands(known: Figures) -> Tensor:
    return 3000 * known.images[:, torch.arange(13) % 3]


@case(39, label=r"batch\[.label.\]")
def thirteen_bands() -> Setup:
    known, held = training(), validation()
    train = from_items(named(image=bands(known), label=known.labels), shuffle=True)
    val = from_items(named(image=bands(held), label=held.labels))
    return plain(learnt(Satellite, train), train=train, val=val, seen=(bands(held) - 500) / 800)
