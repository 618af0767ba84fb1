"""Kinds 48 to 51: a head for masks, a teacher, and a squeezed output."""

import re
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_cam.attribution.targets import region
from support.read_case import Setup, case, paired, plain
from support.read_data import from_items, loader, named, training, validation
from support.read_modules import WIDTH, Own, SmallNet, User, classified, learnt, trained_net


def layer_named(told: str) -> dict[str, Any]:
    """The layer that the message says to name."""
    found = re.search(r"target_layer=\[?'([\w.]+)'", told)
    assert found, f"no layer is named: {told}"
    return {"target_layer": found.group(1)}


class MaskAndClass(User):
    """A U-Net with a head for the class; the mask comes first."""

    def __init__(self) -> None:
        super().__init__()
        self.up = nn.Sequential(
            nn.ConvTranspose2d(WIDTH, 16, 4, 4), nn.ReLU(), nn.Conv2d(16, 16, 3, padding=1)
        )
        self.mask = nn.Conv2d(16, 1, 3, padding=1)

    def forward(self, images):
        maps = self.net.features(images)
        return self.mask(self.up(maps).relu()), self.net.head(maps.amax(dim=(2, 3)))

    def step(self, batch):
        images, masks, labels = batch
        mask, scores = self(images)
        own = classified(scores, labels)
        loss = own.loss + F.binary_cross_entropy_with_logits(mask[:, 0], masks.float())
        return Own(loss, own.right)


def masked(make: Any) -> Setup:
    known, held = training(), validation()
    train = loader(known.images, known.boxes.long(), known.labels, shuffle=True)
    val = loader(held.images, held.boxes.long(), held.labels)
    return plain(learnt(make, train), train=train, val=val)


@case(48, label=r"batch\[2\]", never="eigencam")
def mask_and_class() -> Setup:
    return masked(MaskAndClass)


class Smp(MaskAndClass):
    def __init__(self) -> None:
        import segmentation_models_pytorch as smp

        shape = {"encoder_depth": 3, "decoder_channels": (32, 16, 8), "classes": 1}
        net = smp.Unet("resnet18", encoder_weights=None, aux_params={"classes": 4}, **shape)
        User.__init__(self, net)

    def forward(self, images):
        return self.net(images)


@case(48, label=r"batch\[2\]", never="eigencam", says=(r"no gradient at",), remedy=layer_named, share=None,
      needs=("segmentation_models_pytorch",))  # fmt: skip
def mask_and_class_of_a_package() -> Setup:
    return masked(Smp)


# --- one class for each place


class Segmentation(MaskAndClass):
    def __init__(self) -> None:
        super().__init__()
        self.mask = nn.Conv2d(16, 2, 3, padding=1)

    def forward(self, images):
        return self.mask(self.up(self.net.features(images)).relu())

    def step(self, batch):
        images, masks = batch
        return Own(F.cross_entropy(self(images), masks))


REGION = {
    "says": (r"target=region\(",),
    "remedy": lambda told: {"target": region(1)},
    "task": None,
    "label": None,
}


@case(49, **REGION)
def segmentation() -> Setup:
    known, held = training(), validation()
    train = loader(known.images, known.boxes.long(), shuffle=True)
    val = loader(held.images, held.boxes.long())
    return plain(learnt(Segmentation, train), train=train, val=val, labels=None)


class Monai(Segmentation):
    def __init__(self) -> None:
        from monai.networks.nets import UNet

        User.__init__(self, UNet(2, 3, 2, (8, 16, 32), (2, 2)))

    def forward(self, images):
        return self.net(images)

    def step(self, batch):
        return super().step((batch["image"], batch["label"][:, 0]))


@case(49, **REGION, needs=("monai",))
def segmentation_of_a_package() -> Setup:
    known, held = (
        named(image=one.images, label=one.boxes[:, None].long()) for one in (training(), validation())
    )
    train = from_items(known, shuffle=True)
    return plain(learnt(Monai, train, epochs=10), train=train, val=from_items(held), labels=None)


# --- teacher and student


class Student(User):
    """The teacher is larger, was never trained, and runs ``first``."""

    def __init__(self, net: nn.Module, order: str) -> None:
        super().__init__(net)
        torch.manual_seed(7)
        self.teacher, self.order = SmallNet(width=20).requires_grad_(False), order

    def taught(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            return self.teacher(images)

    def forward(self, images):
        if self.order == "teacher runs first":
            taught = self.taught(images)
            return self.net(images), taught
        own = self.net(images)
        taught = self.taught(images)
        return (taught, own) if self.order == "teacher is output first" else (own, taught)

    def step(self, batch):
        images, labels = batch
        outputs = self(images)
        own, taught = outputs[::-1] if self.order == "teacher is output first" else outputs
        judged = classified(own, labels)
        return Own(judged.loss + 0.01 * F.mse_loss(own, taught), judged.right)


@case(50)
def teacher_runs_first() -> Setup:
    return plain(Student(trained_net(), "teacher runs first"))


@case(50, never="eigencam", says=(r"no gradient at",), remedy=layer_named)
def teacher_runs_last() -> Setup:
    return plain(Student(trained_net(), "teacher runs last"))


@case(50, never="eigencam", says=(r"no gradient at",), remedy=layer_named)
def teacher_is_output_first() -> Setup:
    return plain(Student(trained_net(), "teacher is output first"))


class Squeezes(User):
    def __init__(self) -> None:
        super().__init__(SmallNet(out=1))

    def forward(self, images):
        return self.net(images).squeeze()

    def step(self, batch):
        images, labels = batch
        logits = self(images)
        right = ((logits > 0) == (labels > 0.5)).float()
        return Own(F.binary_cross_entropy_with_logits(logits, labels), right)


@case(51, task="binary")
def squeezed_logit() -> Setup:
    return paired(Squeezes, lambda known: known.labels.float(), classes=2)
