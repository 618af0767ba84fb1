"""Kinds 52 to 57: how the network is called."""

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lightning_cam import Inputs
from support.read_case import Setup, case, paired, plain, variant
from support.read_data import BATCH, from_items, loader, named, training, validation
from support.read_modules import WIDTH, Own, SmallNet, User, classified, learnt, trained_net


class FixedBatch(User):
    """The state of a recurrent layer is made for batches of eight."""

    def __init__(self) -> None:
        super().__init__(SmallNet(out=0))
        self.rows, self.classifier = nn.LSTM(8 * WIDTH, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, images):
        rows = self.net.features(images).permute(0, 2, 1, 3).flatten(2)
        state = torch.zeros(1, BATCH, 32)
        return self.classifier(self.rows(rows, (state, state))[0].amax(dim=1))


@case(52, own=0.8)
def batch_size_in_the_network() -> Setup:
    return paired(FixedBatch, lambda known: known.labels, epochs=12)


variant(52, "batch_size_in_the_network_and_a_named_layer", batch_size_in_the_network, own=0.8,
        arguments={"target_layer": "net.features"})  # fmt: skip


class Clips(User):
    """A network for each frame, and a recurrent layer over frames."""

    def __init__(self) -> None:
        super().__init__(trained_net())
        self.net.head = nn.Identity()
        self.frames, self.classifier = nn.LSTM(WIDTH, 32, batch_first=True), nn.Linear(32, 4)

    def forward(self, clips):
        features = self.net.embed(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        return self.classifier(self.frames(features)[0][:, -1])


def clips(images: Tensor) -> Tensor:
    return torch.stack([images.roll(shift, dims=3) for shift in (0, 2, 4)], dim=1)


def moving(**changes: Any) -> Setup:
    known, held = training(), validation()
    train = loader(clips(known.images), known.labels, shuffle=True)
    val = loader(clips(held.images), held.labels)
    return plain(learnt(Clips, train), train=train, val=val, seen=clips(held.images), **changes)


def first_frames() -> Setup:
    held = validation()
    setup = moving(own=lambda module: classified(module(held.images[:, None]), held.labels))
    return Setup(setup.module, setup.train, setup.val, held.images, held.boxes, held.labels, setup.own)


@case(53, says=(r"frames|clips",), remedied=first_frames,
      remedy=lambda told: {"inputs": Inputs(images=lambda batch: batch[0][:, 0]),
                           "network": lambda module, frames: module(frames[:, None])})  # fmt: skip
def clips_and_a_recurrent_layer() -> Setup:
    return moving()


# --- two images


class Pairs(User):
    """Whether two figures are the same."""

    def __init__(self) -> None:
        super().__init__(trained_net())
        self.net.head = nn.Identity()
        self.classifier = nn.Sequential(nn.Linear(WIDTH, 32), nn.ReLU(), nn.Linear(32, 2))

    def forward(self, one, other):
        return self.classifier((self.net.embed(one) - self.net.embed(other)).abs())

    def step(self, batch):
        one, other, same = batch
        return classified(self(one, other), same)


def partners(known: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Every second image beside one of the same class, the others beside the next image."""
    count = len(known.labels)
    by_class = known.labels.argsort(stable=True)
    same = torch.arange(count).roll(1)
    same[by_class] = by_class.roll(1)
    other = torch.where(torch.arange(count) % 2 == 0, same, torch.arange(count).roll(1))
    return known.images, known.images[other], (known.labels == known.labels[other]).long()


def pairs(**changes: Any) -> Setup:
    train, val = loader(*partners(training()), shuffle=True), loader(*partners(validation()))
    labels = partners(validation())[2]
    facts = {"train": train, "val": val, "labels": labels, **changes}
    return plain(learnt(Pairs, train, epochs=20), **facts)


@cache
def reference() -> Tensor:
    """Features of one image, which are kept."""
    with torch.no_grad():
        return pairs().module.eval().net.embed(validation().images[:1])


def beside(module: Pairs, images: Tensor) -> Tensor:
    return module.classifier((module.net.embed(images) - reference()).abs())


def beside_one() -> Setup:
    images, _, labels = partners(validation())
    return pairs(seen=images, own=lambda module: classified(beside(module, images), labels))


# The pair runs the network twice, which has no single map; so one image is explained beside one that is kept.
TWICE = {"says": (r"runs more than once.*network=lambda module, images",), "share": None, "own": 0.0}


@case(54, **TWICE, remedied=beside_one, remedy=lambda told: {"network": beside})
def two_images() -> Setup:
    return pairs()


variant(54, "two_images_told_the_second", pairs, **TWICE, remedied=beside_one, remedy=lambda told: {"network": beside},
        arguments={"inputs": Inputs(images=1)})  # fmt: skip
variant(54, "two_images_told_as_six_channels", pairs, **TWICE, remedied=beside_one, remedy=lambda told: {"network": beside},
        arguments={"inputs": Inputs(images=lambda batch: torch.cat(batch[:2], dim=1)),
                   "network": lambda module, images: module(images[:, :3], images[:, 3:])})  # fmt: skip
variant(54, "two_images_told_a_fixed_one", pairs, **TWICE, remedied=beside_one, remedy=lambda told: {"network": beside},
        arguments={"network": lambda module, images: module(images, validation().images[:1].expand_as(images))})  # fmt: skip


class TrueOrFalse(User):
    def __init__(self) -> None:
        super().__init__(SmallNet(out=1))

    def step(self, batch):
        images, labels = batch
        logits = self(images)[:, 0]
        return Own(
            F.binary_cross_entropy_with_logits(logits, labels.float()), ((logits > 0) == labels).float()
        )


@case(55, task="binary")
def bool_labels() -> Setup:
    return paired(TrueOrFalse, lambda known: known.labels.bool(), classes=2)


variant(
    55,
    "bool_labels_told_by_index",
    bool_labels,
    arguments={"inputs": Inputs(labels=1)},
    task="binary",
)


# --- the whole batch, and keywords


class WholeBatch(User):
    def forward(self, batch):
        return self.net(batch["image"])

    def step(self, batch):
        return classified(self(batch), batch["label"])


@dataclass
class ClassifierOutput:
    loss: Tensor
    logits: Tensor


class Keywords(User):
    """As models of Hugging Face: the loss is computed inside, and an object comes back."""

    def forward(self, pixel_values, labels):
        logits = self.net(pixel_values)
        return ClassifierOutput(F.cross_entropy(logits, labels), logits)

    def step(self, batch):
        output = self(**batch)
        right = (output.logits.argmax(dim=1) == batch["labels"]).float()
        return Own(output.loss, right)


class AnyKeywords(Keywords):
    def __init__(self, net: nn.Module) -> None:
        super().__init__(net)
        self.model = Keywords(self.net)
        del self.net

    def forward(self, **batch):
        return self.model(**batch)


def in_dicts(module: User, image: str = "image", label: str = "label") -> Setup:
    known, held = training(), validation()
    train = from_items(named(**{image: known.images, label: known.labels}), shuffle=True)
    return plain(module, train=train, val=from_items(named(**{image: held.images, label: held.labels})))


@case(56, label=r"batch\[.label.\]")
def forward_of_the_whole_batch() -> Setup:
    return in_dicts(WholeBatch(trained_net()))


@case(56, label=r"batch\[.labels.\]")
def forward_of_any_keywords() -> Setup:
    return in_dicts(AnyKeywords(trained_net()), "pixel_values", "labels")


@case(57, label=r"batch\[.labels.\]")
def forward_of_keywords_with_the_loss_inside() -> Setup:
    return in_dicts(Keywords(trained_net()), "pixel_values", "labels")


class Transformers(Keywords):
    def forward(self, **batch):
        return self.net(**batch)


@case(57, label=r"batch\[.labels.\]", share=None, own=0.0, needs=("transformers",))
def classifier_of_transformers() -> Setup:
    from transformers import ViTConfig, ViTForImageClassification

    shape = {"hidden_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3, "intermediate_size": 96}
    net = ViTForImageClassification(ViTConfig(image_size=32, patch_size=4, num_labels=4, **shape))
    return in_dicts(Transformers(net), "pixel_values", "labels")
